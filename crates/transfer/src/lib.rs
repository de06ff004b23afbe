//! Moves the bytes of one operation, resumably.
