//! Seeded world.
