//! The destination folder, the part file and its publication.
