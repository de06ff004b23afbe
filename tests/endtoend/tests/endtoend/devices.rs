//! Devices that come and go: the kernel's own events about interfaces in a network namespace of the service's own.

use longhaul_endtoend::{DEADLINE, House, QUICK};
use longhaul_lab::netns::Cable;
use longhaul_lab::{Answer, Endpoint, ServiceOptions, wait_until};
use serde_json::{Value, json};

const TASKS: &str = "/background-tasks";
const APP: &str = "org.example.Sensors";

/// The body of the sample: it works with the device until it is told to stop, and says why.
const BODY: &str = "trap 'echo Canceled with reason: $(cat $LONGHAUL_CANCEL_REASON_FILE) >> status; exit 1' TERM; \
                    cat >> details; echo began >> began; while :; do sleep 0.05; done";

const DETAILS: &str = "cat >> changes; echo >> changes";

struct Scene {
    house: House,
    api: Endpoint,
    cable: Cable,
}

impl Scene {
    fn new() -> Self {
        let cable = Cable::new();
        let mut house = House::prepared(ServiceOptions {
            config: QUICK.to_owned(),
            wrapper: cable.left_wrapper(),
            ..ServiceOptions::default()
        });
        let api = house.api().with_header("Longhaul-App", APP);
        let folder = house.results().display().to_string();
        let entry = |class: &str, body: &str| {
            format!(
                "[[entry-point]]\nclass = \"{class}\"\nexec = [\"/bin/sh\", \"-c\", {}]\nworking-directory = {folder:?}\n\n",
                Value::from(body)
            )
        };
        house.install(APP, &(entry("Sensor", BODY) + &entry("Change", DETAILS)));
        house.launch();
        Self { house, api, cable }
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let text = body.map(Value::to_string);
        let body = text.as_ref().map(|text| ("application/json", text.as_bytes()));
        self.api.call(method, path, body).expect("the service answers")
    }

    fn plug(&self, name: &str) {
        self.cable.left_ip(&format!("link add {name} type veth peer name {name}-peer"));
    }

    fn unplug(&self, name: &str) {
        self.cable.left_ip(&format!("link delete {name}"));
    }

    #[track_caller]
    fn register(&self, kind: &str, device: &str, class: &str) -> Answer {
        let trigger = json!({ "type": kind, "parameters": { "deviceId": device } });
        let body = json!({ "name": kind, "entryPoint": class, "trigger": trigger });
        self.call("POST", TASKS, Some(&body))
    }

    fn request(&self, task: &str) -> Value {
        let body = json!({ "arguments": { "interval": "10" } });
        self.call("POST", &format!("{task}/request"), Some(&body)).expect_status(200).json()["result"].clone()
    }

    /// What the task of the sensor was given when it began.
    #[track_caller]
    fn begun(&self) -> Value {
        wait_until("the task having begun", DEADLINE, || self.house.result("began").exists().then_some(()));
        let details: Value = serde_json::from_str(&self.text("details")).unwrap();
        assert_eq!(
            (&details["deviceId"], &details["arguments"]["interval"]),
            (&"net:sensor".into(), &"10".into())
        );
        details
    }

    #[track_caller]
    fn is_ended_by_unplugging(&self, task: &str) {
        self.unplug("sensor");
        assert_eq!(self.result(task), "Canceled:ResourceRevocation");
        assert_eq!(self.text("status").trim(), "Canceled with reason: ResourceRevocation");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.house.result(name)).unwrap_or_default()
    }

    fn result(&self, task: &str) -> String {
        wait_until("the end of the run", DEADLINE, || {
            let detail = self.call("GET", task, None).expect_status(200).json();
            detail["history"][0]["result"].as_str().map(str::to_owned)
        })
    }
}

fn place(made: Answer) -> String {
    made.expect_status(201).header("location").expect("a created task has a place").to_owned()
}

#[test]
fn scenario_3_2_7_a_task_works_with_a_device_for_as_long_as_it_is_there() {
    let scene = Scene::new();
    scene.plug("sensor");
    let task = place(scene.register("DeviceUseTrigger", "net:sensor", "Sensor"));
    // Access is asked for first.
    assert_eq!(scene.request(&task), "DeniedBySystem");
    let _ = scene.call("POST", "/background-tasks/access", None).expect_status(200);
    let set = |value: &str| {
        let _ = scene.call("PUT", "/host/energySaver", Some(&json!({ "value": value }))).expect_status(200);
    };
    set("true");
    assert_eq!(scene.request(&task), "LowBattery");
    set("false");
    assert_eq!(scene.request(&task), "Allowed");
    let details = scene.begun();
    assert!(details["devicePath"].as_str().unwrap().ends_with("/net/sensor"), "{details:#}");
    assert_eq!(scene.request(&task), "CurrentlyRunning");
    scene.is_ended_by_unplugging(&task);
    // Without it nothing starts.
    assert_eq!(scene.request(&task), "DeniedBySystem");
    let _ = scene.call("DELETE", &format!("{task}?cancelRunningTask=false"), None).expect_status(204);
    let _ = scene.call("GET", &task, None).expect_status(404);
}

#[test]
fn a_device_is_serviced_for_as_long_as_it_is_there_and_not_on_a_low_battery() {
    let scene = Scene::new();
    scene.plug("sensor");
    let task = place(scene.register("DeviceServicingTrigger", "net:sensor", "Sensor"));
    let _ = scene.call("POST", "/background-tasks/access", None).expect_status(200);
    let set = |value: &str| {
        let _ = scene.call("PUT", "/host/power", Some(&json!({ "value": value }))).expect_status(200);
    };
    set("battery:33");
    assert_eq!(scene.request(&task), "LowBattery");
    set("external");
    assert_eq!(scene.request(&task), "Allowed");
    let _ = scene.begun();
    assert_eq!(scene.request(&task), "CurrentlyRunning");
    scene.is_ended_by_unplugging(&task);
    assert_eq!(scene.request(&task), "DeniedBySystem", "nothing to be serviced is there");
}

#[test]
fn a_device_that_comes_and_one_that_goes_run_the_task_that_waits_for_it() {
    let scene = Scene::new();
    let _ = scene.call("POST", "/background-tasks/access", None).expect_status(200);
    let _task = place(scene.register("DeviceConnectionChangeTrigger", "net:sensor", "Change"));
    for count in 1..=2 {
        // Another device is nobody's concern.
        scene.plug("other");
        if count == 1 {
            scene.plug("sensor");
        } else {
            scene.unplug("sensor");
        }
        wait_until("the run", DEADLINE, || (scene.text("changes").lines().count() == count).then_some(()));
        scene.unplug("other");
    }
    let changes: Vec<Value> =
        scene.text("changes").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = changes.iter().map(|change| (&change["deviceId"], &change["isConnected"])).collect();
    assert_eq!(told, [(&"net:sensor".into(), &true.into()), (&"net:sensor".into(), &false.into())]);
}

#[test]
fn what_is_no_device_is_refused_and_the_rest_is_told_to_be_supported() {
    let scene = Scene::new();
    let problem = scene.register("DeviceUseTrigger", "Sensor", "Sensor").expect_status(400).json();
    assert_eq!(problem["code"], "invalid-trigger", "{problem:#}");
    let types = scene.call("GET", "/background-tasks/triggers", None).expect_status(200).json();
    for kind in ["DeviceUseTrigger", "DeviceServicingTrigger", "DeviceConnectionChangeTrigger"] {
        let row = types.as_array().unwrap().iter().find(|row| row["type"] == kind).unwrap();
        assert_eq!(
            (&row["supported"], &row["source"]),
            (&true.into(), &"the kernel's events and sysfs".into())
        );
    }
}
