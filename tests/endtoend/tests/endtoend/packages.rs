//! An application that is made of packages, and the real dpkg in a folder of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use longhaul_endtoend::{DEADLINE, House, QUICK};
use longhaul_lab::{ServiceOptions, wait_until};
use serde_json::{Value, json};

const TASKS: &str = "/background-tasks";
const APP: &str = "org.example.Player";

/// A package without files: only its version matters.
fn package(folder: &Path, name: &str, version: &str) -> PathBuf {
    let tree = folder.join(format!("{name}-{version}"));
    std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: test\n"
    );
    std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let file = folder.join(format!("{name}-{version}.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&file));
    file
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["info", "updates", "triggers", "alternatives", "parts"] {
            std::fs::create_dir_all(folder.path().join("var/lib/dpkg").join(name)).unwrap();
        }
        std::fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        std::fs::write(folder.path().join("var/lib/dpkg/available"), "").unwrap();
        Self(folder)
    }

    fn dpkg(&self, action: &str, what: &Path) {
        let root = self.0.path().display();
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={root}")).arg("--force-script-chrootless").arg("--force-not-root");
        run(command.args(["--log=/dev/null", action]).arg(what));
    }

    fn install(&self, name: &str, version: &str) {
        self.dpkg("--install", &package(self.0.path(), name, version));
    }
}

#[test]
fn another_version_of_a_package_is_an_update_and_others_are_none() {
    let root = Root::new();
    root.install("player", "1.0");
    let databases = root.0.path().join("var/lib/dpkg");
    let config =
        QUICK.replace("[engine]", &format!("[service]\npackage-databases = [{databases:?}]\n[engine]"));
    let mut house = House::prepared(ServiceOptions { config, ..ServiceOptions::default() });
    let api = house.api().with_header("Longhaul-App", APP);
    let entry = |class: &str, script: &str| {
        format!(
            "[[entry-point]]\nclass = \"{class}\"\nexec = [\"/bin/sh\", \"-c\", {}]\nworking-directory = {:?}\n",
            Value::from(script),
            house.results().display().to_string()
        )
    };
    let manifest = format!(
        "[app]\nid = {APP:?}\npackages = [\"player\", \"player-data\"]\n{}{}",
        entry("Update", "echo updated >> updates"),
        entry("Long", "echo began >> began; sleep 100")
    );
    std::fs::create_dir_all(house.apps()).unwrap();
    std::fs::write(house.apps().join(format!("{APP}.toml")), manifest).unwrap();
    house.launch();
    let call = |method: &str, path: &str, body: Option<&Value>| {
        let text = body.map(Value::to_string);
        api.call(method, path, text.as_ref().map(|text| ("application/json", text.as_bytes()))).unwrap()
    };
    let _ = call("POST", "/background-tasks/access", None).expect_status(200);
    let register = |name: &str, trigger: Value| {
        let body = json!({ "name": name, "entryPoint": name, "trigger": trigger });
        let made = call("POST", TASKS, Some(&body)).expect_status(201);
        made.header("location").expect("a place").to_owned()
    };
    let updates = || std::fs::read_to_string(house.result("updates")).unwrap_or_default().lines().count();
    let servicing = json!({ "type": "SystemTrigger", "systemTriggerType": "ServicingComplete" });
    let task = register("Update", servicing);
    let long = register("Long", json!({ "type": "ApplicationTrigger" }));
    let _ = call("POST", &format!("{long}/request"), None).expect_status(200);
    wait_until("the task having begun", DEADLINE, || house.result("began").exists().then_some(()));
    // A package of somebody else, and the same version once more.
    root.install("editor", "1.0");
    root.install("player", "1.0");
    root.install("player", "1.1");
    wait_until("the update", DEADLINE, || (updates() == 1).then_some(()));
    wait_until("the end of what ran", DEADLINE, || {
        let detail = call("GET", &long, None).expect_status(200).json();
        (detail["history"][0]["result"] == "Canceled:ServicingUpdate").then_some(())
    });
    let detail = call("GET", &task, None).expect_status(200).json();
    assert_eq!(detail["history"].as_array().unwrap().len(), 1, "{detail:#}");
    // What is only unpacked is not judged; the sign that it is configured comes later.
    root.dpkg("--unpack", &package(root.0.path(), "player-data", "1.0"));
    wait_until("a look at it", DEADLINE, || house.log().contains("half installed").then_some(()));
    assert_eq!(updates(), 1);
    root.dpkg("--configure", Path::new("player-data"));
    wait_until("the second update, put off because it came within a minute", DEADLINE, || {
        let explained = call("GET", &format!("{task}/explain"), None).expect_status(200).json();
        (explained["blocking"][0]["code"] == "flapping").then_some(())
    });
}
