//! What every store has to do, tried on all of them, and what only the embedded one has to.

/// Makes each of these functions a test for every store.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $name() { super::$name(crate::trial::MemoryTrial::begin()); })+
        }
        mod sqlite {
            $(#[test] fn $name() { super::$name(crate::trial::SqliteTrial::begin()); })+
        }
    };
}

mod completion;
mod equality;
mod formats;
mod kill;
mod lists;
mod memory;
mod opening;
mod operations;
mod samples;
mod sealing;
mod space;
mod tasks;
mod trial;
mod writer;
