//! Where the service of one user is found: socket, state folder, configuration. Pure rules over the environment that
//! is handed in; nothing here looks at the disk.

use std::ffi::OsString;
use std::path::PathBuf;

/// Overrides the path of the service's socket.
pub const SOCKET_VARIABLE: &str = "LONGHAUL_SOCKET";
/// Overrides the state folder.
pub const STATE_VARIABLE: &str = "LONGHAUL_STATE";
/// Overrides the configuration file.
pub const CONFIG_VARIABLE: &str = "LONGHAUL_CONFIG";
/// Overrides the folder of manifests.
pub const APPS_VARIABLE: &str = "LONGHAUL_APPS";

/// The longest path a Unix socket can have on Linux, without the closing NUL (unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// The paths of the service that a user talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePaths {
    /// The Unix socket it listens on.
    pub socket: PathBuf,
    /// The folder that holds its records, made with mode 0700.
    pub state: PathBuf,
    /// The configuration file, which need not exist.
    pub config: PathBuf,
    /// The folder that holds the applications' manifests, `APP.toml` each.
    pub apps: PathBuf,
}

/// Neither the environment nor the user database names a home folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no home folder for user {uid}: set HOME, or {STATE_VARIABLE} and {CONFIG_VARIABLE}")]
pub struct NoHome {
    pub uid: u32,
}

impl ServicePaths {
    /// The paths for user `uid`, read from environment variables through `variable` (`|name| std::env::var_os(name)`).
    ///
    /// | | root without `XDG_RUNTIME_DIR` | everyone else |
    /// |---|---|---|
    /// | socket | `/run/longhaul/longhaul.sock` | `$XDG_RUNTIME_DIR/longhaul/longhaul.sock`, without that variable `longhaul.sock` in the state folder |
    /// | state | `/var/lib/longhaul` | `$XDG_STATE_HOME/longhaul`, by default `~/.local/state/longhaul` |
    /// | config | `/etc/longhaul/longhaul.toml` | `$XDG_CONFIG_HOME/longhaul/longhaul.toml`, by default below `~/.config` |
    ///
    /// The manifests are in `apps` beside the configuration file. `LONGHAUL_SOCKET`, `LONGHAUL_STATE`,
    /// `LONGHAUL_CONFIG` and `LONGHAUL_APPS` win. As the XDG base directory specification says,
    /// relative values of its variables are ignored.
    ///
    /// # Errors
    /// [`NoHome`] when a path depends on a home folder that is not known.
    pub fn find(uid: u32, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoHome> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = |name: &str| given(name).filter(|path| path.is_absolute());
        let below_home = |name: &str, default: &str| {
            folder(name)
                .or_else(|| folder("HOME").map(|home| home.join(default)))
                .map(|base| base.join("longhaul"))
                .ok_or(NoHome { uid })
        };
        let runtime = folder("XDG_RUNTIME_DIR");
        let is_system = uid == 0 && runtime.is_none();
        let state = match given(STATE_VARIABLE) {
            Some(path) => path,
            None if is_system => PathBuf::from("/var/lib/longhaul"),
            None => below_home("XDG_STATE_HOME", ".local/state")?,
        };
        let config = match given(CONFIG_VARIABLE) {
            Some(path) => path,
            None if is_system => PathBuf::from("/etc/longhaul/longhaul.toml"),
            None => below_home("XDG_CONFIG_HOME", ".config")?.join("longhaul.toml"),
        };
        let socket = match (given(SOCKET_VARIABLE), runtime) {
            (Some(path), _) => path,
            (None, Some(runtime)) => runtime.join("longhaul/longhaul.sock"),
            (None, None) if is_system => PathBuf::from("/run/longhaul/longhaul.sock"),
            (None, None) => state.join("longhaul.sock"),
        };
        let apps = match given(APPS_VARIABLE) {
            Some(path) => path,
            None => config.parent().map_or_else(|| PathBuf::from("apps"), |folder| folder.join("apps")),
        };
        Ok(Self { socket, state, config, apps })
    }

    /// The log of a service that was started in the background by a command rather than by systemd.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("service.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(uid: u32, variables: &[(&str, &str)]) -> Result<ServicePaths, NoHome> {
        ServicePaths::find(uid, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_user_has_everything_below_the_xdg_folders() {
        let paths = find(1000, &[("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/user/1000")]).unwrap();
        assert_eq!(paths.socket, PathBuf::from("/run/user/1000/longhaul/longhaul.sock"));
        assert_eq!(paths.state, PathBuf::from("/home/a/.local/state/longhaul"));
        assert_eq!(paths.config, PathBuf::from("/home/a/.config/longhaul/longhaul.toml"));
        assert_eq!(paths.apps, PathBuf::from("/home/a/.config/longhaul/apps"));
    }

    #[test]
    fn without_a_runtime_folder_the_socket_is_in_the_state_folder() {
        let paths = find(1000, &[("HOME", "/home/a"), ("XDG_STATE_HOME", "/state")]).unwrap();
        assert_eq!(paths.socket, PathBuf::from("/state/longhaul/longhaul.sock"));
    }

    #[test]
    fn root_outside_a_session_has_the_paths_of_the_system() {
        let paths = find(0, &[]).unwrap();
        assert_eq!(paths.socket, PathBuf::from("/run/longhaul/longhaul.sock"));
        assert_eq!(paths.state, PathBuf::from("/var/lib/longhaul"));
        assert_eq!(paths.config, PathBuf::from("/etc/longhaul/longhaul.toml"));
    }

    #[test]
    fn our_own_variables_win_and_relative_xdg_folders_do_not_count() {
        let paths = find(
            1000,
            &[
                ("HOME", "/home/a"),
                ("XDG_STATE_HOME", "relative"),
                ("XDG_RUNTIME_DIR", ""),
                (SOCKET_VARIABLE, "/s"),
                (CONFIG_VARIABLE, "/c.toml"),
            ],
        )
        .unwrap();
        assert_eq!(paths.socket, PathBuf::from("/s"));
        assert_eq!(paths.state, PathBuf::from("/home/a/.local/state/longhaul"));
        assert_eq!(paths.config, PathBuf::from("/c.toml"));
        assert_eq!(find(7, &[]), Err(NoHome { uid: 7 }));
    }
}
