//! Network namespaces joined by a virtual cable, for addresses and routes that come and go. Needs root.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

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
        ip(&[
            "link",
            "add",
            "cable",
            "netns",
            &cable.left,
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            &cable.right,
        ]);
        for (side, address) in [(&cable.left, "10.77.0.1/24"), (&cable.right, "10.77.0.2/24")] {
            ip(&["-n", side, "address", "add", address, "dev", "cable"]);
            ip(&["-n", side, "link", "set", "cable", "up"]);
            ip(&["-n", side, "link", "set", "lo", "up"]);
        }
        cable
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
