//! Token buckets for bytes, as a tree: all > one operation.
