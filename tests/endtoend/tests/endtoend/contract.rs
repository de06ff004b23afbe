//! The contract of the service and the given one of background tasks, each held against a running service by schemathesis
//! with all its checks: no answer that they do not promise, and none of 500 or above. The long version makes 2,000 examples
//! of each operation, with two seeds.

use std::path::{Path, PathBuf};
use std::process::Command;

use longhaul_endtoend::is_full;
use longhaul_lab::{Service, ServiceOptions};
use serde_json::json;

const APP: &str = "org.example.Tasks";

/// Installed by `cargo xtask setup`.
fn schemathesis() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps");
    target.join("tools/python/bin/schemathesis")
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contract")
}

fn service() -> (Service, String) {
    let service = Service::start(ServiceOptions { is_listening: true, ..ServiceOptions::default() });
    service.install(APP, "[[entry-point]]\nclass = \"Test.Task\"\nexec = [\"/bin/true\"]\n");
    let scopes = json!({ "scopes": ["submit", "read", "admin"] });
    let made = service.api().post(&format!("/apps/{APP}/tokens"), &scopes).unwrap().expect_status(201).json();
    (service, made["token"].as_str().unwrap().to_owned())
}

/// With so many examples of each operation, or as the long version says.
#[track_caller]
fn hold(service: &Service, token: &str, contract: &Path, examples: u32, arguments: &[&str]) {
    let (examples, seeds) = if is_full() { (2_000, 1..=2) } else { (examples, 1..=1) };
    for seed in seeds {
        let numbers =
            ["--max-examples", &examples.to_string(), "--seed", &seed.to_string()].map(str::to_owned);
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        run(service, token, contract, &[&numbers[..], arguments].concat());
    }
}

#[track_caller]
fn run(service: &Service, token: &str, contract: &Path, arguments: &[&str]) {
    let address = service.address().expect("it listens");
    let mut command = Command::new(schemathesis());
    println!("{}", arguments.join(" "));
    command
        .arg("--config-file")
        .arg(files().join("schemathesis.toml"))
        .arg("run")
        .arg(contract)
        .args(["--url", &format!("http://{address}"), "--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all", "--continue-on-failure", "--no-color"])
        .args(arguments)
        .current_dir(service.folder());
    let output = command.output().expect("schemathesis is installed by `cargo xtask setup`");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is added to a path of the given contract is advertised by `Allow`, which the check of that header cannot know.
#[test]
fn the_given_contract_of_background_tasks_holds() {
    let (service, token) = service();
    let contract = files().join("background-tasks.yml");
    hold(&service, &token, &contract, 20, &["--exclude-checks", "allow_header_conformance"]);
}

/// Streams do not end, and so cannot be compared with anything.
#[test]
fn the_contract_of_the_service_holds() {
    let (service, token) = service();
    let contract = service.folder().join("openapi.json");
    let text = service.tcp_api().get("/openapi.json").unwrap().expect_status(200).text();
    std::fs::write(&contract, text).expect("a file");
    let mut arguments = vec!["--exclude-path", "/events", "--exclude-path", "/background-tasks/activations"];
    if is_full() {
        // Made-up transfers by the ten thousand would measure nothing but how fast they fail.
        arguments.extend(["--include-path-regex", "^/(background-tasks|apps|push|host)"]);
    }
    hold(&service, &token, &contract, 3, &arguments);
}
