//! systemd-networkd in a network namespace of the test's own, with an interface that it looks after.

use std::process::Command;

use longhaul_contract::{NetworkCost, NetworkLevel};
use longhaul_lab::process::{Guarded, program};
use rustix::thread::UnshareFlags;

use crate::rig::{Rig, Watch, is, source};

const NAME: &str = "org.freedesktop.network1";

const SETTINGS: &str = "\
[Match]
Name=here
[Network]
Address=10.89.0.2/24
Gateway=10.89.0.1
LinkLocalAddressing=no
IPv6AcceptRA=no
[Link]
RequiredForOnline=yes
";

/// `ip` works in the namespace of the thread that starts it.
fn ip(words: &str) {
    let done = Command::new(program("ip", "iproute2")).args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Starts the daemon with a /run of its own.
fn start(rig: &Rig) -> Guarded {
    let folder = rig.root().join("networkd");
    let settings = folder.join("systemd/network");
    std::fs::create_dir_all(&settings).unwrap();
    for name in ["systemd/system", "systemd/netif/links", "systemd/netif/leases"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    std::fs::write(settings.join("here.network"), SETTINGS).unwrap();
    let script = "chown -R systemd-network: \"$0/systemd/netif\" && chmod 755 \"$0\" && mount --make-rprivate / \
         && mount --bind \"$0\" /run && mount -t sysfs -o ro own /sys && exec \"$1\"";
    let mut command = Command::new(program("unshare", "util-linux"));
    command.args(["--mount", "sh", "-c", script]).arg(&folder).arg("/lib/systemd/systemd-networkd");
    rig.bus.start_daemon(command, NAME)
}

async fn until_level(watch: &mut Watch, level: NetworkLevel) {
    watch.until("the level", |state| is(&state.network.level, &level)).await;
}

#[test]
fn links_and_leases_are_told_by_the_real_daemon() {
    let test = std::thread::spawn(|| {
        // SAFETY: only the network namespace is left, of which this thread holds no socket.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .expect("a network namespace can be made (as root)");
        ip("link set lo up");
        ip("link add here type veth peer name there");
        ip("link set there up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(walk());
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn walk() {
    let rig = Rig::with_bus();
    let mut watch = rig.watch().await;
    assert!(is(&watch.state().network.level, &NetworkLevel::None));
    assert!(source(&watch.state().network.cost).contains("NetworkManager"), "nobody tells");
    let daemon = start(&rig);
    until_level(&mut watch, NetworkLevel::Internet).await;
    assert_eq!(source(&watch.state().network.level), "rtnetlink");
    let table = watch.0.support().borrow().clone();
    let support = table.condition(longhaul_contract::Condition::InternetAvailable);
    assert_eq!(support.source.as_deref(), Some("systemd-networkd and rtnetlink"));
    ip("link set there down");
    until_level(&mut watch, NetworkLevel::None).await;
    // A lease as the daemon writes it where the router is a phone.
    let shown =
        Command::new(program("ip", "iproute2")).args(["-o", "link", "show", "here"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let leases = rig.root().join("run/systemd/netif/leases");
    std::fs::create_dir_all(&leases).unwrap();
    let lease = "ADDRESS=10.89.0.2\nVENDOR_SPECIFIC=414e44524f49445f4d455445524544\n";
    std::fs::write(leases.join(shown.split(':').next().unwrap()), lease).unwrap();
    ip("link set there up");
    let metered = NetworkCost { is_metered: true, ..NetworkCost::default() };
    watch.until("the lease", |state| is(&state.network.cost, &metered)).await;
    assert_eq!(source(&watch.state().network.cost), "systemd-networkd (guessed)");
    drop(daemon);
    watch.until("gone", |state| state.network.cost.value().is_none()).await;
    until_level(&mut watch, NetworkLevel::Internet).await;
    let _again = start(&rig);
    watch.until("there again", |state| is(&state.network.cost, &metered)).await;
}
