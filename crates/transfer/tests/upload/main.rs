//! Uploads against servers that misbehave and against real ones; a test of a row of the table of faults is named after
//! its number.

mod auto;
mod early;
mod identity;
mod parts;
mod plain;
mod proxies;
mod real;
mod resumable;
mod secrets;
mod support;
mod tus;
