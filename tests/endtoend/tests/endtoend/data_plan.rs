//! The owner's data plan of a connection, in a network namespace of the service's own: real downloads, counted by the
//! kernel.

use std::path::Path;
use std::time::Duration;

use longhaul_endtoend::{DEADLINE, Far, House, QUICK, assert_exit, received, shown, switches};
use longhaul_lab::service::calm_wrapper;
use longhaul_lab::{Bus, ServiceOptions, wait_until};
use serde_json::Value;

const SIZE: u64 = 200_000_000;
/// Slow enough that a look each second sees the forecast before the limit.
const PACE: u64 = 60_000;
const LIMIT: u64 = 1_000_000;

/// Lives for the whole test; its interface is called `cable`.
struct Scene {
    far: Far,
    house: House,
}

impl Scene {
    fn new(plan: &str) -> Self {
        Self::named("cable", plan, "unix:path=/nowhere")
    }

    /// With a plan for the connection of this name, and with the daemons on this bus.
    fn named(connection: &str, plan: &str, bus: &str) -> Self {
        let far = Far::new(SIZE, PACE);
        let limits =
            "[limits]\nrunning-at-once = 3\nrunning-at-once-per-application = 3\nconnections-per-host = 6\n";
        let house = House::with(ServiceOptions {
            config: format!(
                "{}\nsegments-max = 1\n{limits}\n[data-plan.{connection:?}]\n{plan}",
                QUICK.trim_end()
            ),
            wrapper: [far.cable.left_wrapper(), calm_wrapper()].concat(),
            environment: vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), bus.to_owned())],
            ..ServiceOptions::default()
        });
        Self { far, house }
    }

    fn begin(&self, policy: &str) -> String {
        let mut spec = self.house.spec(&format!("http://{}/{policy}", self.far.address()), policy);
        spec["costPolicy"] = policy.into();
        self.house.create(&spec)
    }

    fn host(&self) -> Value {
        self.house.call("GET", "/host").expect_status(200).json()
    }

    fn used(&self) -> u64 {
        self.host()["dataPlans"][0]["usedBytes"].as_u64().expect("a count")
    }

    /// What the kernel has counted on the cable's left end.
    fn kernel(&self) -> u64 {
        let shown = self.far.cable.left_command("cat").arg("/proc/net/dev").output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("cable:")).expect("the cable");
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        numbers[0] + numbers[8]
    }

    fn status(&self, id: &str) -> Value {
        self.house.operation(id)["status"].clone()
    }
}

/// A day of the month such that the period is all but over, and a forecast says no more than what was used.
fn tomorrow() -> u32 {
    let shown = std::process::Command::new("date").args(["-u", "-d", "tomorrow", "+%d"]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn default_stops_at_the_forecast_and_always_goes_on_to_the_limit() {
    let scene = Scene::new(&format!("limit = {LIMIT}\nresets-on-day = {}\n", tomorrow()));
    let before = (scene.used(), scene.kernel());
    let [strict, default, always] =
        ["UnrestrictedOnly", "Default", "Always"].map(|policy| scene.begin(policy));
    // A connection with a plan is a metered one.
    scene.house.wait_for_status(&strict, "PausedCostedNetwork");
    scene.house.wait_for_bytes(&default, 1);
    scene.house.wait_for_status(&default, "PausedCostedNetwork");
    let at_stop = scene.used();
    assert!((LIMIT * 8 / 10..LIMIT).contains(&at_stop), "{at_stop} of {LIMIT}");
    assert_eq!(scene.status(&always), "Running");
    let host = scene.host();
    let cost = &host["network"]["cost"];
    assert_eq!(cost["value"]["isApproachingDataLimit"], true, "{host:#}");
    assert_eq!((&cost["value"]["isOverDataLimit"], &cost["source"]), (&false.into(), &"data plan".into()));
    let explained = scene.house.of(&default, "explain");
    assert_eq!(explained["blocking"][0]["code"], "networkCost", "{explained:#}");
    let had = received(&scene.house.operation(&default));
    // Over the limit nobody may go on.
    scene.house.wait_for_status(&always, "PausedCostedNetwork");
    assert!(scene.used() >= LIMIT);
    assert_eq!(received(&scene.house.operation(&default)), had);
    wait_until("the same count as the kernel's", DEADLINE, || {
        let (used, kernel) = (scene.used(), scene.kernel());
        // A packet or two may come between the two looks.
        ((used - before.0).abs_diff(kernel - before.1) < 3_000).then_some(())
    });
    println!(
        "used {} of {LIMIT}, by the kernel {}; Default stopped at {at_stop}",
        scene.used(),
        scene.kernel() - before.1
    );
    let told = scene.house.run(&["host"]);
    assert_exit(&told, 0);
    assert!(shown(&told).contains("over its limit") && shown(&told).contains("resets"), "{}", shown(&told));
}

#[test]
fn a_count_survives_kill_and_the_interface_being_made_anew() {
    let mut scene = Scene::new("limit = \"1GB\"\nused = 5000\n");
    assert_eq!(scene.used(), 5_000);
    let (used, kernel) = (scene.used(), scene.kernel());
    let id = scene.begin("Default");
    scene.house.wait_for_bytes(&id, 100_000);
    scene.house.kill();
    scene.house.launch();
    let grown = scene.used() - used;
    let by_kernel = scene.kernel() - kernel;
    assert!(grown >= 100_000 && grown.abs_diff(by_kernel) < 20_000, "{grown} {by_kernel}");
    let _ = scene.house.command(&id, "pause");
    scene.house.wait_for_status(&id, "PausedByApplication");
    let before = scene.used();
    // A cable of the same name whose counters begin at 0.
    scene.far.cable.relay();
    wait_until("the way out", DEADLINE, || (scene.host()["dataPlans"][0]["isInUse"] == true).then_some(()));
    let kernel = scene.kernel();
    let used = scene.used();
    assert!(used >= before && used - before < kernel + 3_000, "{before} {used} {kernel}");
    assert!(Path::new("/proc/sys/kernel/random/boot_id").exists());
}

#[test]
fn nothing_is_looked_at_while_nothing_moves() {
    let scene = Scene::new("limit = \"1GB\"\n");
    assert_eq!(scene.host()["dataPlans"][0]["connection"], "cable");
    // What was begun at the start comes to its end first; other tests on this machine may break a stretch.
    wait_until("a stretch without any wake-up", Duration::from_secs(120), || {
        let before = switches(scene.house.pid());
        std::thread::sleep(Duration::from_secs(8));
        (switches(scene.house.pid()) == before).then_some(())
    });
}

const MANAGER: &str = "org.freedesktop.NetworkManager";
const MANAGER_PATH: &str = "/org/freedesktop/NetworkManager";

fn connection(number: u32) -> String {
    format!("{MANAGER_PATH}/ActiveConnection/{number}")
}

/// NetworkManager with the connections "My phone", which is in use, and "Office".
fn start_manager(bus: &Bus) -> longhaul_lab::process::Guarded {
    let daemon = bus.start_network_manager("802-11-wireless", 2);
    let interface = "'org.freedesktop.NetworkManager.Connection.Active'";
    let add = "org.freedesktop.DBus.Mock.AddObject";
    for (number, name) in [(1, "My phone"), (2, "Office")] {
        let object = format!("'{}'", connection(number));
        let properties = format!("{{'Id': <'{name}'>}}");
        bus.call(MANAGER, MANAGER_PATH, add, &[&object, interface, &properties, "@a(ssss) []"]);
    }
    daemon
}

#[test]
fn a_plan_is_that_of_the_connection_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::in_folder(folder.path());
    bus.start();
    let _manager = start_manager(&bus);
    let plan = format!("limit = {LIMIT}\nused = {}\nresets-on-day = {}\n", LIMIT * 19 / 20, tomorrow());
    let scene = Scene::named("My phone", &plan, &bus.address());
    wait_until("the plan in use", DEADLINE, || {
        let host = scene.host();
        let plan = &host["dataPlans"][0];
        (plan["connection"] == "My phone" && plan["isInUse"] == true).then_some(())
    });
    let default = scene.begin("Default");
    scene.house.wait_for_status(&default, "PausedCostedNetwork");
    assert_eq!(scene.host()["network"]["cost"]["source"], "NetworkManager, data plan");
    // Over another connection the same download may go on: its plan is not that of the phone.
    let office = format!("<objectpath '{}'>", connection(2));
    let arguments = [&format!("'{MANAGER}'"), "'PrimaryConnection'", office.as_str()];
    bus.call(MANAGER, MANAGER_PATH, "org.freedesktop.DBus.Properties.Set", &arguments);
    scene.house.wait_for_status(&default, "Running");
    assert_eq!(scene.host()["dataPlans"][0]["isInUse"], false);
}
