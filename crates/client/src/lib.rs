//! The Rust client of Longhaul: typed calls and a watch that survives reconnects.
