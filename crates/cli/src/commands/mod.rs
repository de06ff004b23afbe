//! The commands, one file each: their arguments, the calls they make, and how the answer is shown.

pub(crate) mod access;
pub(crate) mod app;
pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod cond;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod daemon;
pub(crate) mod doctor;
pub(crate) mod follow;
pub(crate) mod get;
pub(crate) mod group;
pub(crate) mod host;
pub(crate) mod instance;
pub(crate) mod limits;
pub(crate) mod list;
pub(crate) mod put;
pub(crate) mod ranges;
pub(crate) mod receipt;
pub(crate) mod service;
pub(crate) mod set;
pub(crate) mod show;
pub(crate) mod task;
pub(crate) mod triggers;
pub(crate) mod when;
pub(crate) mod why;
