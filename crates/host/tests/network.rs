//! The network watch in network namespaces of its own: links, addresses and routes come and go there, never on the
//! machine itself. Needs root and `ip` (iproute2).

use std::process::Command;
use std::time::Duration;

use longhaul_contract::{NetworkLevel, Signal};
use longhaul_host::network::{NetworkNews, NetworkWatch, SOURCE};
use rustix::thread::UnshareFlags;

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `test` on a thread that has a network namespace of its own, with nothing in it but a loopback link.
fn in_own_namespace<F: Future<Output = ()> + 'static>(test: fn() -> F) {
    let thread = std::thread::spawn(move || {
        // SAFETY: only the network namespace is left, of which this thread holds no socket.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .expect("a network namespace can be made (as root)");
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// `ip` works in the namespace of the thread that starts it.
fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output().expect("iproute2 is installed");
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A cable with both ends here: `here` is ours, `there` is the other end.
fn lay_cable(here: &str, there: &str) {
    ip(&format!("link add {here} type veth peer name {there}"));
    ip(&format!("link set {there} up"));
    ip(&format!("link set {here} up"));
}

fn level(watch: &NetworkWatch) -> NetworkLevel {
    match watch.level() {
        Signal::Known { value, source, .. } => {
            assert_eq!(source, SOURCE);
            value
        }
        Signal::Unknown { reason } => panic!("{reason}"),
    }
}

async fn news(watch: &mut NetworkWatch) -> NetworkNews {
    let news = tokio::time::timeout(DEADLINE, watch.news());
    news.await.expect("there is news before the deadline").expect("the watch goes on")
}

async fn until_level(watch: &mut NetworkWatch, wanted: NetworkLevel) {
    while level(watch) != wanted {
        news(watch).await;
    }
}

async fn until_moved(watch: &mut NetworkWatch) {
    while !news(watch).await.is_moved {}
}

#[test]
fn a_pulled_cable_is_no_network_and_a_plugged_one_is() {
    in_own_namespace(|| async {
        let mut watch = NetworkWatch::open().unwrap();
        assert_eq!(level(&watch), NetworkLevel::None);
        lay_cable("here", "there");
        ip("address add 10.11.0.2/24 dev here");
        until_level(&mut watch, NetworkLevel::Local).await;
        ip("route add default via 10.11.0.1");
        until_level(&mut watch, NetworkLevel::Internet).await;
        // The kernel keeps the route.
        ip("link set there down");
        until_level(&mut watch, NetworkLevel::None).await;
        ip("link set there up");
        until_level(&mut watch, NetworkLevel::Internet).await;
        // This takes the route away, without a message that says so.
        ip("link set here down");
        until_level(&mut watch, NetworkLevel::None).await;
        ip("link set here up");
        until_level(&mut watch, NetworkLevel::Local).await;
        assert_eq!(NetworkWatch::open().map(|fresh| level(&fresh)).unwrap(), NetworkLevel::Local);
    });
}

#[test]
fn a_route_over_ipv6_is_enough() {
    in_own_namespace(|| async {
        lay_cable("here", "there");
        ip("address add 2001:db8::2/64 dev here nodad");
        let mut watch = NetworkWatch::open().unwrap();
        until_level(&mut watch, NetworkLevel::Local).await;
        ip("-6 route add default via 2001:db8::1");
        until_level(&mut watch, NetworkLevel::Internet).await;
        ip("-6 route del default");
        until_level(&mut watch, NetworkLevel::Local).await;
    });
}

#[test]
fn a_split_default_route_and_a_refusing_one_are_told_apart() {
    in_own_namespace(|| async {
        lay_cable("here", "there");
        ip("address add 10.11.0.2/24 dev here");
        ip("route add unreachable default");
        let mut watch = NetworkWatch::open().unwrap();
        assert_eq!(level(&watch), NetworkLevel::Local);
        ip("route add 128.0.0.0/1 dev here");
        until_level(&mut watch, NetworkLevel::Internet).await;
    });
}

#[test]
fn another_way_out_and_a_lost_address_are_moves() {
    in_own_namespace(|| async {
        lay_cable("wired", "wired-end");
        lay_cable("radio", "radio-end");
        ip("address add 10.11.0.2/24 dev wired");
        ip("address add 10.12.0.2/24 dev radio");
        ip("route add default via 10.12.0.1 metric 600");
        let mut watch = NetworkWatch::open().unwrap();
        assert_eq!(level(&watch), NetworkLevel::Internet);
        ip("route add default via 10.11.0.1 metric 100");
        until_moved(&mut watch).await;
        ip("route del default via 10.11.0.1");
        until_moved(&mut watch).await;
        ip("address del 10.11.0.2/24 dev wired");
        until_moved(&mut watch).await;
        assert_eq!(level(&watch), NetworkLevel::Internet);
        // A way that comes back after a while is no other way.
        ip("route del default via 10.12.0.1");
        until_level(&mut watch, NetworkLevel::Local).await;
        ip("route add default via 10.12.0.1 metric 600");
        let back = news(&mut watch).await;
        assert_eq!((back.level.value(), back.is_moved), (Some(&NetworkLevel::Internet), false));
    });
}

#[test]
fn more_changes_than_the_socket_holds_are_not_missed() {
    in_own_namespace(|| async {
        let mut watch = NetworkWatch::open().unwrap();
        lay_cable("here", "there");
        ip("address add 10.11.0.2/24 dev here");
        let script = tempfile::NamedTempFile::new().unwrap();
        let lines: String = (0..20_000)
            .map(|number| format!("route add 10.{}.{}.0/24 dev here\n", 100 + number / 256, number % 256))
            .collect();
        std::fs::write(script.path(), lines).unwrap();
        ip(&format!("-batch {}", script.path().display()));
        ip("route add default via 10.11.0.1");
        until_level(&mut watch, NetworkLevel::Internet).await;
    });
}

#[test]
fn an_unchanged_network_is_no_news() {
    in_own_namespace(|| async {
        lay_cable("here", "there");
        ip("address add 10.11.0.2/24 dev here");
        let mut watch = NetworkWatch::open().unwrap();
        until_level(&mut watch, NetworkLevel::Local).await;
        // Of no concern; what it makes the kernel tell is swallowed on the way to the route.
        ip("link set here alias cable");
        ip("address add 10.11.0.3/24 dev here");
        ip("route add default via 10.11.0.1");
        let next = news(&mut watch).await;
        assert_eq!((next.level.value(), next.is_moved), (Some(&NetworkLevel::Internet), false));
    });
}
