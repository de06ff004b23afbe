//! upowerd with mains and a battery of umockdev.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use longhaul_contract::{BatteryStatus, Power, WorkCost};

use crate::rig::{Rig, is, source};

/// Makes the devices, starts the daemon on them, and carries out lines of `DEVICE ATTRIBUTE VALUE`.
const DEVICES: &str = r#"
import gi, os, subprocess, sys
gi.require_version("UMockdev", "1.0")
from gi.repository import UMockdev
bed = UMockdev.Testbed.new()
make = lambda name, kind, *more: bed.add_device("power_supply", name, None, ["type", kind, *more], [])
devices = {
    "mains": make("AC0", "Mains", "online", "1"),
    "battery": make("BAT0", "Battery", "present", "1", "scope", "System", "status", "Full", "capacity", "100",
        "energy_full", "60000000", "energy_full_design", "60000000", "energy_now", "60000000",
        "voltage_now", "12000000", "power_now", "5000000"),
}
environment = dict(os.environ, LD_PRELOAD="libumockdev-preload.so.0", UMOCKDEV_DIR=bed.get_root_dir())
daemon = subprocess.Popen([sys.argv[1]], env=environment, stdin=subprocess.DEVNULL)
try:
    for line in sys.stdin:
        device, attribute, value = line.split()
        bed.set_attribute(devices[device], attribute, value)
        bed.uevent(devices[device], "change")
finally:
    daemon.terminate()
    daemon.wait()
"#;

#[tokio::test]
async fn the_real_daemon_tells_of_mains_and_battery() {
    let rig = Rig::with_bus();
    let upowerd = ["/usr/libexec/upowerd", "/usr/lib/upower/upowerd"].map(PathBuf::from);
    let upowerd = upowerd.iter().find(|path| path.is_file());
    let upowerd = upowerd.expect("upowerd is missing: install the Debian package upower");
    let mut command = Command::new(longhaul_lab::process::program("umockdev-wrapper", "umockdev"));
    command.args(["/usr/bin/python3", "-c", DEVICES]).arg(upowerd);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", rig.bus.address());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut devices = longhaul_lab::process::spawn(command).unwrap();
    let mut orders = devices.as_child().stdin.take().unwrap();
    let mut order = |line: &str| writeln!(orders, "{line}").unwrap();
    let mut watch = rig.watch().await;
    let power = |is_external, battery, percent| Power { is_external, battery, percent: Some(percent) };
    let full = power(true, BatteryStatus::Idle, 100);
    watch.until("full", |state| is(&state.power, &full) && source(&state.power) == "UPower").await;
    assert!(is(&watch.state().work_cost, &WorkCost::Low));
    order("mains online 0");
    order("battery status Discharging");
    order("battery energy_now 24000000");
    order("battery capacity 40");
    let discharging = power(false, BatteryStatus::Discharging, 40);
    watch.until("discharging", |state| is(&state.power, &discharging)).await;
    assert!(is(&watch.state().work_cost, &WorkCost::High));
    order("mains online 1");
    order("battery status Charging");
    let charging = power(true, BatteryStatus::Charging, 40);
    watch.until("charging", |state| is(&state.power, &charging)).await;
    // The daemon ends with its orders.
    drop(orders);
    watch.until("the kernel's own files", |state| source(&state.power) == "power_supply").await;
}
