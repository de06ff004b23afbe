//! One worker moves the bytes of one download in one attempt: it finds what an earlier attempt left, asks for what is
//! missing, keeps the journal up, checks the whole and publishes it.
//!
//! Deliberately absent: when to try again, and what other operations do.

mod attempt;
mod books;
mod crew;
mod desk;
mod finish;
mod further;
mod growth;
mod live;
mod meter;
mod opening;
mod plan;
mod pump;
mod rein;
mod seams;
mod sources;

pub(crate) use attempt::run;
pub(crate) use live::Live;
