//! What a new operation or registration has to be like: its form, the places of its files, the rules of its trigger. Nothing
//! here knows of other operations or tasks; the engine compares targets and names and counts quotas.

mod client_certificate;
mod filters;
mod form;
mod interface;
mod place;
mod proxy;
mod source;
mod task;
mod trigger;
mod upload;

pub(crate) use filters::{is_watched_for, want};
pub(crate) use form::{check_notifications, check_patch, check_spec, origin_of};
pub(crate) use place::{Look, Places, Reach};
pub(crate) use task::{NO_COMPONENTS, check_task, warnings};
pub(crate) use upload::check_upload;
