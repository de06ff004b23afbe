//! Requests over HTTP/1.1 and HTTP/2, plain and over TLS: connections and their sharing, redirects, what may be
//! sent to whom, and how a response is judged.
//!
//! Deliberately absent: files, and how often to try again.

pub(crate) mod accept;
pub(crate) mod address;
pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod deliver;
pub(crate) mod exchange;
pub(crate) mod failure;
pub(crate) mod follow;
pub(crate) mod head;
pub(crate) mod origin;
pub(crate) mod outgoing;
pub(crate) mod path;
pub(crate) mod pool;
pub(crate) mod proxy;
pub(crate) mod request;
pub(crate) mod socks;
pub(crate) mod stall;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod tunnel;
