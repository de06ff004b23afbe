//! Hash functions over passing bytes, and digest fields (RFC 9530).
