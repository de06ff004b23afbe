//! The contract of the service and the given one of background tasks, each held against a running service by schemathesis
//! with all its checks: no answer that they do not promise, and none of 500 or above.

use std::path::{Path, PathBuf};
use std::process::Command;

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

#[track_caller]
fn hold(service: &Service, token: &str, contract: &Path, arguments: &[&str]) {
    let address = service.address().expect("it listens");
    let mut command = Command::new(schemathesis());
    command
        .arg("--config-file")
        .arg(files().join("schemathesis.toml"))
        .arg("run")
        .arg(contract)
        .args(["--url", &format!("http://{address}"), "--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all", "--seed", "1", "--continue-on-failure", "--no-color"])
        .args(arguments)
        .current_dir(service.folder());
    let output = command.output().expect("schemathesis is installed by `cargo xtask setup`");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What is added to a path of the given contract is advertised by `Allow`, which the check of that header cannot know.
#[test]
fn the_given_contract_of_background_tasks_holds() {
    let (service, token) = service();
    let contract = files().join("background-tasks.yml");
    hold(
        &service,
        &token,
        &contract,
        &["--exclude-checks", "allow_header_conformance", "--max-examples", "20"],
    );
}

/// Streams do not end, and so cannot be compared with anything.
#[test]
fn the_contract_of_the_service_holds() {
    let (service, token) = service();
    let contract = service.folder().join("openapi.json");
    let text = service.tcp_api().get("/openapi.json").unwrap().expect_status(200).text();
    std::fs::write(&contract, text).expect("a file");
    let streams = ["--exclude-path", "/events", "--exclude-path", "/background-tasks/activations"];
    let short = ["--max-examples", "3"];
    hold(&service, &token, &contract, &[&streams[..], &short[..]].concat());
}
