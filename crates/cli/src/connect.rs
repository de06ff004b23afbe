//! How a command comes to its client: by socket or token, starting the service where that is asked of it.

use longhaul_client::{Client, Endpoint};
use longhaul_contract::paths::SOCKET_PATH_MAX;
use longhaul_contract::{Secret, ServicePaths};

use crate::arguments::Globals;
use crate::console::Console;
use crate::exit::Exit;
use crate::trouble::Trouble;
use crate::{ServiceEntry, service};

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) globals: Globals,
    pub(crate) console: Console,
    pub(crate) service: ServiceEntry,
}

impl Context {
    pub(crate) fn new(globals: Globals, service: ServiceEntry) -> Self {
        let console = Console::new(globals.json, globals.color);
        Self { globals, console, service }
    }

    /// Where this user's service is found.
    pub(crate) fn paths(&self) -> Result<ServicePaths, Trouble> {
        let uid = rustix::process::getuid().as_raw();
        let mut paths = ServicePaths::find(uid, |name| std::env::var_os(name))
            .map_err(|error| Trouble::new(Exit::LocalFile, error.to_string()))?;
        if let Some(socket) = &self.globals.socket {
            paths.socket = std::path::absolute(socket).map_err(|error| Trouble::file(socket, &error))?;
        }
        if paths.socket.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(Trouble::usage(format!(
                "the socket path {} has more than {SOCKET_PATH_MAX} bytes",
                paths.socket.display()
            ))
            .advise("Give a shorter one with --socket or LONGHAUL_SOCKET."));
        }
        Ok(paths)
    }

    /// A client of a service that is there; starts it when it is this user's own and is not running.
    pub(crate) async fn client(&self) -> Result<Client, Trouble> {
        let client = match self.remote()? {
            Some(endpoint) => Client::connect(endpoint).await?,
            None => self.local().await?,
        };
        Ok(match &self.globals.app {
            Some(app) => client.for_app(app.clone()),
            None => client,
        })
    }

    async fn local(&self) -> Result<Client, Trouble> {
        let paths = self.paths()?;
        let endpoint = Endpoint::Unix { socket: paths.socket.clone() };
        match Client::connect(endpoint).await {
            Ok(client) => Ok(client),
            Err(error) if error.is_not_listening() && !self.globals.no_start => {
                service::start::ensure_running(self, &paths).await
            }
            Err(error) if error.is_not_listening() => Err(Trouble::new(
                Exit::Unreachable,
                format!("the service is not running (no answer at {})", paths.socket.display()),
            )
            .advise("Start it with `longhaul service start`, or leave out --no-start.")),
            Err(error) => Err(error.into()),
        }
    }

    /// The service that --server names.
    fn remote(&self) -> Result<Option<Endpoint>, Trouble> {
        let (Some(server), Some(token_file)) = (&self.globals.server, &self.globals.token_file) else {
            return Ok(None);
        };
        let token = std::fs::read_to_string(token_file).map_err(|error| Trouble::file(token_file, &error))?;
        let endpoint = Endpoint::tcp(server, Secret::new(token.trim()))
            .map_err(|error| Trouble::usage(error.to_string()))?;
        Ok(Some(endpoint))
    }

    /// Whether the service is this user's own, on this machine, and may be started and looked after.
    pub(crate) fn is_local(&self) -> bool {
        self.globals.server.is_none()
    }
}
