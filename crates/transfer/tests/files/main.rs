//! The file side of transfers, on real file systems and with real faults.

mod bytes;
mod digests;
mod faults;
mod place;
mod publish;
mod recover;
