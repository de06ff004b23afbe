//! What a new download or registration has to be like: its form, the place of its file, the rules of its trigger. Nothing
//! here knows of other operations or tasks; the engine compares targets and names and counts quotas.

mod filters;
mod form;
mod place;
mod task;
mod trigger;

pub(crate) use form::{check_patch, check_spec, origin_of};
pub(crate) use place::{Look, Places, Reach};
pub(crate) use task::{NO_COMPONENTS, check_task, warnings};
