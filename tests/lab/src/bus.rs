//! A message bus of the test's own, with daemons on it: real ones, or python-dbusmock's in the place of those that need
//! hardware or systemd.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Guarded, program, spawn};
use crate::wait::wait_until;

const NETWORK_MANAGER: &str = "org.freedesktop.NetworkManager";
const NETWORK_MANAGER_PATH: &str = "/org/freedesktop/NetworkManager";

/// The bus and each daemon are there by then.
const DEADLINE: Duration = Duration::from_secs(20);

/// A `dbus-daemon` that everybody may use for everything; gone when dropped.
#[derive(Debug)]
pub struct Bus {
    folder: PathBuf,
    daemon: Option<Guarded>,
}

impl Bus {
    /// A bus that is to be started in `folder`, which must exist by then.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), daemon: None }
    }

    /// For the variable DBUS_SYSTEM_BUS_ADDRESS.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("system_bus_socket")
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self) {
        let settings = self.folder.join("bus.conf");
        std::fs::write(&settings, self.settings()).expect("the folder of the bus can be written");
        let mut command = Command::new(program("dbus-daemon", "dbus-daemon"));
        command.arg(format!("--config-file={}", settings.display())).args(["--nofork", "--nopidfile"]);
        command.stderr(Stdio::null());
        self.daemon = Some(spawn(command).expect("dbus-daemon starts"));
        wait_until("the bus listening", DEADLINE, || {
            std::os::unix::net::UnixStream::connect(self.socket()).ok()
        });
    }

    /// Kills it, and takes its socket away as its service manager would.
    pub fn stop(&mut self) {
        self.daemon = None;
        let _ = std::fs::remove_file(self.socket());
    }

    fn settings(&self) -> String {
        format!(
            "<busconfig><type>system</type><listen>{}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
             <allow send_type=\"method_call\"/><allow send_type=\"signal\"/>\
             <allow send_type=\"method_return\"/><allow send_type=\"error\"/>\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>",
            self.address()
        )
    }

    /// Starts a daemon that finds this bus as its system and session bus, and waits until it owns `name`.
    #[must_use]
    pub fn start_daemon(&self, mut command: Command, name: &str) -> Guarded {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        command.env("DBUS_SESSION_BUS_ADDRESS", self.address());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = spawn(command).expect("a daemon starts");
        wait_until(&format!("somebody owning {name}"), DEADLINE, || {
            let owned = self.try_call(
                "org.freedesktop.DBus",
                "/",
                "org.freedesktop.DBus.NameHasOwner",
                &[&format!("'{name}'")],
            );
            owned.ok().filter(|answer| answer.contains("true"))
        });
        daemon
    }

    /// A daemon of python-dbusmock's templates.
    #[must_use]
    pub fn start_template(&self, template: &str, name: &str, parameters: &str) -> Guarded {
        let mut command = python();
        command.args(["-m", "dbusmock", "--template", template, "--parameters", parameters]);
        self.start_daemon(command, name)
    }

    /// NetworkManager with one connection in use, of a type such as `802-3-ethernet`, and its NMMetered.
    #[must_use]
    pub fn start_network_manager(&self, kind: &str, metered: u32) -> Guarded {
        let daemon = self.start_template("networkmanager", NETWORK_MANAGER, "{}");
        for (property, value) in [
            ("Metered", format!("<uint32 {metered}>")),
            ("PrimaryConnection", format!("<objectpath '{NETWORK_MANAGER_PATH}/ActiveConnection/1'>")),
            ("PrimaryConnectionType", format!("<'{kind}'>")),
        ] {
            let arguments = [&format!("'{NETWORK_MANAGER}'"), &format!("'{property}'"), &value];
            let add = "org.freedesktop.DBus.Mock.AddProperty";
            self.call(NETWORK_MANAGER, NETWORK_MANAGER_PATH, add, &arguments.map(String::as_str));
        }
        daemon
    }

    /// Lets it tell of another NMMetered.
    #[track_caller]
    pub fn set_metered(&self, metered: u32) {
        let property = format!("{{'Metered': <uint32 {metered}>}}");
        self.set(NETWORK_MANAGER, NETWORK_MANAGER_PATH, NETWORK_MANAGER, &property);
    }

    /// A daemon of python-dbusmock that has nothing yet but its name and one object.
    #[must_use]
    pub fn start_empty(&self, name: &str, path: &str, interface: &str) -> Guarded {
        let mut command = python();
        command.args(["-m", "dbusmock", "--system", "--is-object-manager", name, path, interface]);
        self.start_daemon(command, name)
    }

    /// Calls a method; arguments and the answer are in GVariant's text form.
    ///
    /// # Panics
    /// The call fails.
    #[track_caller]
    pub fn call(&self, name: &str, path: &str, method: &str, arguments: &[&str]) -> String {
        self.try_call(name, path, method, arguments)
            .unwrap_or_else(|error| panic!("{method} on {name}: {error}"))
    }

    fn try_call(&self, name: &str, path: &str, method: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program("gdbus", "libglib2.0-bin"));
        command.args(["call", "--address", &self.address(), "--dest", name, "--object-path", path]);
        command.args(["--method", method, "--"]).args(arguments);
        let done = command.output().map_err(|error| error.to_string())?;
        if done.status.success() {
            Ok(String::from_utf8_lossy(&done.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }

    /// Sets properties of a mock, which tells of it as daemons do.
    #[track_caller]
    pub fn set(&self, name: &str, path: &str, interface: &str, properties: &str) {
        let interface = format!("'{interface}'");
        self.call(name, path, "org.freedesktop.DBus.Mock.UpdateProperties", &[&interface, properties]);
    }

    /// Lets a mock send a signal.
    #[track_caller]
    pub fn emit(&self, name: &str, path: &str, signal: (&str, &str), signature: &str, arguments: &str) {
        let words = [signal.0, signal.1, signature].map(|word| format!("'{word}'"));
        let [interface, member, signature] = &words;
        let method = "org.freedesktop.DBus.Mock.EmitSignal";
        self.call(name, path, method, &[interface, member, signature, arguments]);
    }
}

/// Debian's own interpreter: the packages of other ones lack python3-dbusmock.
fn python() -> Command {
    let interpreter = Path::new("/usr/bin/python3");
    assert!(
        Path::new("/usr/lib/python3/dist-packages/dbusmock").is_dir(),
        "python-dbusmock is missing: install the Debian package python3-dbusmock (cargo xtask setup does)"
    );
    Command::new(interpreter)
}
