//! What a new download has to be like: its form, and the place of its file. Nothing here knows of other operations;
//! the engine compares targets and counts quotas.

mod form;
mod place;

pub(crate) use form::{check_patch, check_spec, origin_of};
pub(crate) use place::{Look, Places, Reach};
