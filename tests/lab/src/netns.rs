//! Network namespaces joined by a virtual cable, for addresses and routes that come and go. Needs root.

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::disk::run;
use crate::process::program;

static MADE: AtomicU32 = AtomicU32::new(0);

/// Two namespaces, `left` at 10.77.0.1 and `right` at 10.77.0.2, joined by a cable; deleted when dropped.
pub struct Cable {
    left: String,
    right: String,
}

impl Cable {
    pub const LEFT_ADDRESS: &'static str = "10.77.0.1";
    pub const RIGHT_ADDRESS: &'static str = "10.77.0.2";
    /// The right end of the second cable.
    pub const SECOND_ADDRESS: &'static str = "10.78.0.2";
    /// Of the right namespace, on no cable.
    pub const FAR_ADDRESS: &'static str = "10.99.0.1";

    /// # Panics
    /// The caller may not make namespaces.
    #[must_use]
    pub fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("lh{}-{number}", std::process::id());
        let cable = Self { left: format!("{name}l"), right: format!("{name}r") };
        for side in [&cable.left, &cable.right] {
            ip(&["netns", "add", side]);
        }
        for side in [&cable.left, &cable.right] {
            ip(&["-n", side, "link", "set", "lo", "up"]);
        }
        cable.lay();
        cable
    }

    fn lay(&self) {
        self.link("cable", ["10.77.0.1/24", "10.77.0.2/24"]);
    }

    fn link(&self, name: &str, addresses: [&str; 2]) {
        let (left, right) = (&self.left, &self.right);
        let link = ["link", "add", name, "netns", left, "type", "veth"];
        ip(&[&link[..], &["peer", "name", name, "netns", right]].concat());
        for (side, address) in [left, right].into_iter().zip(addresses) {
            // Without an IPv6 address of its own the kernel says nothing by itself, so a test can count every byte.
            ip(&["-n", side, "link", "set", name, "addrgenmode", "none"]);
            ip(&["-n", side, "address", "add", address, "dev", name]);
            ip(&["-n", side, "link", "set", name, "up"]);
        }
    }

    /// Lays another cable beside the first, called `second`, and gives the right end an address that is on neither: which way
    /// leads there is for the routes to say.
    pub fn lay_second(&self) {
        self.link("second", ["10.78.0.1/24", "10.78.0.2/24"]);
        ip(&["-n", &self.right, "address", "add", &format!("{}/32", Self::FAR_ADDRESS), "dev", "lo"]);
    }

    /// Takes the cable away and lays another, whose counters begin at 0, with the default route of the left end.
    pub fn relay(&self) {
        self.left_ip("link delete cable");
        self.lay();
        self.left_ip(&format!("route add default via {}", Self::RIGHT_ADDRESS));
    }

    /// `program` inside the left namespace.
    #[must_use]
    pub fn left_command(&self, program: &str) -> Command {
        inside(&self.left, program)
    }

    /// `program` inside the right namespace.
    #[must_use]
    pub fn right_command(&self, program: &str) -> Command {
        inside(&self.right, program)
    }

    /// Words that a command has to be put behind, to run in the left namespace.
    #[must_use]
    pub fn left_wrapper(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.left].map(str::to_owned).to_vec()
    }

    /// Runs `work` on a thread in the right namespace: sockets that it makes are of that namespace.
    ///
    /// # Panics
    /// The caller may not enter namespaces, or `work` panics.
    pub fn on_right<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let namespace = std::fs::File::open(format!("/run/netns/{}", self.right));
                let namespace = namespace.expect("the namespace has a name");
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a namespace");
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `ip` in the left namespace.
    pub fn left_ip(&self, words: &str) {
        ip(&["-n", &self.left].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
    }

    /// Pulls the cable out of the machine at the right end, or plugs it in: the left end keeps its settings and
    /// loses what is at its other end.
    pub fn set_plugged(&self, is_plugged: bool) {
        ip(&["-n", &self.right, "link", "set", "cable", if is_plugged { "up" } else { "down" }]);
    }

    /// Plugs the cable in or out at its left end.
    pub fn set_up(&self, is_up: bool) {
        ip(&["-n", &self.left, "link", "set", "cable", if is_up { "up" } else { "down" }]);
    }
}

impl Default for Cable {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for side in [&self.left, &self.right] {
            let _ = Command::new("ip").args(["netns", "delete", side]).output();
        }
    }
}

fn inside(namespace: &str, program_name: &str) -> Command {
    let mut command = Command::new(program("ip", "iproute2"));
    command.args(["netns", "exec", namespace, program_name]);
    command
}

#[track_caller]
fn ip(arguments: &[&str]) {
    run(Command::new(program("ip", "iproute2")).args(arguments));
}
