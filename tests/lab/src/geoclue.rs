//! The real GeoClue, which is told positions by a receiver of this process (NMEA 0183 over a socket). Needs root.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::bus::Bus;
use crate::process::{Guarded, program};

const NAME: &str = "org.freedesktop.GeoClue2";
const AGENT: &str = "io.longhaul.test.Agent";
const AGENT_PATH: &str = "/org/freedesktop/GeoClue2/Agent";
const AGENT_INTERFACE: &str = "org.freedesktop.GeoClue2.Agent";

/// Where a receiver is, in degrees north and east.
#[derive(Debug, Clone)]
pub struct Receiver(Arc<Mutex<(f64, f64)>>);

impl Receiver {
    pub fn go_to(&self, latitude: f64, longitude: f64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (latitude, longitude);
    }

    /// What a receiver says once a second (GGA, a fix by eight satellites).
    fn sentence(&self) -> String {
        let (latitude, longitude) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minutes = |degrees: f64| degrees.trunc() * 100.0 + degrees.fract() * 60.0;
        let seconds =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let said = format!(
            "GPGGA,{hour:02}{minute:02}{second:02}.00,{:09.4},N,{:010.4},E,1,08,0.9,34.0,M,46.9,M,,",
            minutes(latitude),
            minutes(longitude)
        );
        let sum = said.bytes().fold(0, |sum, byte| sum ^ byte);
        format!("${said}*{sum:02X}\r\n")
    }
}

/// Gone when dropped.
#[derive(Debug)]
pub struct Geoclue {
    folder: PathBuf,
    daemon: Option<Guarded>,
    agent: Option<Guarded>,
}

impl Geoclue {
    /// Starts it, with somebody who allows everything.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(bus: &Bus, folder: &Path, receiver: &Receiver) -> Self {
        let socket = folder.join("nmea");
        let listener = UnixListener::bind(&socket).expect("a socket in the test's folder");
        let speaker = receiver.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let speaker = speaker.clone();
                std::thread::spawn(move || {
                    while stream.write_all(speaker.sentence().as_bytes()).is_ok() {
                        std::thread::sleep(Duration::from_secs(1));
                    }
                });
            }
        });
        let off = ["3g", "cdma", "modem-gps", "wifi"].map(|source| format!("[{source}]\nenable=false\n"));
        let settings = format!(
            "[agent]\nwhitelist=geoclue-demo-agent\n[network-nmea]\nenable=true\nnmea-socket={}\n{}\
             [longhaul]\nallowed=true\nsystem=true\nusers=\n",
            socket.display(),
            off.concat()
        );
        std::fs::write(folder.join("geoclue.conf"), settings).expect("a file in the test's folder");
        let mut geoclue = Self { folder: folder.to_owned(), daemon: None, agent: None };
        geoclue.launch(bus);
        geoclue
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.daemon = None;
    }

    /// Starts it in the folders of before.
    ///
    /// # Panics
    /// It does not start.
    pub fn launch(&mut self, bus: &Bus) {
        let mut command = Command::new(program("unshare", "util-linux"));
        let script = "mount --make-rprivate / && mount --bind \"$0\" /etc/geoclue/geoclue.conf && \
                      exec /usr/libexec/geoclue -t 600";
        command.args(["--mount", "sh", "-c", script]).arg(self.folder.join("geoclue.conf"));
        self.daemon = Some(bus.start_daemon(command, NAME));
        self.agent = None;
        self.agent = Some(bus.start_empty(AGENT, AGENT_PATH, AGENT_INTERFACE));
        let mock = |method: &str, arguments: &[&str]| {
            bus.call(AGENT, AGENT_PATH, &format!("org.freedesktop.DBus.Mock.{method}"), arguments)
        };
        let interface = format!("'{AGENT_INTERFACE}'");
        mock("AddProperty", &[&interface, "'MaxAccuracyLevel'", "<uint32 8>"]);
        let allows = "'ret = (True, dbus.UInt32(8))'";
        mock("AddMethod", &[&interface, "'AuthorizeApp'", "'su'", "'bu'", allows]);
        // The agent has to call by itself: GeoClue asks back whoever did.
        let registers = format!(
            "\"manager = self.connection.get_object('{NAME}', '/org/freedesktop/GeoClue2/Manager'); \
              dbus.Interface(manager, '{NAME}.Manager').AddAgent('geoclue-demo-agent', \
              reply_handler=lambda: None, error_handler=print)\""
        );
        mock("AddMethod", &[&interface, "'Register'", "''", "''", &registers]);
        bus.call(AGENT, AGENT_PATH, &format!("{AGENT_INTERFACE}.Register"), &[]);
    }
}

impl Default for Receiver {
    /// Somewhere in the Gulf of Guinea.
    fn default() -> Self {
        Self(Arc::new(Mutex::new((1.0, 1.0))))
    }
}
