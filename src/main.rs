//! The one binary: `longhaul daemon` is the service, everything else the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use longhaul_cli::{ConfigurationValue, DaemonOptions, Exit, ServiceEntry, Trouble};
use longhaul_daemon::{ConfigError, Options, StartError};

fn main() -> ExitCode {
    longhaul_daemon::launcher::main_if_asked();
    #[cfg(feature = "wasm")]
    if let Some(code) = longhaul_component::run_if_asked() {
        return code;
    }
    longhaul_cli::run(std::env::args_os(), ServiceEntry { run, configuration, rotate_key })
}

fn run(options: DaemonOptions) -> Result<(), Trouble> {
    longhaul_daemon::run(&translated(options)).map_err(|error| trouble(&error))
}

fn rotate_key(options: &DaemonOptions) -> Result<PathBuf, Trouble> {
    longhaul_daemon::rotate_key(&translated(options.clone())).map_err(|error| trouble(&error))
}

fn trouble(error: &StartError) -> Trouble {
    let exit = match error {
        StartError::AlreadyRunning(_) | StartError::SocketInUse(_) => Exit::AlreadyRunning,
        StartError::Configuration(_) | StartError::NotLoopback(_) | StartError::Log { .. } => Exit::Usage,
        StartError::NoHome(_)
        | StartError::Socket { .. }
        | StartError::Listen { .. }
        | StartError::Key(_)
        | StartError::Transfers(_) => Exit::LocalFile,
        StartError::Store(_) | StartError::System(_) => Exit::Internal,
    };
    Trouble::new(exit, error.to_string())
}

fn configuration(options: &DaemonOptions) -> Result<Vec<ConfigurationValue>, Trouble> {
    let values = longhaul_daemon::config_show(&translated(options.clone())).map_err(|error| {
        let exit = match &error {
            ConfigError::Unreadable { .. } | ConfigError::NoHome(_) => Exit::LocalFile,
            ConfigError::Malformed { .. }
            | ConfigError::UnknownKey { .. }
            | ConfigError::InvalidValue { .. } => Exit::Usage,
        };
        Trouble::new(exit, error.to_string())
    })?;
    let shown = values.into_iter().map(|value| ConfigurationValue {
        key: value.key,
        value: value.value,
        origin: value.origin.to_string(),
    });
    Ok(shown.collect())
}

fn translated(options: DaemonOptions) -> Options {
    let DaemonOptions { listen, socket, config, state, ca_certificates } = options;
    Options { listen, socket, config, state, ca_certificates, components: cfg!(feature = "wasm") }
}
