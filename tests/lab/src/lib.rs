//! The test lab: a hostile server, a broken disk, real servers started on free ports.
