//! The generated contract is the one that is checked in, and says something about everything.

use serde_json::Value;

#[test]
fn the_checked_in_contract_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/openapi.json");
    let kept = std::fs::read_to_string(path).expect("api/openapi.json is checked in");
    assert!(kept == longhaul_daemon::openapi_json(), "run `cargo xtask generate`");
}

#[test]
fn every_call_and_answer_is_described() {
    let contract: Value = serde_json::from_str(&longhaul_daemon::openapi_json()).unwrap();
    assert!(contract["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in contract["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let description = response["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{method} {path} {status}");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let description = parameter["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{method} {path} {parameter}");
            }
        }
    }
    assert!(names.len() >= 26, "{names:?}");
}

#[test]
fn the_reference_names_every_setting() {
    let text = longhaul_daemon::configuration_markdown();
    for word in ["[service]", "[transfer]", "[engine]", "[limits]", "LONGHAUL_TRANSFER_STALL_TIMEOUT"] {
        assert!(text.contains(word), "{word}");
    }
}
