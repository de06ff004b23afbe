//! Joins the rooms: the loop, the workers, HTTP, start, stop, configuration.
//!
//! Wishes come in over HTTP, facts from workers and from the host; the engine decides, the store remembers, and what
//! follows is let go only then. Deliberately absent: decisions, which are the engine's.

use std::path::{Path, PathBuf};

mod access_files;
mod admission;
mod apps;
mod asks;
pub mod config;
mod data_plans;
mod foreground;
mod heart;
mod host_desk;
mod http;
mod identity;
mod ids;
mod journal;
mod log;
mod metrics;
mod news;
mod notices;
mod proxying;
mod push;
mod run;
mod runs;
mod sealing;
mod sense;
mod service;
mod signs;
mod task_view;
mod triggers;
mod view;
mod wants;
mod workers;

pub use config::{ConfigError, ConfigValue, Configuration, Options, configuration_markdown};
pub use http::openapi_json;
pub use longhaul_runner::launcher;
pub use run::run;
pub use service::{GivenSockets, Service, StartError};

/// Has the next start of the service seal the secrets of its database with a new key; tells the file that holds it.
///
/// # Errors
/// The state folder has no key of its own.
pub fn rotate_key(options: &Options) -> Result<PathBuf, StartError> {
    let uid = rustix::process::geteuid().as_raw();
    let configuration = Configuration::load(options, uid, std::env::vars_os())?;
    Ok(longhaul_store::rotate_key(Path::new(&configuration.service.state))?)
}

/// Every setting with its value and where that comes from, for `longhaul config show`.
///
/// # Errors
/// The configuration cannot be read.
pub fn config_show(options: &Options) -> Result<Vec<ConfigValue>, ConfigError> {
    let uid = rustix::process::geteuid().as_raw();
    Configuration::load(options, uid, std::env::vars_os()).map(|configuration| configuration.values())
}
