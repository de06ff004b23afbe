//! Subscribed to everything, the watch makes no wake-ups of its own.

use std::time::Duration;

use crate::rig::Rig;

/// Times that all threads of this process gave the processor away so far, and thus were woken up.
fn wakes() -> u64 {
    let mut total = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default();
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        total += switches.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    total
}

#[test]
fn nothing_happens_while_nothing_happens() {
    let rig = Rig::with_bus();
    let daemons = [
        ("logind", "org.freedesktop.login1"),
        ("upower", "org.freedesktop.UPower"),
        ("power_profiles_daemon", "net.hadess.PowerProfiles"),
        ("networkmanager", "org.freedesktop.NetworkManager"),
    ];
    let _daemons = daemons.map(|(template, name)| rig.bus.start_template(template, name, "{}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let watch = runtime.block_on(rig.watch());
    let task = runtime.spawn(async move {
        let mut watch = watch;
        loop {
            watch.next().await;
        }
    });
    // Quiet is measured over 10 s; what other tests do on this machine's links and devices may break one such time.
    let quiet = (0..5).any(|_| {
        std::thread::sleep(Duration::from_secs(1));
        let before = wakes();
        std::thread::sleep(Duration::from_secs(10));
        // This thread itself is woken at the end of its own sleep.
        let woken = wakes() - before;
        println!("{woken} wake-ups in 10 s");
        woken <= 1
    });
    assert!(quiet && !task.is_finished());
}
