//! What servers and networks do wrong, row by row of the catalogue of faults, against the real mover of bytes.
//!
//! `fault_NNN` is the row's number. Rows of pure parsing are tested beside the parser; rows that need the service
//! (limits, tokens, logs) are in the end-to-end tests.

mod clients;
mod content;
mod framing;
mod ftp;
mod http2;
mod identity;
mod interface;
mod network;
mod proxies;
mod random_access;
mod rates;
mod redirects;
mod resume;
mod seams;
mod secrets;
mod segments;
mod support;
mod tls;
