//! The service as a process: started in the background or by systemd, found by its socket, stopped.

pub(crate) mod process;
pub(crate) mod start;
pub(crate) mod systemd;
