//! The table of what is tried of each source names tests that exist.

use std::path::Path;

/// Where tests of sources are, below the workspace.
const PLACES: [&str; 5] = [
    "crates/engine/src/task/tests",
    "crates/host/src",
    "crates/host/tests",
    "tests/endtoend/tests",
    "crates/engine/src/tests",
];

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

#[test]
fn the_table_of_sources_names_tests_that_exist() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let table = std::fs::read_to_string(workspace.join("docs/concepts/host-tests.md")).unwrap();
    let mut text = String::new();
    PLACES.iter().for_each(|place| sources(&workspace.join(place), &mut text));
    let names: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    assert!(names.len() > 20, "the table names {} tests", names.len());
    for name in names {
        assert!(text.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}
