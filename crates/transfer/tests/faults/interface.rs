//! Where connections begin.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};

use longhaul_contract::{Blocker, Cause, Remedy};
use longhaul_lab::{Content, FtpKind, FtpMode, FtpServer};
use longhaul_transfer::{Job, ProxyAddress, ProxyRules};

use crate::support::World;

/// Answers each request with five bytes, and tells where it came from.
struct Door {
    address: String,
    callers: Arc<Mutex<Vec<IpAddr>>>,
}

impl Door {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, callers) = (listener.local_addr().unwrap().to_string(), Arc::default());
        let seen: Arc<Mutex<Vec<IpAddr>>> = Arc::clone(&callers);
        // Ends with the process: nothing more than this test's connections comes.
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                seen.lock().unwrap().push(peer.ip());
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                lines.map_while(Result::ok).find(String::is_empty);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
            }
        });
        Self { address, callers }
    }

    fn callers(&self) -> Vec<IpAddr> {
        self.callers.lock().unwrap().clone()
    }
}

fn from(job: Job, interface: &str) -> Job {
    Job { interface: Some(interface.parse().unwrap()), ..job }
}

#[test]
fn a_connection_begins_at_the_address_that_was_named() {
    let door = Door::open();
    let url = format!("http://{}/f", door.address);
    for (interface, expected) in [("127.0.0.7", "127.0.0.7"), ("lo", "127.0.0.1")] {
        let world = World::new();
        world.run(&from(world.job(&url), interface)).receipt();
        assert_eq!(door.callers().last(), Some(&expected.parse().unwrap()), "{interface}");
    }
    let world = World::new();
    let proxy = ProxyRules::all(ProxyAddress::parse(&format!("http://{}", door.address)).unwrap());
    let job = Job { proxy, ..world.job("http://files.example/f") };
    world.run(&from(job, "127.0.0.8")).receipt();
    assert_eq!(door.callers().last(), Some(&"127.0.0.8".parse().unwrap()), "to the proxy too");
}

#[test]
fn what_the_machine_does_not_have_is_waited_for() {
    let door = Door::open();
    let url = format!("http://{}/f", door.address);
    for (interface, word) in
        [("nosuch0", "no interface nosuch0"), ("192.0.2.77", "does not have the address 192.0.2.77")]
    {
        let world = World::new();
        let outcome = world.run(&from(world.job(&url), interface));
        assert_eq!(
            outcome.why(),
            (Cause::NoNetwork, Remedy::Blocked { on: Blocker::Network }),
            "{interface}"
        );
        assert!(format!("{:?}", outcome.end).contains(word), "{:?}", outcome.end);
    }
    let world = World::new();
    let outcome = world.run(&from(world.job(&url), "::1"));
    assert_eq!(outcome.why(), (Cause::CannotConnect, Remedy::NeedsInput));
    assert!(door.callers().is_empty());
}

#[test]
fn both_connections_of_ftp_begin_there() {
    let server = FtpServer::start(FtpKind::Vsftpd, FtpMode::Plain);
    let content = Content::new(3, 200_000);
    content.write_to(&server.root().join("f"));
    let world = World::new();
    world.run(&from(world.job(&server.url("/f")), "127.0.0.9")).assert_published(&world, content);
    // vsftpd takes no data connection from anywhere but where the control connection came from.
    assert!(server.protocol_log().contains("127.0.0.9"), "{}", server.protocol_log());
}
