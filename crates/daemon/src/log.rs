//! The log: structured lines on standard error, for people on a terminal and as JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::service::StartError;

/// Begins to log. Where somebody in this process has begun already, that one stays.
///
/// # Errors
/// The filter cannot be read.
pub(crate) fn begin(filter: &str) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| StartError::Log { filter: filter.to_owned(), problem: error.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    if begun.is_err() {
        tracing::debug!("a log is kept already");
    }
    Ok(())
}
