//! Whole-engine tests: a world of one engine, told what its workers saw.

mod explaining;
mod facts;
mod groups;
mod lifecycle;
mod machine;
mod scheduling;
mod uploads;
mod world;

pub(crate) use world::*;
