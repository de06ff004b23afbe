//! NetworkManager in a network namespace, with a cable to another one in which its connectivity check is answered.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use longhaul_contract::{NetworkCost, NetworkLevel};
use longhaul_lab::process::{Guarded, program};
use rustix::thread::UnshareFlags;

use crate::rig::{Rig, Watch, is, source};

const NAME: &str = "org.freedesktop.NetworkManager";
const SETTINGS: &str = "\
[main]
plugins=keyfile
dhcp=internal
auth-polkit=false
dns=none
rc-manager=unmanaged
[connectivity]
uri=http://10.88.0.1/check
response=here
interval=1
[keyfile]
unmanaged-devices=none
";
const CONNECTION: &str = "\
[connection]
id=cable
uuid=7d3f1c1e-5f0b-4c86-9d5e-1f3f5a5b6c7d
type=ethernet
interface-name=here
[ipv4]
method=manual
address1=10.88.0.2/24,10.88.0.1
[ipv6]
method=disabled
";

/// A network namespace of its own for the calling thread.
fn leave_network() {
    // SAFETY: only the network namespace is left, of which this thread holds no socket.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .expect("a network namespace can be made (as root)");
}

/// `ip` works in the namespace of the thread that starts it.
fn ip(words: &str) {
    let done = Command::new(program("ip", "iproute2")).args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Answers the check at the other end of the cable, as it should be answered or as a portal would.
fn serve(is_portal: Arc<AtomicBool>) -> impl FnOnce() {
    let (sender, receiver) = mpsc::channel();
    let (cabled, is_cabled) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        leave_network();
        ip("link set lo up");
        sender.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        is_cabled.recv().unwrap();
        ip("address add 10.88.0.1/24 dev there");
        ip("link set there up");
        let listener = TcpListener::bind("10.88.0.1:80").unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = if is_portal.load(Ordering::Relaxed) { "pay first" } else { "here" };
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let server = receiver.recv().unwrap();
    move || {
        ip("link add here type veth peer name there");
        ip(&format!("link set there netns {server}"));
        cabled.send(()).unwrap();
    }
}

/// Starts the daemon with files of its own in the places where it looks for them.
fn start(rig: &Rig) -> Guarded {
    let folder = rig.root().join("nm");
    let connections = folder.join("etc/system-connections");
    std::fs::create_dir_all(&connections).unwrap();
    std::fs::create_dir_all(folder.join("var")).unwrap();
    // What it remembers of its devices outlives it there.
    std::fs::create_dir_all(folder.join("run/NetworkManager")).unwrap();
    std::fs::write(folder.join("etc/NetworkManager.conf"), SETTINGS).unwrap();
    let connection = connections.join("cable.nmconnection");
    if !connection.exists() {
        std::fs::write(&connection, CONNECTION).unwrap();
        std::fs::set_permissions(&connection, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let script = "mount --make-rprivate / && mount --bind \"$0/run\" /run \
         && mount --bind \"$0/etc\" /etc/NetworkManager && mount --bind \"$0/var\" /var/lib/NetworkManager \
         && mount -t sysfs -o ro own /sys && exec \"$1\" --no-daemon";
    let mut command = Command::new(program("unshare", "util-linux"));
    command.args(["--mount", "sh", "-c", script]).arg(&folder);
    command.arg(program("NetworkManager", "network-manager"));
    rig.bus.start_daemon(command, NAME)
}

fn modify(rig: &Rig, setting: &str, value: &str) {
    let mut command = Command::new(program("nmcli", "network-manager"));
    command.args(["connection", "modify", "cable", setting, value]);
    let done = command.env("DBUS_SYSTEM_BUS_ADDRESS", rig.bus.address()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn until_level(watch: &mut Watch, level: NetworkLevel, from: &str) {
    watch.until(from, |state| is(&state.network.level, &level) && source(&state.network.level) == from).await;
}

async fn until_metered(watch: &mut Watch, is_metered: bool, from: &str) {
    let cost = NetworkCost { is_metered, ..NetworkCost::default() };
    watch.until(from, |state| is(&state.network.cost, &cost) && source(&state.network.cost) == from).await;
}

#[test]
fn cost_portal_and_cable_are_told_by_the_real_daemon() {
    let test = std::thread::spawn(|| {
        let is_portal = Arc::new(AtomicBool::new(false));
        let lay_cable = serve(Arc::clone(&is_portal));
        leave_network();
        ip("link set lo up");
        lay_cable();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(walk(&is_portal));
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn walk(is_portal: &AtomicBool) {
    let rig = Rig::with_bus();
    assert!(Path::new("/sys/class/net").exists());
    let mut watch = rig.watch().await;
    assert!(is(&watch.state().network.level, &NetworkLevel::None));
    let daemon = start(&rig);
    until_level(&mut watch, NetworkLevel::Internet, "NetworkManager").await;
    until_metered(&mut watch, false, "NetworkManager (guessed)").await;
    modify(&rig, "connection.metered", "yes");
    until_metered(&mut watch, true, "NetworkManager").await;
    is_portal.store(true, Ordering::Relaxed);
    until_level(&mut watch, NetworkLevel::ConstrainedInternet, "NetworkManager").await;
    is_portal.store(false, Ordering::Relaxed);
    until_level(&mut watch, NetworkLevel::Internet, "NetworkManager").await;
    // The kernel is the first to know, and the daemon follows.
    ip("link set here down");
    watch.until("no cable", |state| is(&state.network.level, &NetworkLevel::None)).await;
    ip("link set here up");
    until_level(&mut watch, NetworkLevel::Internet, "NetworkManager").await;
    // Killed, it leaves the connection as it is: the level is the kernel's, the cost the last that it told.
    drop(daemon);
    until_level(&mut watch, NetworkLevel::Internet, "rtnetlink").await;
    until_metered(&mut watch, true, "NetworkManager (gone since)").await;
    let _again = start(&rig);
    until_metered(&mut watch, true, "NetworkManager").await;
    modify(&rig, "connection.metered", "no");
    until_metered(&mut watch, false, "NetworkManager").await;
}
