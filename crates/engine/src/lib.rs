//! What happens next, and why: the pure deciding core of Longhaul.
