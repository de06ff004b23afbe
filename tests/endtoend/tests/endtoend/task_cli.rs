//! Background tasks as a person at a terminal uses them: the real program on both sides, and real processes.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use longhaul_endtoend::{DEADLINE, House, assert_exit, ok, shown};
use longhaul_lab::service::binary;
use longhaul_lab::wait_until;
use serde_json::Value;

#[track_caller]
fn fails(house: &House, code: i32, arguments: &[&str]) -> String {
    let output = house.run(arguments);
    assert_exit(&output, code);
    shown(&output)
}

#[track_caller]
fn shows(house: &House, task: &str) -> Value {
    serde_json::from_str(&ok(house, &["--json", "task", "show", task])).unwrap()
}

/// Waits until the task has run, and returns its newest instance.
#[track_caller]
fn wait_for_run(house: &House, task: &str) -> Value {
    wait_until(&format!("a run of {task} that is over"), DEADLINE, || {
        let shown = shows(house, task);
        let newest = &shown["history"][0];
        newest["endedTime"].is_string().then(|| newest.clone())
    })
}

#[track_caller]
fn wait_for_file(house: &House, name: &str) -> String {
    wait_until(&format!("the file {name}"), DEADLINE, || {
        std::fs::read_to_string(house.result(name)).ok().filter(|text| text.ends_with('\n'))
    })
}

fn manifest(house: &House, app: &str) -> PathBuf {
    house.folder().join(format!("config/longhaul/apps/{app}.toml"))
}

fn commands_left(house: &House) -> usize {
    let text = std::fs::read_to_string(manifest(house, "io.longhaul.cli")).unwrap_or_default();
    text.matches("command:").count()
}

#[test]
fn when_runs_once_as_soon_as_its_condition_holds_over_a_kill() {
    let mut house = House::new();
    ok(&house, &["host", "set", "power", "battery"]);
    assert_exit(&house.run(&["cond", "ac"]), 1);
    let id = ok(&house, &["when", "ac", "--", "sh", "-c", "echo ran >> ran"]);
    assert_eq!(id.len(), 36, "{id}");
    let why: Value = serde_json::from_str(&ok(&house, &["--json", "task", "why", "when-1"])).unwrap();
    assert_eq!((&why["decision"], &why["blocking"][0]["code"]), (&"Wait".into(), &"externalPower".into()));
    assert_eq!(why["blocking"][0]["value"], "battery", "{why:#}");

    house.kill();
    house.launch();
    assert!(shows(&house, &id[..13])["pendingSince"].is_string(), "the firing is kept");
    assert!(!house.result("ran").exists());

    ok(&house, &["host", "set", "power", "external"]);
    assert_exit(&house.run(&["cond", "ac"]), 0);
    assert_eq!(wait_for_file(&house, "ran"), "ran\n");
    assert_eq!(wait_for_run(&house, "when-1")["result"], "Completed");
    ok(&house, &["host", "set", "power", "battery"]);
    ok(&house, &["host", "set", "power", "external"]);
    let shown = shows(&house, "when-1");
    assert_eq!((&shown["isConsumed"], shown["history"].as_array().unwrap().len()), (&true.into(), 1));
    assert_eq!(commands_left(&house), 1);
    assert!(ok(&house, &["task", "rm", "--done"]).contains(&id));
    assert_eq!(commands_left(&house), 0, "what nobody uses is taken out of the manifest");
    ok(&house, &["host", "unset", "power"]);
}

#[test]
fn a_task_is_added_run_looked_at_and_removed() {
    let house = House::new();
    let command = ["--", "sh", "-c", "cat; echo hello; echo oops >&2; echo $COLOUR; exit 3"];
    let add =
        [&["task", "add", "hello", "--trigger", "app", "--env", "COLOUR=aubergine"][..], &command].concat();
    ok(&house, &add);
    let text = manifest(&house, "io.longhaul.cli");
    assert_eq!(text.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fails(&house, 5, &add).contains("name"), "the name is taken");
    assert_eq!(commands_left(&house), 1, "a refused registration leaves nothing behind");

    let output = house.run(&["task", "run", "hello", "--follow"]);
    assert_exit(&output, 9);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("hello\n") && said.contains("oops\n") && said.contains("aubergine\n"),
        "{}",
        shown(&output)
    );
    assert_eq!(ok(&house, &["task", "log", "hello"]), said.trim_end());
    let instance = wait_for_run(&house, "hello");
    assert_eq!((&instance["exitCode"], &instance["cause"]), (&3.into(), &"Manual".into()), "{instance:#}");
    assert!(instance["result"].as_str().unwrap().starts_with("Failed:"), "{instance:#}");
    assert!(ok(&house, &["task", "ls"]).contains("hello"));
    let detail = shows(&house, "hello");
    assert!(!detail.to_string().contains("aubergine"), "variables are secrets: {detail:#}");

    let replaced = [&add[..4], &["app", "--on-conflict", "replace", "--", "true"]].concat();
    ok(&house, &replaced);
    assert_eq!(commands_left(&house), 1, "the command of the replaced task is gone");
    assert_exit(&house.run(&["task", "run", "hello", "--follow"]), 0);
    ok(&house, &["task", "rm", "hello"]);
    assert_eq!(commands_left(&house), 0);
    assert!(fails(&house, 4, &["task", "show", "hello"]).contains("no task"));
}

#[test]
fn a_script_speaks_for_its_instance() {
    let house = House::new();
    let program = binary().display().to_string();
    let script = format!(
        "trap '' TERM; {program} instance progress 40 && cat > details && {program} instance wait-cancel > reason; exit 0"
    );
    ok(&house, &["task", "add", "worker", "--trigger", "app", "--", "sh", "-c", &script]);
    assert_eq!(ok(&house, &["task", "request", "worker", "colour=red"]), "Allowed");
    wait_until("progress of 40", DEADLINE, || (shows(&house, "worker")["progress"] == 40).then_some(()));
    let details = wait_until("the trigger details", DEADLINE, || {
        let text = std::fs::read_to_string(house.result("details")).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    });
    assert_eq!(details["arguments"]["colour"], "red", "{details}");
    let output = house.run(&["task", "request", "worker"]);
    assert_exit(&output, 6);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "CurrentlyRunning\n");
    ok(&house, &["task", "cancel", "worker"]);
    let instance = wait_for_run(&house, "worker");
    assert_eq!((&instance["state"], &instance["cancelReason"]), (&"Canceled".into(), &"Abort".into()));
    assert_eq!(std::fs::read_to_string(house.result("reason")).unwrap(), "Abort\n");
    assert_exit(&house.run(&["task", "cancel", "worker"]), 6);
    assert!(fails(&house, 2, &["instance", "progress", "1"]).contains("LONGHAUL_TASK_ID"));
}

#[test]
fn a_run_that_the_service_did_not_outlive_is_interrupted() {
    let mut house = House::new();
    ok(&house, &["task", "add", "long", "-t", "app", "--", "sh", "-c", "echo begun >> begun; sleep 600"]);
    ok(&house, &["task", "run", "long"]);
    wait_for_file(&house, "begun");
    house.kill();
    house.launch();
    let instance = wait_for_run(&house, "long");
    assert_eq!(instance["state"], "Interrupted", "{instance:#}");
    assert_eq!(std::fs::read_to_string(house.result("begun")).unwrap(), "begun\n", "it is not repeated");
    ok(&house, &["task", "run", "long"]);
    wait_until("a second run", DEADLINE, || {
        (std::fs::read_to_string(house.result("begun")).unwrap() == "begun\nbegun\n").then_some(())
    });
    ok(&house, &["task", "rm", "long"]);
}

#[test]
fn who_may_not_run_is_registered_and_waits_for_the_owner() {
    let house = House::new();
    ok(&house, &["access", "deny", "io.longhaul.cli"]);
    let output =
        house.run(&["task", "add", "quiet", "-t", "time:15,now", "--", "sh", "-c", "echo ran >> ran"]);
    assert_exit(&output, 0);
    assert!(shown(&output).contains("may not run"), "{}", shown(&output));
    let why = ok(&house, &["task", "why", "quiet"]);
    assert!(why.contains("accessDenied"), "{why}");
    assert!(ok(&house, &["task", "ls"]).contains("no access"));
    ok(&house, &["access", "grant", "io.longhaul.cli"]);
    assert_eq!(wait_for_file(&house, "ran"), "ran\n");
    assert!(ok(&house, &["access"]).contains("AllowedSubjectToSystemPolicy"));
}

const PHOTOS: &str = "org.example.Photos";

/// Runs a command for the application of [`install_photos`].
#[track_caller]
fn photos(house: &House, arguments: &[&str]) -> String {
    ok(house, &[&["--app", PHOTOS][..], arguments].concat())
}

#[track_caller]
fn install_photos(house: &House) {
    let file = house.result("photos.toml");
    let text = format!(
        "[app]\nid = \"{PHOTOS}\"\n\n[[entry-point]]\nclass = \"Example.Task\"\n\
         exec = [\"/bin/sh\", \"-c\", \"echo from the manifest\"]\n"
    );
    std::fs::write(&file, text).unwrap();
    ok(house, &["app", "install", file.to_str().unwrap()]);
}

/// Removes it again, and waits until the service has seen that, and with it all earlier changes of manifests.
#[track_caller]
fn remove_photos(house: &House) {
    ok(house, &["app", "rm", PHOTOS]);
    wait_until("no task of an application that is gone", DEADLINE, || {
        photos(house, &["--json", "task", "ls"]).contains("\"items\": []").then_some(())
    });
}

const ADD_ALBUM: [&str; 7] = ["task", "add", "album", "--trigger", "app", "--entry-point", "Example.Task"];

#[test]
fn an_application_comes_with_its_manifest_and_goes_with_it() {
    let house = House::new();
    fails(&house, 2, &[&["--app", PHOTOS][..], &ADD_ALBUM].concat());
    install_photos(&house);
    photos(&house, &ADD_ALBUM);
    assert_eq!(photos(&house, &["task", "run", "album", "--follow"]), "from the manifest");
    assert!(ok(&house, &["app", "ls"]).contains("Example.Task"));
    assert!(ok(&house, &["--json", "task", "ls"]).contains("\"items\": []"), "each application sees its own");
    remove_photos(&house);
    fails(&house, 4, &["app", "rm", PHOTOS]);
}

#[test]
fn conditions_of_several_signals_hold_only_together() {
    let house = House::new();
    for (signal, value) in [("power", "external"), ("networkCost", "metered"), ("networkLevel", "Internet")] {
        ok(&house, &["host", "set", signal, value]);
    }
    ok(&house, &["when", "ac,unmetered", "--name", "both", "--", "sh", "-c", "echo ran >> ran"]);
    assert_exit(&house.run(&["cond", "ac,unmetered", "--quiet"]), 1);
    assert!(shows(&house, "both")["pendingSince"].is_string());
    ok(&house, &["host", "set", "power", "battery"]);
    ok(&house, &["host", "set", "networkCost", "unmetered"]);
    assert!(shows(&house, "both")["pendingSince"].is_string());
    assert_exit(&house.run(&["cond", "present"]), 12);
    ok(&house, &["host", "set", "power", "external"]);
    assert_eq!(wait_for_file(&house, "ran"), "ran\n");
}

#[test]
fn one_more_command_does_not_end_those_that_run() {
    let house = House::new();
    ok(&house, &["task", "add", "long", "-t", "app", "--", "sh", "-c", "echo begun >> begun; sleep 600"]);
    ok(&house, &["task", "run", "long"]);
    wait_for_file(&house, "begun");
    ok(&house, &["task", "add", "other", "-t", "time:15,now", "--", "sh", "-c", "echo ran >> ran"]);
    wait_for_file(&house, "ran");
    wait_for_run(&house, "other");
    install_photos(&house);
    photos(&house, &ADD_ALBUM);
    remove_photos(&house);
    assert_eq!(shows(&house, "long")["isActive"], true, "{}", house.log());
    ok(&house, &["task", "rm", "long", "other"]);
}
