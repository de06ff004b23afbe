//! What Longhaul remembers: load, commit changes, migrate formats.
