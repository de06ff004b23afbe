//! `longhaul daemon`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::DaemonOptions;
use crate::connect::Context;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// Run the service in the foreground
///
/// Commands that need the service start it themselves, and `longhaul service install` has systemd do it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Leave the session of the command that starts it
    #[arg(long, hide = true)]
    background: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Also listen on this loopback address, for callers with a token (any number)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "LONGHAUL_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// State folder, which holds the records of all downloads
    #[arg(long, value_name = "DIR", env = "LONGHAUL_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Trust the certificates in this PEM file besides the system's (any number)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_certificate: Vec<PathBuf>,
}

impl Options {
    /// Paths become absolute here, where the working folder is still that of the person.
    pub(crate) fn resolve(self, context: &Context) -> Result<DaemonOptions, Trouble> {
        let absolute =
            |path: PathBuf| std::path::absolute(&path).map_err(|error| Trouble::file(&path, &error));
        Ok(DaemonOptions {
            listen: self.listen,
            socket: context.globals.socket.clone().map(absolute).transpose()?,
            config: self.config.map(absolute).transpose()?,
            state: self.state.map(absolute).transpose()?,
            ca_certificates: self.ca_certificate.into_iter().map(absolute).collect::<Result<_, _>>()?,
        })
    }
}

pub(crate) fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let options = arguments.options.resolve(context)?;
    if arguments.background {
        let detached = rustix::process::setsid().and_then(|_| rustix::process::chdir("/"));
        detached
            .map_err(|error| Trouble::new(Exit::Internal, format!("cannot leave the session: {error}")))?;
    }
    (context.service.run)(options)?;
    Ok(Exit::Success)
}
