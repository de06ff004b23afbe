//! An application that is made of packages, and the real dpkg and rpm, each with a database of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use longhaul_endtoend::{DEADLINE, House, QUICK};
use longhaul_lab::{Answer, Endpoint, ServiceOptions, wait_until};
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

/// A database of rpm(8) without a system around it.
struct Rpm(tempfile::TempDir);

impl Rpm {
    fn new() -> Self {
        let rpm = Self(tempfile::tempdir().unwrap());
        run(rpm.command().arg("--initdb"));
        rpm
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("database")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("rpm");
        command.arg("--dbpath").arg(self.database());
        command
    }

    fn install(&self, name: &str, version: &str) {
        let top = self.0.path().join("build");
        let spec = self.0.path().join(format!("{name}.spec"));
        let text = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: test\nLicense: MIT\nBuildArch: noarch\n\
             %description\ntest\n%files\n"
        );
        std::fs::write(&spec, text).unwrap();
        let mut build = Command::new("rpmbuild");
        run(build.arg("-bb").arg("--define").arg(format!("_topdir {}", top.display())).arg(&spec));
        let file = top.join(format!("RPMS/noarch/{name}-{version}-1.noarch.rpm"));
        // Debian's own rpm wants to be told that this is no system of dpkg's.
        let how = ["--force-debian", "--justdb", "--nodeps", "--replacepkgs", "--upgrade"];
        run(self.command().args(how).arg(file));
    }
}

/// An application of the packages `player` and `player-data`, with a task for its updates and one that runs until then.
struct Scene {
    house: House,
    api: Endpoint,
}

impl Scene {
    fn new(databases: &Path) -> Self {
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
        let scene = Self { house, api };
        let _ = scene.call("POST", "/background-tasks/access", None).expect_status(200);
        scene
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let text = body.map(Value::to_string);
        self.api.call(method, path, text.as_ref().map(|text| ("application/json", text.as_bytes()))).unwrap()
    }

    #[track_caller]
    fn register(&self, name: &str, trigger: &Value) -> String {
        let body = json!({ "name": name, "entryPoint": name, "trigger": trigger });
        let made = self.call("POST", TASKS, Some(&body)).expect_status(201);
        made.header("location").expect("a place").to_owned()
    }

    fn updates(&self) -> usize {
        std::fs::read_to_string(self.house.result("updates")).unwrap_or_default().lines().count()
    }

    /// Installs, with `install`, what is of no concern and then a new version: that one starts the task and ends what
    /// runs. Returns the task of the updates.
    #[track_caller]
    fn is_updated_by(&self, install: &dyn Fn(&str, &str)) -> String {
        let servicing = json!({ "type": "SystemTrigger", "systemTriggerType": "ServicingComplete" });
        let task = self.register("Update", &servicing);
        let long = self.register("Long", &json!({ "type": "ApplicationTrigger" }));
        let _ = self.call("POST", &format!("{long}/request"), None).expect_status(200);
        wait_until("the task having begun", DEADLINE, || self.house.result("began").exists().then_some(()));
        // A package of somebody else, and the same version once more.
        install("editor", "1.0");
        install("player", "1.0");
        install("player", "1.1");
        wait_until("the update", DEADLINE, || (self.updates() == 1).then_some(()));
        wait_until("the end of what ran", DEADLINE, || {
            let detail = self.call("GET", &long, None).expect_status(200).json();
            (detail["history"][0]["result"] == "Canceled:ServicingUpdate").then_some(())
        });
        let detail = self.call("GET", &task, None).expect_status(200).json();
        assert_eq!(detail["history"].as_array().unwrap().len(), 1, "{detail:#}");
        task
    }
}

#[test]
fn another_version_of_a_package_is_an_update_and_others_are_none() {
    let root = Root::new();
    root.install("player", "1.0");
    let scene = Scene::new(&root.0.path().join("var/lib/dpkg"));
    let task = scene.is_updated_by(&|name, version| root.install(name, version));
    // What is only unpacked is not judged; the sign that it is configured comes later.
    root.dpkg("--unpack", &package(root.0.path(), "player-data", "1.0"));
    wait_until("a look at it", DEADLINE, || scene.house.log().contains("half installed").then_some(()));
    assert_eq!(scene.updates(), 1);
    root.dpkg("--configure", Path::new("player-data"));
    wait_until("the second update, put off because it came within a minute", DEADLINE, || {
        let explained = scene.call("GET", &format!("{task}/explain"), None).expect_status(200).json();
        (explained["blocking"][0]["code"] == "flapping").then_some(())
    });
}

#[test]
fn another_version_in_the_database_of_rpm_is_an_update_too() {
    let rpm = Rpm::new();
    rpm.install("player", "1.0");
    let scene = Scene::new(&rpm.database());
    let _ = scene.is_updated_by(&|name, version| rpm.install(name, version));
}
