//! WebAssembly components as tasks: the real program, and components made from text.

use std::time::{Duration, Instant};

use longhaul_endtoend::{DEADLINE, House};
use longhaul_lab::{Endpoint, wait_until};
use serde_json::{Value, json};

use crate::guests;

const TASKS: &str = "/background-tasks";
const APP: &str = "org.example.Component";

/// A service with one application that has one component.
struct Stage {
    house: House,
    api: Endpoint,
}

/// A run of it.
struct Run {
    task: String,
    instance: String,
}

impl Stage {
    fn new(body: &str) -> Self {
        Self::with(body, "")
    }

    /// With more of the entry point, in TOML.
    fn with(body: &str, more: &str) -> Self {
        let house = House::new();
        let file = house.result("task.wasm");
        guests::write(&file, body);
        let entry = format!("[[entry-point]]\nclass = \"Task\"\nwasm = \"{}\"\n{more}\n", file.display());
        house.install(APP, &entry);
        let api = house.api().with_header("Longhaul-App", APP);
        let access = api.call("POST", "/background-tasks/access", None).expect("an answer");
        let _ = access.expect_status(200);
        Self { house, api }
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.api.call("GET", path, None).expect("an answer").expect_status(200).json()
    }

    #[track_caller]
    fn register(&self, more: &Value) -> String {
        let mut body =
            json!({ "name": "task", "entryPoint": "Task", "trigger": { "type": "ApplicationTrigger" } });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let made = self.api.post(TASKS, &body).expect("an answer").expect_status(201);
        made.header("location").expect("a created task has a place").to_owned()
    }

    #[track_caller]
    fn request(&self, task: &str, arguments: &Value) -> Run {
        let body = json!({ "arguments": arguments });
        let _ = self.api.post(&format!("{task}/request"), &body).expect("an answer").expect_status(200);
        let instance = wait_until("its run", DEADLINE, || {
            let detail = self.get(task);
            let running = detail["runningInstance"].as_str().map(str::to_owned);
            running.or_else(|| detail["history"][0]["id"].as_str().map(str::to_owned))
        });
        Run { task: task.to_owned(), instance }
    }

    #[track_caller]
    fn run(&self) -> Run {
        self.request(&self.register(&json!({})), &json!({}))
    }

    #[track_caller]
    fn end(&self, run: &Run) -> Value {
        wait_until("the end of the run", DEADLINE, || {
            let detail = self.get(&run.task);
            let newest = &detail["history"][0];
            newest["endedTime"].is_string().then(|| newest.clone())
        })
    }

    #[track_caller]
    fn output(&self, run: &Run) -> String {
        let output = self.get(&format!("{}/instances/{}/output", run.task, run.instance));
        output["text"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn cancel(&self, run: &Run) -> Instant {
        let path = format!("{}/instances/{}", run.task, run.instance);
        let _ = self.api.call("DELETE", &path, None).expect("an answer").expect_status(204);
        Instant::now()
    }

    #[track_caller]
    fn wait_for_progress(&self, run: &Run, progress: u32) {
        wait_until("its progress", DEADLINE, || {
            (self.get(&run.task)["progress"] == progress
                && self.get(&run.task)["runningInstance"].is_string())
            .then_some(())
        });
    }

    #[track_caller]
    fn wait_for_output(&self, run: &Run) {
        wait_until("its output", DEADLINE, || (!self.output(run).is_empty()).then_some(()));
    }
}

#[test]
fn a_component_reads_what_its_trigger_said() {
    let stage = Stage::new(guests::ECHO);
    let run = stage.request(&stage.register(&json!({})), &json!({ "colour": "red" }));
    let end = stage.end(&run);
    assert_eq!((&end["result"], &end["exitCode"]), (&"Completed".into(), &0.into()), "{end:#}");
    let details: Value = serde_json::from_str(&stage.output(&run)).expect("the details and nothing else");
    assert_eq!(details["arguments"]["colour"], "red", "{details:#}");
    assert_eq!(details, end["triggerDetails"]);
}

#[test]
fn a_component_sees_its_own_variables_and_none_of_the_process() {
    let stage =
        Stage::with(guests::ENVIRONMENT, "environment = { MODE = \"batch\", LD_PRELOAD = \"/none.so\" }");
    let run = stage.request(&stage.register(&json!({ "env": { "TOKEN": "hush" } })), &json!({}));
    assert_eq!(stage.end(&run)["result"], "Completed");
    let output = stage.output(&run);
    let mut names: Vec<&str> = output.split('\0').filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| *name != "LANG" && *name != "TZ" && !name.starts_with("LC_"));
    names.sort_unstable();
    let own = ["LD_PRELOAD", "LONGHAUL_APP", "LONGHAUL_INSTANCE_ID", "LONGHAUL_TASK_ID", "MODE", "TOKEN"];
    assert_eq!(names, own);
    assert!(output.contains("TOKEN=hush") && !output.contains("cannot be preloaded"), "{output}");
}

#[test]
fn a_component_tells_its_progress_and_hears_that_it_shall_end() {
    let stage = Stage::new(guests::COOPERATIVE);
    let run = stage.run();
    stage.wait_for_progress(&run, 40);
    stage.cancel(&run);
    let end = stage.end(&run);
    assert_eq!((&end["result"], &end["wasKilled"]), (&"Canceled:Abort".into(), &false.into()), "{end:#}");
    // The numbers of Abort, and of no suspension.
    assert_eq!(stage.output(&run), "00\n00\n");
}

#[test]
fn an_endless_loop_is_ended_by_force() {
    let stage = Stage::new(guests::ENDLESS);
    let run = stage.run();
    stage.wait_for_progress(&run, 1);
    let since = stage.cancel(&run);
    let end = stage.end(&run);
    let took = since.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_millis(6_500), "{took:?}");
    assert_eq!((&end["result"], &end["wasKilled"]), (&"Canceled:Abort".into(), &true.into()), "{end:#}");
}

#[test]
fn a_component_that_cannot_know_of_a_cancellation_is_ended_at_once() {
    let stage = Stage::new(guests::UNAWARE);
    let run = stage.run();
    stage.wait_for_output(&run);
    let since = stage.cancel(&run);
    let end = stage.end(&run);
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    assert_eq!((&end["result"], &end["wasKilled"]), (&"Canceled:Abort".into(), &false.into()), "{end:#}");
}

#[test]
fn the_time_limit_ends_an_endless_loop() {
    let stage = Stage::new(guests::ENDLESS);
    let run = stage.request(&stage.register(&json!({ "timeLimit": 2 })), &json!({}));
    let end = stage.end(&run);
    assert_eq!(end["result"], "Canceled:ExecutionTimeExceeded", "{end:#}");
}

#[test]
fn a_component_has_no_more_memory_than_it_may() {
    let stage = Stage::with(guests::GREEDY, "memory-max = \"4MiB\"");
    let run = stage.run();
    let detail = stage.end(&run)["result"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("trap") && detail.contains("4194304 bytes"), "{detail}");
    let output = stage.output(&run);
    // Less its tables, which count too.
    let pages = output.lines().filter_map(|line| line.parse::<u32>().ok()).max();
    assert!(pages.is_some_and(|pages| (60..=64).contains(&pages)), "{output}");
}

#[test]
fn a_trap_is_a_crash_that_tells_what_broke() {
    let stage = Stage::new(guests::TRAP);
    let run = stage.run();
    let end = stage.end(&run);
    let detail = end["result"].as_str().unwrap_or_default();
    assert!(detail.contains("integer divide by zero"), "{end:#}");
    assert_eq!(end["signal"], 6, "{end:#}");
    // And where, by the names of its functions.
    assert!(stage.output(&run).contains("divide"), "{}", stage.output(&run));
}

#[test]
fn a_component_that_says_it_failed_has_not_crashed() {
    let stage = Stage::new(guests::FAILURE);
    let end = stage.end(&stage.run());
    assert_eq!((&end["exitCode"], &end["signal"]), (&1.into(), &Value::Null), "{end:#}");
}

#[test]
fn what_is_no_component_says_so() {
    let stage = Stage::new(guests::ECHO);
    std::fs::write(stage.house.result("task.wasm"), "(module)").expect("a file");
    let end = stage.end(&stage.run());
    let detail = end["result"].as_str().unwrap_or_default();
    assert!(detail.contains("task.wasm cannot be read or is none"), "{end:#}");
    assert_eq!(end["signal"], Value::Null, "{end:#}");
}

#[test]
fn without_a_grant_there_are_no_files() {
    let stage = Stage::new(&guests::reads("secret"));
    std::fs::write(stage.house.result("secret"), "hush").expect("a file");
    let run = stage.run();
    assert_eq!(stage.end(&run)["result"], "Completed");
    // EBADF: there is no folder to look in.
    assert_eq!(stage.output(&run), "08\n");
}

/// Runs a body with the folder `granted` in the folder of results, and gives what it printed.
fn with_grant(body: &str, mode: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let granted = folder.path().join("granted");
    std::fs::create_dir(&granted).expect("a folder");
    std::fs::write(granted.join("open"), "for all").expect("a file");
    std::fs::write(folder.path().join("secret"), "hush").expect("a file");
    std::os::unix::fs::symlink("../secret", granted.join("link")).expect("a link");
    let sandbox = format!("sandbox = {{ filesystem = [\"{}{mode}\"] }}", granted.display());
    let stage = Stage::with(body, &sandbox);
    let run = stage.run();
    assert_eq!(stage.end(&run)["result"], "Completed", "{}", stage.output(&run));
    let output = stage.output(&run);
    let is_made = granted.join("made").exists();
    assert_eq!(is_made, output == "00\n", "{output}");
    output
}

#[test]
fn a_granted_folder_can_be_read_and_nothing_beside_it() {
    assert_eq!(with_grant(&guests::reads("open"), ":ro"), "00\nfor all");
    for beside in ["../secret", "link"] {
        let output = with_grant(&guests::reads(beside), ":ro");
        assert!(!output.starts_with("00") && !output.contains("hush"), "{beside}: {output}");
    }
}

#[test]
fn only_what_is_granted_for_writing_is_written() {
    assert_eq!(with_grant(&guests::makes("made"), ""), "00\n");
    assert_ne!(with_grant(&guests::makes("made"), ":ro"), "00\n");
}
