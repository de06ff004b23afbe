//! What a person gives to `get` and `set`: addresses, lists, Metalink documents, headers, passwords, times.

pub(crate) mod certificate;
pub(crate) mod curl;
pub(crate) mod headers;
pub(crate) mod linked;
pub(crate) mod list;
pub(crate) mod metalink;
pub(crate) mod netrc;
pub(crate) mod password;
pub(crate) mod proxy;
pub(crate) mod source;
pub(crate) mod time;
pub(crate) mod trigger;
