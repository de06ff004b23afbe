//! Runs of tasks as a person at a terminal sees them: what holds of their limits, what they write while they run, how they
//! outlive their program, and what an administrator forbids.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use longhaul_endtoend::{DEADLINE, House, assert_exit, ok, shown};
use longhaul_lab::process::spawn;
use longhaul_lab::service::{ServiceOptions, binary};
use longhaul_lab::{Bus, wait_until};
use serde_json::Value;

#[track_caller]
fn shows(house: &House, task: &str) -> Value {
    serde_json::from_str(&ok(house, &["--json", "task", "show", task])).unwrap()
}

#[track_caller]
fn wait_for_run(house: &House, task: &str) -> Value {
    wait_until(&format!("a run of {task} that is over"), DEADLINE, || {
        let newest = shows(house, task)["history"][0].clone();
        newest["endedTime"].is_string().then_some(newest)
    })
}

#[track_caller]
fn wait_for_file(house: &House, name: &str) -> String {
    wait_until(&format!("the file {name}"), DEADLINE, || {
        std::fs::read_to_string(house.result(name)).ok().filter(|text| text.ends_with('\n'))
    })
}

const PHOTOS: &str = "org.example.Photos";

#[test]
fn what_of_its_limits_holds_is_shown() {
    let house = House::new();
    let entry_point = "[[entry-point]]\nclass = \"Task\"\nexec = [\"/bin/sh\", \"-c\", \"echo done\"]\n\
                       memory-max = \"256MiB\"\ncpu-max = 50\n";
    house.install(PHOTOS, entry_point);
    let photos = |arguments: &[&str]| ok(&house, &[&["--app", PHOTOS][..], arguments].concat());
    photos(&["task", "add", "limited", "-t", "app", "--entry-point", "Task"]);
    photos(&["task", "run", "limited", "--follow"]);
    let text = photos(&["task", "show", "limited"]);
    assert!(text.contains("memory: held by") && text.contains("share of the processor:"), "{text}");
    let detail: Value = serde_json::from_str(&photos(&["--json", "task", "show", "limited"])).unwrap();
    let limits = detail["history"][0]["limits"].as_array().unwrap().clone();
    assert_eq!(limits.len(), 2, "{detail:#}");
    let log = house.run(&["--app", PHOTOS, "task", "log", "limited"]);
    assert_eq!(String::from_utf8_lossy(&log.stdout), "done\n");
    // What does not hold as it was asked for is told with the log, and nothing else.
    let is_weak = |limit: &Value| limit["isEnforced"] == false || limit["detail"].is_string();
    let told = String::from_utf8_lossy(&log.stderr).lines().count();
    assert_eq!(told, limits.iter().filter(|limit| is_weak(limit)).count(), "{}", shown(&log));
}

#[test]
fn a_log_is_followed_to_the_end_of_the_run() {
    let house = House::new();
    let script = "echo begun; while ! test -e go; do sleep 0.02; done; echo ended; exit 3";
    ok(&house, &["task", "add", "slow", "-t", "app", "--", "sh", "-c", script]);
    ok(&house, &["task", "run", "slow"]);
    let mut command = house.cli(&["task", "log", "slow", "--follow"]);
    command.stdout(Stdio::piped());
    let mut following = spawn(command).unwrap();
    let mut output = following.as_child().stdout.take().unwrap();
    let mut begun = [0; 6];
    output.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"begun\n", "it comes while the task runs");
    assert!(following.has_ended().is_none());
    std::fs::write(house.result("go"), "").unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "ended\n");
    assert_eq!(following.wait(DEADLINE).code(), Some(9), "as the task that failed");
}

#[test]
fn a_script_leaves_work_behind_under_a_deferral() {
    let house = House::new();
    let program = binary().display().to_string();
    let script = format!(
        "id=$({program} instance defer) || exit 1; \
         (while ! test -e go; do sleep 0.02; done; echo late >> late; {program} instance complete-deferral $id) & exit 0"
    );
    ok(&house, &["task", "add", "deferring", "-t", "app", "--", "sh", "-c", &script]);
    ok(&house, &["task", "run", "deferring"]);
    let instance = shows(&house, "deferring")["runningInstance"].clone();
    assert!(instance.is_string());
    std::fs::write(house.result("go"), "").unwrap();
    assert_eq!(wait_for_file(&house, "late"), "late\n", "it went on behind the end of its program");
    let over = wait_for_run(&house, "deferring");
    assert_eq!((&over["result"], &over["exitCode"]), (&"Completed".into(), &0.into()), "{over:#}");
}

#[test]
fn what_an_administrator_forbids_waits_and_says_so() {
    let policy = tempfile::tempdir().unwrap();
    let file = policy.path().join("policy.toml");
    std::fs::write(&file, "[background-access]\ndefault = \"deny\"\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = format!("[tasks]\npolicy-files = [{:?}]\n", file.display().to_string());
    let house = House::with(ServiceOptions { config, ..ServiceOptions::default() });
    ok(&house, &["task", "add", "quiet", "-t", "time:15,now", "--", "sh", "-c", "echo ran >> ran"]);
    let why = ok(&house, &["task", "why", "quiet"]);
    assert!(why.contains("accessDenied") && why.contains("policy.toml"), "{why}");
    assert!(ok(&house, &["access"]).contains("DeniedBySystemPolicy"));
    // The owner's word changes nothing.
    ok(&house, &["access", "grant", "io.longhaul.cli"]);
    assert!(ok(&house, &["task", "why", "quiet"]).contains("accessDenied"));
    std::fs::write(&file, "[background-access]\ndefault = \"owner\"\n").unwrap();
    assert_eq!(wait_for_file(&house, "ran"), "ran\n");
}

#[test]
fn why_answers_what_would_be() {
    let house = House::new();
    ok(&house, &["host", "set", "power", "battery"]);
    ok(&house, &["host", "set", "workCost", "High"]);
    ok(&house, &["when", "ac,cheap", "--name", "later", "--", "true"]);
    let why = |more: &[&str]| ok(&house, &[&["task", "why", "later"][..], more].concat());
    assert!(why(&[]).starts_with("It waits."), "{}", why(&[]));
    assert!(why(&["--if", "ac"]).starts_with("It would run."), "mains make work cheap");
    assert!(why(&["--if", "ac,costly"]).starts_with("It would wait."));
    ok(&house, &["task", "add", "hourly", "-t", "time:60", "--", "true"]);
    let hourly = |more: &[&str]| ok(&house, &[&["task", "why", "hourly"][..], more].concat());
    assert!(hourly(&["--at", "+30m"]).starts_with("It would wait."));
    assert!(hourly(&["--at", "+2h"]).starts_with("It would run."));
    assert_exit(&house.run(&["task", "why", "later", "--if", "sunny"]), 2);
    assert_exit(&house.run(&["task", "why", "later", "--at", "soon"]), 2);
}

/// A logind of its own, that only gives locks and says which there are.
const LOGIND: &str = r#"
import os, dbus, dbus.service, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
MANAGER = "org.freedesktop.login1.Manager"
locks = {}
class Manager(dbus.service.Object):
    @dbus.service.method(MANAGER, in_signature="ssss", out_signature="h")
    def Inhibit(self, what, who, why, mode):
        ours, theirs = os.pipe()
        locks[ours] = (what, who, why, mode)
        GLib.io_add_watch(ours, GLib.IO_HUP, lambda fd, _: locks.pop(fd) and False)
        lock = dbus.types.UnixFd(theirs)
        os.close(theirs)
        return lock
    @dbus.service.method(MANAGER, out_signature="as")
    def ListInhibitors(self):
        return [" ".join(lock) for lock in locks.values()]
    @dbus.service.method(MANAGER, out_signature="a(susso)")
    def ListSessions(self):
        return []
manager = Manager(bus, "/org/freedesktop/login1")
owned = dbus.service.BusName("org.freedesktop.login1", bus)
GLib.MainLoop().run()
"#;

#[test]
fn a_task_that_wants_the_network_keeps_the_machine_awake() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.args(["-c", LOGIND]);
    let logind = bus.start_daemon(command, "org.freedesktop.login1");
    let environment = vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.address())];
    let house = House::with(ServiceOptions { environment, ..ServiceOptions::default() });
    let locks = || {
        let method = "org.freedesktop.login1.Manager.ListInhibitors";
        bus.call("org.freedesktop.login1", "/org/freedesktop/login1", method, &[])
    };
    let script = "while ! test -e go; do sleep 0.02; done";
    ok(&house, &["task", "add", "online", "-t", "app", "--network", "--", "sh", "-c", script]);
    ok(&house, &["task", "run", "online"]);
    wait_until("a lock", DEADLINE, || locks().contains("sleep:idle Longhaul").then_some(()));
    assert!(locks().contains("io.longhaul.cli"), "{}", locks());
    std::fs::write(house.result("go"), "").unwrap();
    let over = wait_for_run(&house, "online");
    assert_eq!(over["keepAwake"]["isHeld"], true, "{over:#}");
    wait_until("the end of the lock", DEADLINE, || (!locks().contains("sleep:idle Longhaul")).then_some(()));
    assert!(ok(&house, &["task", "show", "online"]).contains("logind holds off sleep and idle"));

    drop(logind);
    ok(&house, &["task", "run", "online", "--follow"]);
    let over = wait_for_run(&house, "online");
    assert_eq!(over["keepAwake"]["isHeld"], false, "{over:#}");
    assert!(over["keepAwake"]["detail"].as_str().unwrap().contains("logind"), "{over:#}");
}
