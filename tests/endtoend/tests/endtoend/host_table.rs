//! The table of what is tried of each source is whole, and names tests that exist.

use std::path::Path;

use longhaul_endtoend::House;
use serde_json::Value;

/// Where tests of sources are, below the workspace.
const PLACES: [&str; 3] = ["crates/engine/src", "crates/host", "tests/endtoend/tests"];

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn table() -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(workspace.join("docs/concepts/host-tests.md")).unwrap()
}

#[test]
fn the_table_of_sources_names_tests_that_exist() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = String::new();
    PLACES.iter().for_each(|place| sources(&workspace.join(place), &mut text));
    let table = table();
    let names: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    assert!(names.len() > 100, "the table names {} tests", names.len());
    for name in names {
        assert!(text.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

/// All triggers, events and conditions, as the service itself tells of them.
fn names() -> Vec<String> {
    let house = House::new();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let triggers = house.call("GET", "/background-tasks/triggers").expect_status(200).json();
    let mut names = Vec::new();
    for trigger in triggers.as_array().unwrap() {
        if let Some(events) = trigger["systemTriggerTypes"].as_array() {
            names.extend(events.iter().map(|event| word(&event["systemTriggerType"])));
        } else {
            names.push(word(&trigger["type"]));
        }
    }
    let document = house.call("GET", "/openapi.json").expect_status(200).json();
    let conditions = document["components"]["schemas"]["Condition"]["enum"].clone();
    names.extend(conditions.as_array().unwrap().iter().map(word));
    names
}

#[test]
fn the_table_of_sources_has_a_row_of_four_cases_for_each() {
    let table = table();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for row in &rows {
        assert!(row.len() == 5 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    let subjects: Vec<&str> = rows.iter().flat_map(|row| row[0].split(", ")).collect();
    let names = names();
    assert!(names.len() > 30, "{names:?}");
    for name in &names {
        // Some events and conditions have the same name.
        let times = names.iter().filter(|other| *other == name).count();
        let rows = subjects.iter().filter(|subject| *subject == name).count();
        assert_eq!(rows, times, "rows of {name}");
    }
}
