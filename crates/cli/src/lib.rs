//! Longhaul for a person at a terminal.
