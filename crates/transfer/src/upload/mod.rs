//! Uploads: one worker brings the bytes of files on this machine to a server, in one attempt.
//!
//! Knows the files it reads, how the body is put together from them, and the protocols by which a server takes them:
//! one plain request, tus 1.0, the resumable uploads of the IETF draft, and parts with addresses of their own.
//! Deliberately absent: when to try again, and what other operations do.

pub(crate) mod attempt;
mod buffers;
mod call;
mod concatenation;
mod content;
mod desk;
mod fields;
pub mod job;
mod parts;
mod plain;
pub mod record;
mod resumable;
mod source;
pub(crate) mod tus;
mod verdict;
