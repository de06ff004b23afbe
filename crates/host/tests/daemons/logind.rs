//! systemd-logind in a mount namespace, with a stand-in for the service manager: sessions that come, lock, idle and go,
//! and a machine that only pretends to sleep.

use std::io::Write;
use std::process::{Command, Stdio};

use longhaul_host::{HostChange, HostWatch, Inhibitors, Machine};
use longhaul_lab::process::{Guarded, program, spawn};
use longhaul_lab::wait_until;

use crate::rig::{DEADLINE, Rig, Watch, is, source};

const LOGIN: &str = "org.freedesktop.login1";
const MANAGER_LIST: &str = "org.freedesktop.login1.Manager.ListInhibitors";

/// What logind asks of systemd: every job is done soon, and units end when they are let go.
const SERVICE_MANAGER: &str = r#"
import os, re, dbus, dbus.service, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
SYSTEMD, ROOT = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
MANAGER = SYSTEMD + ".Manager"
ended = set()
def method(interface, takes="", gives="", **more):
    return dbus.service.method(interface, in_signature=takes, out_signature=gives, **more)
class Manager(dbus.service.Object):
    count = 0
    def job(self, unit):
        self.count += 1
        number, path = self.count, dbus.ObjectPath(f"{ROOT}/job/{self.count}")
        GLib.timeout_add(5, lambda: self.JobRemoved(number, path, unit, "done") or False)
        return path
    @dbus.service.signal(MANAGER, signature="uoss")
    def JobRemoved(self, number, path, unit, result): pass
    @dbus.service.signal(MANAGER, signature="so")
    def UnitRemoved(self, unit, path): pass
    @method(MANAGER)
    def Subscribe(self): pass
    @method(MANAGER, "ss", "o")
    def StartUnit(self, unit, mode): return self.job(unit)
    @method(MANAGER, "ss", "o")
    def StopUnit(self, unit, mode): return self.job(unit)
    @method(MANAGER, "ssa(sv)a(sa(sv))", "o")
    def StartTransientUnit(self, unit, mode, properties, others): return self.job(unit)
    @method(MANAGER, "s", "o")
    def GetUnit(self, unit): return dbus.ObjectPath(f"{ROOT}/unit/any")
    @method(MANAGER, "s", "o")
    def LoadUnit(self, unit): return dbus.ObjectPath(f"{ROOT}/unit/any")
    @method(MANAGER, "ssi")
    def KillUnit(self, unit, whom, signal): pass
    @method(MANAGER, "s")
    def ResetFailedUnit(self, unit): pass
    @method(MANAGER, "s", "s")
    def GetUnitFileState(self, unit): return "enabled"
class Units(dbus.service.FallbackObject):
    @method(SYSTEMD + ".Scope", path_keyword="path")
    def Abandon(self, path=None):
        ended.add(path)
        unit = re.sub("_([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), path.rsplit("/", 1)[1])
        GLib.timeout_add(5, lambda: manager.UnitRemoved(unit, dbus.ObjectPath(path)) or False)
    @method("org.freedesktop.DBus.Properties", "ss", "v", path_keyword="path")
    def Get(self, interface, name, path=None):
        no_job = dbus.Struct((dbus.UInt32(0), dbus.ObjectPath("/")), signature="uo")
        state = "inactive" if path in ended else "active"
        return {"ActiveState": state, "LoadState": "loaded", "Job": no_job}.get(name, "")
manager, units = Manager(bus, ROOT), Units(bus, ROOT + "/unit")
owned = dbus.service.BusName(SYSTEMD, bus)
GLib.MainLoop().run()
"#;

/// Logs root in and out and does with the session what it is told.
const SESSIONS: &str = r#"
import os, sys, subprocess, dbus
bus = dbus.bus.BusConnection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
LOGIN = "org.freedesktop.login1"
manager = dbus.Interface(bus.get_object(LOGIN, "/org/freedesktop/login1"), LOGIN + ".Manager")
for line in sys.stdin:
    word, _, value = line.strip().partition(" ")
    if word == "login":
        leader = subprocess.Popen(["sleep", "1000"])
        reply = manager.CreateSession(dbus.UInt32(0), dbus.UInt32(leader.pid), "test", "wayland", "user", "",
            "", dbus.UInt32(0), "", "", False, "", "", dbus.Array([], signature="(sv)"))
        held = reply[3].take()
        session = dbus.Interface(bus.get_object(LOGIN, reply[1]), LOGIN + ".Session")
    elif word == "lock":
        session.SetLockedHint(value == "on")
    elif word == "idle":
        session.SetIdleHint(value == "on")
    elif word == "logout":
        os.close(held)
        leader.kill()
        leader.wait()
    elif word == "sleep":
        manager.Suspend(False)
"#;

fn python(rig: &Rig, script: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).env("DBUS_SYSTEM_BUS_ADDRESS", rig.bus.address());
    command
}

/// logind with a /run of its own, and with files in the place of the kernel's that would make the machine sleep.
fn logind(rig: &Rig) -> Guarded {
    let folder = rig.root().join("logind");
    for name in ["system", "users", "seats", "sessions", "inhibit"] {
        std::fs::create_dir_all(folder.join("run/systemd").join(name)).unwrap();
    }
    std::fs::create_dir_all(folder.join("run/user")).unwrap();
    for (name, content) in
        [("state", "freeze mem disk"), ("mem_sleep", "[s2idle] deep"), ("disk", "[platform] shutdown")]
    {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let script = "mount --make-rprivate / && mount --bind \"$0/run\" /run \
         && mount --bind \"$0/state\" /sys/power/state && exec \"$1\"";
    let mut command = Command::new(program("unshare", "util-linux"));
    command.args(["--mount", "sh", "-c", script]).arg(&folder).arg("/lib/systemd/systemd-logind");
    rig.bus.start_daemon(command, "org.freedesktop.login1")
}

#[tokio::test]
async fn the_real_daemon_tells_of_sessions_and_sleep() {
    let rig = Rig::with_bus();
    let _systemd = rig.bus.start_daemon(python(&rig, SERVICE_MANAGER), "org.freedesktop.systemd1");
    let daemon = logind(&rig);
    let mut command = python(&rig, SESSIONS);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut sessions = spawn(command).unwrap();
    let mut orders = sessions.as_child().stdin.take().unwrap();
    let mut order = |line: &str| writeln!(orders, "{line}").unwrap();
    let mut watch = Watch(HostWatch::open(Machine { uid: 0, ..rig.machine() }).await);
    assert!(is(&watch.state().session_connected, &false), "{:#?}", watch.state());
    order("login");
    watch
        .until("present", |state| is(&state.session_connected, &true) && is(&state.user_present, &true))
        .await;
    assert_eq!(source(&watch.state().user_present), "logind");
    for what in ["lock", "idle"] {
        order(&format!("{what} on"));
        watch.until(what, |state| is(&state.user_present, &false)).await;
        assert!(is(&watch.state().session_connected, &true));
        order(&format!("{what} off"));
        watch.until(what, |state| is(&state.user_present, &true)).await;
    }
    let inhibitors = Inhibitors::of(&rig.machine());
    let listed = || rig.bus.call(LOGIN, "/org/freedesktop/login1", MANAGER_LIST, &[]);
    let lock = inhibitors.hold("A test needs the network").await.unwrap();
    assert_eq!(lock.what(), "sleep:idle");
    let locks = listed();
    assert!(locks.contains("'sleep:idle', 'Longhaul', 'A test needs the network', 'block'"), "{locks}");
    drop(lock);
    wait_until("the end of the lock", DEADLINE, || (!listed().contains("'block'")).then_some(()));
    order("sleep");
    let HostChange::Suspending(delay) = watch.event().await else { panic!("not suspending") };
    assert!(delay.is_held());
    // The machine waits for us, and for as long as it does nothing else happens.
    drop(delay);
    let resumed = tokio::time::timeout(DEADLINE, watch.event()).await.unwrap();
    assert!(matches!(resumed, HostChange::Resumed));
    order("logout");
    watch.until("logged out", |state| is(&state.session_connected, &false)).await;
    drop(daemon);
    let refused = inhibitors.hold("A test").await.unwrap_err();
    assert!(refused.contains("systemd-logind is not running"), "{refused}");
    watch.until("gone", |state| state.session_connected.value().is_none()).await;
}
