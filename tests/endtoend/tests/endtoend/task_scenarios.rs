//! The scenarios of the Windows samples for background tasks [W 3.2, 3.3], by their numbers: the real service, the real
//! processes, and signals of the machine set by hand where the machine of a test has none.

use std::time::{Duration, Instant};

use longhaul_endtoend::{DEADLINE, House};
use longhaul_lab::service::binary;
use longhaul_lab::{Answer, Endpoint, wait_until};
use serde_json::{Value, json};

const TASKS: &str = "/background-tasks";
const APP: &str = "org.example.Sample";

/// The body of the samples: progress of 10 per step, and at the end how it went.
fn sample_body() -> String {
    let program = binary().display().to_string();
    format!(
        "trap 'echo Canceled with reason: $(cat $LONGHAUL_CANCEL_REASON_FILE) >> status; exit 1' TERM; \
         for step in 10 20 30 40 50 60 70 80 90 100; do {program} instance progress $step; done; \
         echo Completed >> status"
    )
}

/// Goes on until it is told to end.
const LONG_BODY: &str = "trap 'echo Canceled with reason: $(cat $LONGHAUL_CANCEL_REASON_FILE) >> status; exit 1' TERM; \
                         echo began >> began; while :; do sleep 0.05; done";

const SLOW_BODY: &str = "echo began >> began; sleep 0.3; echo Completed >> status";

struct Sample {
    house: House,
    api: Endpoint,
}

impl Sample {
    /// An application with access whose classes `Task` and `Long` are the bodies above, and `Stubborn` does not end.
    fn new() -> Self {
        let house = House::empty();
        let api = house.api().with_header("Longhaul-App", APP);
        let mut sample = Self { house, api };
        // Before the service looks for the first time: what comes later in the same instant would be no update.
        sample.install(&sample_body());
        sample.house.launch();
        let access = sample.call("POST", "/background-tasks/access", None).expect_status(200).json();
        assert_eq!(access["status"], "AllowedSubjectToSystemPolicy");
        for (signal, value) in [
            ("networkLevel", "Internet"),
            ("power", "external"),
            ("energySaver", "false"),
            ("timeZone", "Europe/Berlin"),
        ] {
            sample.set(signal, value);
        }
        sample
    }

    fn install(&self, body: &str) {
        let stubborn = "trap '' TERM; echo $$ >> pids; (trap '' TERM; setsid sh -c 'exec >&- 2>&-; while :; do sleep 1; done' &) ; \
                        while :; do echo flood; done";
        let mut text = String::new();
        for (class, script) in
            [("Task", body), ("Long", LONG_BODY), ("Slow", SLOW_BODY), ("Stubborn", stubborn)]
        {
            text.push_str(&format!(
                "[[entry-point]]\nclass = \"{class}\"\nexec = [\"/bin/sh\", \"-c\", {}]\nworking-directory = {:?}\n\n",
                Value::from(script),
                self.house.results().display().to_string()
            ));
        }
        self.house.install(APP, &text);
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let text = body.map(Value::to_string);
        let body = text.as_ref().map(|text| ("application/json", text.as_bytes()));
        self.api.call(method, path, body).expect("the service answers")
    }

    #[track_caller]
    fn set(&self, signal: &str, value: &str) {
        let path = format!("/host/{signal}");
        let _ = self.call("PUT", &path, Some(&json!({ "value": value }))).expect_status(200);
    }

    #[track_caller]
    fn register(&self, name: &str, class: &str, trigger: &Value, more: &Value) -> String {
        let mut body = json!({ "name": name, "entryPoint": class, "trigger": trigger });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let made = self.call("POST", TASKS, Some(&body)).expect_status(201);
        made.header("location").expect("a created task has a place").to_owned()
    }

    #[track_caller]
    fn detail(&self, task: &str) -> Value {
        self.call("GET", task, None).expect_status(200).json()
    }

    #[track_caller]
    fn runs(&self, task: &str) -> usize {
        self.detail(task)["history"].as_array().map_or(0, Vec::len)
    }

    /// Waits until the task has had `count` runs and the newest is over; gives its result.
    #[track_caller]
    fn result(&self, task: &str, count: usize) -> String {
        wait_until(&format!("run {count} of {task} being over"), DEADLINE, || {
            let detail = self.detail(task);
            let history = detail["history"].as_array()?;
            let newest = history.first().filter(|_| history.len() == count)?;
            newest["result"].as_str().map(str::to_owned)
        })
    }

    #[track_caller]
    fn status(&self, expected: &str) {
        let text = std::fs::read_to_string(self.house.result("status")).unwrap_or_default();
        assert_eq!(text.lines().last().unwrap_or_default(), expected, "{}", self.house.log());
    }

    #[track_caller]
    fn wait_for_begin(&self) {
        wait_until("the task having begun", DEADLINE, || self.house.result("began").exists().then_some(()));
    }

    /// That nothing starts cannot be waited for: whatever starts next is the proof.
    #[track_caller]
    fn stays_at(&self, task: &str, count: usize) {
        let probe = self.register("probe", "Task", &json!({ "type": "ApplicationTrigger" }), &json!({}));
        let _ = self.call("POST", &format!("{probe}/request"), None).expect_status(200);
        assert_eq!(self.result(&probe, 1), "Completed");
        let _ = self.call("DELETE", &probe, None).expect_status(204);
        assert_eq!(self.runs(task), count, "{:#}", self.detail(task));
    }
}

fn zone_change() -> Value {
    json!({ "type": "SystemTrigger", "systemTriggerType": "TimeZoneChange" })
}

#[test]
fn scenario_3_2_1_a_change_of_the_time_zone_runs_it_once() {
    let sample = Sample::new();
    let task = sample.register("zone", "Task", &zone_change(), &json!({}));
    sample.set("timeZone", "America/New_York");
    assert_eq!(sample.result(&task, 1), "Completed");
    assert_eq!(sample.detail(&task)["progress"], 100);
    sample.status("Completed");
    // The clocks there show the same all year.
    sample.set("timeZone", "America/Toronto");
    sample.stays_at(&task, 1);
    // One that differs fires it again, and the second start within a minute is put off.
    sample.set("timeZone", "Asia/Tokyo");
    let explained = sample.call("GET", &format!("{task}/explain"), None).expect_status(200).json();
    assert_eq!(explained["blocking"][0]["code"], "flapping", "{explained:#}");
}

#[test]
fn scenario_3_2_2_a_condition_holds_a_firing_back_and_its_loss_cancels() {
    let sample = Sample::new();
    let more = json!({ "conditions": ["InternetAvailable"], "cancelOnConditionLoss": true });
    let task = sample.register("zone", "Long", &zone_change(), &more);
    sample.set("networkLevel", "None");
    sample.set("timeZone", "Asia/Tokyo");
    let explained = sample.call("GET", &format!("{task}/explain"), None).expect_status(200).json();
    let blocking = &explained["blocking"][0];
    assert_eq!((&explained["decision"], &blocking["code"]), (&"Wait".into(), &"internetAvailable".into()));
    assert_eq!(
        (&blocking["value"], &blocking["setBy"]),
        (&"None".into(), &"administrator".into()),
        "{explained:#}"
    );
    assert!(blocking["since"].is_string(), "{explained:#}");
    sample.stays_at(&task, 0);
    sample.set("networkLevel", "Internet");
    sample.wait_for_begin();
    sample.set("networkLevel", "None");
    assert_eq!(sample.result(&task, 1), "Canceled:ConditionLoss");
    sample.status("Canceled with reason: ConditionLoss");
}

#[test]
fn scenario_3_2_3_an_update_of_the_application_runs_it_once() {
    let sample = Sample::new();
    let trigger = json!({ "type": "SystemTrigger", "systemTriggerType": "ServicingComplete" });
    let task = sample.register("update", "Task", &trigger, &json!({}));
    let running = sample.register("long", "Long", &json!({ "type": "ApplicationTrigger" }), &json!({}));
    let _ = sample.call("POST", &format!("{running}/request"), None).expect_status(200);
    sample.wait_for_begin();
    sample.install(&format!("{}; true", sample_body()));
    assert_eq!(sample.result(&task, 1), "Completed");
    assert_eq!(sample.result(&running, 1), "Canceled:ServicingUpdate");
}

#[test]
fn scenario_3_2_4_a_period_begins_with_the_registration() {
    let sample = Sample::new();
    let before = sample.detail(&sample.register(
        "now",
        "Task",
        &json!({
            "type": "TimeTrigger", "freshnessTime": 15, "parameters": { "first": "now" }
        }),
        &json!({}),
    ));
    let task = format!("{TASKS}/{}", before["id"].as_str().unwrap());
    assert_eq!(sample.result(&task, 1), "Completed");
    let detail = sample.detail(&task);
    let minutes = |time: &Value| {
        time.as_str()
            .map(|time| (time[11..13].parse::<i64>().unwrap() * 60) + time[14..16].parse::<i64>().unwrap())
    };
    let (created, next) =
        (minutes(&detail["createdTime"]).unwrap(), minutes(&detail["nextFireTime"]).unwrap());
    let ahead = (next - created).rem_euclid(24 * 60);
    assert!((14..=30).contains(&ahead), "{detail:#}");
}

#[test]
fn scenario_3_2_5_a_request_is_allowed_once_at_a_time() {
    let sample = Sample::new();
    let task = sample.register("signal", "Long", &json!({ "type": "ApplicationTrigger" }), &json!({}));
    let request = |expected: &str| {
        let body = json!({ "arguments": { "colour": "red" } });
        let answer = sample.call("POST", &format!("{task}/request"), Some(&body)).expect_status(200).json();
        assert_eq!(answer["result"], expected);
    };
    request("Allowed");
    sample.wait_for_begin();
    request("CurrentlyRunning");
    let _ = sample.call("DELETE", &task, None).expect_status(204);
    let _ = sample.call("GET", &task, None).expect_status(404);
    wait_until("its last words", DEADLINE, || sample.house.result("status").exists().then_some(()));
    sample.status("Canceled with reason: Abort");
}

#[test]
fn scenario_3_2_6_a_group_is_apart_from_the_others() {
    let sample = Sample::new();
    let more = json!({ "taskGroup": "org.example.library" });
    let grouped = sample.register("grouped", "Task", &zone_change(), &more);
    sample.register("alone", "Task", &zone_change(), &json!({}));
    let all = sample.call("GET", TASKS, None).expect_status(200).json();
    assert_eq!(all.as_array().unwrap().len(), 1, "{all:#}");
    for task in all.as_array().unwrap() {
        let path = format!("{TASKS}/{}", task["id"].as_str().unwrap());
        let _ = sample.call("DELETE", &path, None).expect_status(204);
    }
    let group =
        sample.call("GET", "/background-tasks/groups/org.example.library", None).expect_status(200).json();
    assert_eq!(group["tasks"][0]["name"], "grouped", "{group:#}");
    sample.set("timeZone", "Asia/Tokyo");
    assert_eq!(sample.result(&grouped, 1), "Completed");
}

#[test]
fn scenario_3_3_a_unregistered_without_cancel_it_finishes() {
    let sample = Sample::new();
    let task = sample.register("last", "Slow", &json!({ "type": "ApplicationTrigger" }), &json!({}));
    let _ = sample.call("POST", &format!("{task}/request"), None).expect_status(200);
    sample.wait_for_begin();
    let _ = sample.call("DELETE", &format!("{task}?cancelRunningTask=false"), None).expect_status(204);
    let _ = sample.call("GET", &task, None).expect_status(404);
    wait_until("its last words", DEADLINE, || sample.house.result("status").exists().then_some(()));
    sample.status("Completed");
}

#[test]
fn scenario_3_3_b_c_d_registrations_that_are_refused() {
    let sample = Sample::new();
    sample.register("taken", "Task", &zone_change(), &json!({}));
    let refused = |name: &str, trigger: Value, status: u16, code: &str| {
        let body = json!({ "name": name, "entryPoint": "Task", "trigger": trigger });
        let problem = sample.call("POST", TASKS, Some(&body)).expect_status(status).json();
        assert_eq!(problem["code"], code, "{problem:#}");
        assert!(problem["remedy"].is_string() && problem["detail"].is_string(), "{problem:#}");
    };
    refused("taken", zone_change(), 409, "task-name-taken");
    refused("short", json!({ "type": "TimeTrigger", "freshnessTime": 14 }), 400, "invalid-trigger");
    let reset =
        json!({ "type": "SystemTrigger", "systemTriggerType": "ControlChannelReset", "oneShot": true });
    refused("reset", reset, 400, "invalid-trigger");
}

#[test]
fn scenario_3_3_e_maintenance_ends_when_the_plug_is_pulled() {
    let sample = Sample::new();
    let trigger =
        json!({ "type": "MaintenanceTrigger", "freshnessTime": 15, "parameters": { "first": "now" } });
    sample.set("power", "battery");
    let task = sample.register("tidy", "Long", &trigger, &json!({}));
    sample.stays_at(&task, 0);
    sample.set("power", "external");
    sample.wait_for_begin();
    sample.set("power", "battery");
    assert_eq!(sample.result(&task, 1), "Canceled:Abort");
}

#[test]
fn scenario_3_3_f_what_does_not_end_is_killed_with_all_it_started() {
    let sample = Sample::new();
    let task = sample.register("stubborn", "Stubborn", &json!({ "type": "ApplicationTrigger" }), &json!({}));
    let _ = sample.call("POST", &format!("{task}/request"), None).expect_status(200);
    wait_until("its process", DEADLINE, || sample.house.result("pids").exists().then_some(()));
    let instance = sample.detail(&task)["runningInstance"].as_str().unwrap().to_owned();
    let mark = format!("LONGHAUL_INSTANCE_ID={instance}");
    assert!(processes_with(&mark) >= 2, "a shell and what it left in a session of its own");
    let since = Instant::now();
    let _ = sample.call("DELETE", &format!("{task}/instances/{instance}"), None).expect_status(204);
    wait_until("an empty tree", DEADLINE, || (processes_with(&mark) == 0).then_some(()));
    let took = since.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_millis(6_500), "{took:?}");
    assert_eq!(sample.result(&task, 1), "Canceled:Abort");
    let detail = sample.detail(&task);
    assert_eq!(detail["history"][0]["wasKilled"], true, "{detail:#}");
}

/// Processes that carry this variable.
fn processes_with(mark: &str) -> usize {
    let folders = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    folders
        .filter_map(|folder| std::fs::read(folder.path().join("environ")).ok())
        .filter(|environment| {
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .count()
}

#[test]
fn scenario_3_3_g_a_run_that_takes_too_long_is_ended() {
    let sample = Sample::new();
    let trigger = json!({ "type": "ApplicationTrigger" });
    let task = sample.register("slow", "Long", &trigger, &json!({ "timeLimit": 6 }));
    let _ = sample.call("POST", &format!("{task}/request"), None).expect_status(200);
    assert_eq!(sample.result(&task, 1), "Canceled:ExecutionTimeExceeded");
    sample.status("Canceled with reason: ExecutionTimeExceeded");
}

#[test]
fn scenario_3_3_h_energy_saver_holds_back_and_ends() {
    let sample = Sample::new();
    sample.set("energySaver", "true");
    let task = sample.register("zone", "Long", &zone_change(), &json!({}));
    sample.set("timeZone", "Asia/Tokyo");
    let explained = sample.call("GET", &format!("{task}/explain"), None).expect_status(200).json();
    assert_eq!(explained["blocking"][0]["code"], "energySaver", "{explained:#}");
    sample.set("energySaver", "false");
    sample.wait_for_begin();
    sample.set("energySaver", "true");
    assert_eq!(sample.result(&task, 1), "Canceled:EnergySaver");
}

#[test]
fn scenario_3_3_n_an_application_that_is_gone_takes_its_tasks_with_it() {
    let sample = Sample::new();
    let task = sample.register("long", "Long", &json!({ "type": "ApplicationTrigger" }), &json!({}));
    let _ = sample.call("POST", &format!("{task}/request"), None).expect_status(200);
    sample.wait_for_begin();
    std::fs::remove_file(sample.house.apps().join(format!("{APP}.toml"))).unwrap();
    wait_until("no tasks", DEADLINE, || {
        let all = sample.call("GET", TASKS, None).expect_status(200).json();
        all.as_array().unwrap().is_empty().then_some(())
    });
    wait_until("its last words", DEADLINE, || sample.house.result("status").exists().then_some(()));
    sample.status("Canceled with reason: Uninstall");
}
