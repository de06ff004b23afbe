//! Metalink 4 documents (RFC 5854).
