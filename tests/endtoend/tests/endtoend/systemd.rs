//! The service under systemd, whose side is played here: sockets are handed over by systemd's own tool, the rest of
//! the protocol (sd_notify(3)) is a datagram socket and two variables.

use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longhaul_endtoend::{DEADLINE, House, QUICK, assert_exit, shown};
use longhaul_lab::http_client::Endpoint;
use longhaul_lab::process::{Guarded, program, spawn};
use longhaul_lab::service::{binary, free_address};
use longhaul_lab::{Content, Resource, Server, ServiceOptions, wait_until};
use rustix::process::Signal;

/// The socket that a supervisor reads.
struct Supervisor {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    fn environment(&self) -> (String, String) {
        ("NOTIFY_SOCKET".to_owned(), self.folder.path().join("notify").display().to_string())
    }

    /// The next message, if it comes in time.
    fn hears_within(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut message = [0; 1024];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).trim().to_owned())
    }
}

fn supervised(more: &[(&str, &str)]) -> (Supervisor, House) {
    let supervisor = Supervisor::new();
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = std::iter::once(supervisor.environment()).chain(more).collect();
    let options = ServiceOptions { config: QUICK.to_owned(), environment, ..ServiceOptions::default() };
    let mut house = House::prepared(options);
    house.launch_only();
    (supervisor, house)
}

#[test]
fn readiness_is_told_once_calls_are_answered_and_the_end_before_it() {
    let (supervisor, mut house) = supervised(&[]);
    assert_eq!(supervisor.hears_within(DEADLINE).as_deref(), Some("READY=1"));
    assert_eq!(house.call("GET", "/healthz").status, 200, "the very first call");
    assert_eq!(supervisor.hears_within(Duration::from_millis(500)), None, "no watchdog was asked for");
    assert!(house.stop().success());
    assert_eq!(supervisor.hears_within(DEADLINE).as_deref(), Some("STOPPING=1"));
}

#[test]
fn the_watchdog_hears_of_a_service_that_turns_and_not_of_one_that_hangs() {
    let (supervisor, mut house) = supervised(&[("WATCHDOG_USEC", "600000")]);
    assert_eq!(supervisor.hears_within(DEADLINE).as_deref(), Some("READY=1"));
    let period = Duration::from_millis(600);
    let mut last = Instant::now();
    for _ in 0..5 {
        assert_eq!(supervisor.hears_within(period).as_deref(), Some("WATCHDOG=1"));
        assert!(last.elapsed() < period, "{:?}", last.elapsed());
        last = Instant::now();
    }
    house.signal(Signal::STOP);
    // One may have been under way.
    while supervisor.hears_within(Duration::from_millis(1)).is_some() {}
    assert_eq!(supervisor.hears_within(period * 2), None, "it does not turn");
    house.signal(Signal::CONT);
    assert_eq!(supervisor.hears_within(DEADLINE).as_deref(), Some("WATCHDOG=1"));
    assert!(house.stop().success());
}

/// Has systemd's tool hold the house's socket and a TCP address, and become the service at the first call.
fn activated(house: &House) -> (Guarded, Endpoint) {
    let socket = house.socket();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(socket.parent().unwrap()).unwrap();
    let address = free_address();
    let state = house.state();
    let service = house.cli(&["daemon", "--state", state.to_str().unwrap()]);
    let mut command = Command::new(program("systemd-socket-activate", "systemd"));
    command.arg("-l").arg(&socket).arg("-l").arg(address.to_string());
    for (name, value) in service.get_envs() {
        let value = value.unwrap_or_default().to_string_lossy();
        command.arg("-E").arg(format!("{}={value}", name.to_string_lossy()));
    }
    command.arg(service.get_program()).args(service.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let holder = spawn(command).unwrap();
    wait_until("the socket", DEADLINE, || socket.exists().then_some(()));
    (holder, Endpoint::tcp(address))
}

#[test]
fn the_first_call_starts_a_service_on_the_sockets_it_is_given() {
    let content = Content::new(1, 300_000);
    let server = Server::of(Resource::new(content));
    let house = House::empty();
    let (mut holder, tcp) = activated(&house);
    let program = || std::fs::read_link(format!("/proc/{}/exe", holder.pid())).unwrap();
    assert!(program().ends_with("systemd-socket-activate"), "nothing has called yet");
    let output = house.run(&["get", &server.url("/f"), "-o", house.result("f").to_str().unwrap()]);
    assert_exit(&output, 0);
    content.assert_file(&house.result("f"));
    assert_eq!(program(), std::fs::canonicalize(binary()).unwrap());
    assert_eq!(tcp.get("/healthz").unwrap().status, 200, "the second socket is used too");
    holder.signal(Signal::TERM);
    assert!(holder.wait(DEADLINE).success());
    assert!(house.socket().exists(), "the socket is the supervisor's, who starts the service by it again");
}

#[test]
fn the_units_are_what_systemd_understands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    for (kind, arguments) in [("system", vec!["verify"]), ("user", vec!["--user", "verify"])] {
        let folder = tempfile::tempdir().unwrap();
        let units = ["longhaul.service", "longhaul.socket"].map(|name| {
            let text = std::fs::read_to_string(root.join("packaging/systemd").join(kind).join(name)).unwrap();
            let unit = folder.path().join(name);
            // It asks whether the program is there.
            std::fs::write(&unit, text.replace("/usr/bin/longhaul", binary().to_str().unwrap())).unwrap();
            unit
        });
        let output = Command::new(program("systemd-analyze", "systemd"))
            .args(arguments)
            .args(&units)
            .env("XDG_RUNTIME_DIR", folder.path())
            .output()
            .unwrap();
        assert_exit(&output, 0);
        // Known since systemd 254. Older ones pass over it, and the runner moves the service aside by itself.
        let told = String::from_utf8_lossy(&output.stderr);
        let told: Vec<_> = told.lines().filter(|line| !line.contains("'DelegateSubgroup'")).collect();
        assert!(output.stdout.is_empty() && told.is_empty(), "{}", shown(&output));
    }
}
