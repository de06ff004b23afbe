//! Which room may know which: the arrows of ARCHITECTURE.md, held by the manifests and by a look at the engine.

use std::path::Path;

use crate::lexer;
use crate::workspace::{Failure, Workspace};

/// The rooms, lowest first, each with all that it may name. What is not listed is forbidden.
const ROOMS: &[(&str, &[&str])] = &[
    ("longhaul-contract", &[]),
    ("longhaul-engine", &["longhaul-contract"]),
    ("longhaul-transfer", &["longhaul-contract"]),
    ("longhaul-runner", &["longhaul-contract"]),
    ("longhaul-host", &["longhaul-contract"]),
    ("longhaul-client", &["longhaul-contract"]),
    ("longhaul-store", &["longhaul-contract", "longhaul-engine"]),
    ("longhaul-cli", &["longhaul-client", "longhaul-contract"]),
    (
        "longhaul-daemon",
        &[
            "longhaul-contract",
            "longhaul-engine",
            "longhaul-store",
            "longhaul-transfer",
            "longhaul-runner",
            "longhaul-host",
        ],
    ),
    ("longhaul-component", &["longhaul-client", "longhaul-contract", "longhaul-runner"]),
    ("longhaul", &["longhaul-component", "longhaul-daemon", "longhaul-cli"]),
    ("longhaul-reference", &["longhaul-contract", "longhaul-daemon", "longhaul-cli"]),
    ("xtask", &[]),
];

/// Packages that test and measure: they may know anything, and nothing may know them.
const TESTS: &[&str] = &["longhaul-lab", "longhaul-simulation", "longhaul-endtoend", "longhaul-bench"];

/// Crates that would give the engine a clock, a disk, a network, randomness or async.
const NOT_FOR_ENGINE: &[&str] = &[
    "async-trait",
    "futures",
    "futures-util",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "socket2",
    "tokio",
    "tokio-util",
];

/// The same, by path in its source.
const NOT_IN_ENGINE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "rand",
    "tokio",
];

/// A package of the workspace, as far as the rules look at it.
struct Package {
    name: String,
    /// Names of what it is built from. Dependencies of its tests are not among them.
    dependencies: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let packages = packages(&workspace.metadata()?)?;
    let mut violations = check_manifests(&packages);
    for path in workspace.files()? {
        let is_test = path.starts_with("crates/engine/src/tests") || path.ends_with("tests.rs");
        let is_source = path.extension().is_some_and(|ending| ending == "rs");
        if path.starts_with("crates/engine/src") && is_source && !is_test {
            let source = std::fs::read_to_string(workspace.root.join(&path))
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
            violations.extend(check_engine_source(&path, &source));
        }
    }
    if violations.is_empty() {
        println!("arrows: {} packages keep to them", packages.len());
        return Ok(());
    }
    for violation in &violations {
        println!("{violation}");
    }
    Err(Failure::new(format!("{} forbidden arrows (rules: ARCHITECTURE.md, \"Arrows\")", violations.len())))
}

fn packages(metadata: &serde_json::Value) -> Result<Vec<Package>, Failure> {
    let unreadable = || Failure::new("cargo metadata has another form than expected");
    let mut packages = Vec::new();
    for package in metadata["packages"].as_array().ok_or_else(unreadable)? {
        let mut dependencies = Vec::new();
        for dependency in package["dependencies"].as_array().ok_or_else(unreadable)? {
            if dependency["kind"].as_str() != Some("dev") {
                dependencies.push(dependency["name"].as_str().ok_or_else(unreadable)?.to_owned());
            }
        }
        let name = package["name"].as_str().ok_or_else(unreadable)?.to_owned();
        packages.push(Package { name, dependencies });
    }
    Ok(packages)
}

fn check_manifests(packages: &[Package]) -> Vec<String> {
    let is_ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut violations = Vec::new();
    for Package { name, dependencies } in packages {
        let name = name.as_str();
        if TESTS.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == name) else {
            violations.push(format!(
                "{name}: no rule names this package; give it its arrows in xtask/src/arrows.rs"
            ));
            continue;
        };
        for dependency in dependencies {
            let dependency = dependency.as_str();
            if TESTS.contains(&dependency) {
                violations.push(format!("{name} -> {dependency}: nothing may depend on tests"));
            } else if is_ours(dependency) && !allowed.contains(&dependency) {
                violations.push(format!("{name} -> {dependency}: {name} may know only {}", listed(allowed)));
            } else if name == "longhaul-engine" && NOT_FOR_ENGINE.contains(&dependency) {
                violations.push(format!(
                    "{name} -> {dependency}: the engine has no clock, disk, network, randomness or async"
                ));
            }
        }
    }
    violations
}

fn listed(allowed: &[&str]) -> String {
    if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") }
}

fn check_engine_source(path: &Path, source: &str) -> Vec<String> {
    lexer::paths(&lexer::lex(source))
        .into_iter()
        .filter(|(written, _)| reaches_out(written))
        .map(|(written, line)| {
            format!(
                "{}:{line}: {written}: the engine has no clock, disk, network, randomness or async",
                path.display()
            )
        })
        .collect()
}

/// Whether a path names something forbidden, or a module through which it could be named.
fn reaches_out(written: &str) -> bool {
    let is_open_module = ["std::time", "std::time::*", "std::time::self", "std::*"].contains(&written);
    let is_forbidden = NOT_IN_ENGINE.iter().any(|forbidden| {
        // A single word may be a variable; what a crate of that name brings is found in the manifest too.
        let is_crate = !forbidden.contains("::");
        written
            .strip_prefix(forbidden)
            .is_some_and(|rest| rest.starts_with("::") || (rest.is_empty() && !is_crate))
    });
    is_open_module || is_forbidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn world(changed: Package) -> Vec<Package> {
        let mut packages = vec![
            package("longhaul-contract", &["serde"]),
            package("longhaul-engine", &["longhaul-contract", "serde"]),
            package("longhaul-store", &["longhaul-contract", "longhaul-engine", "rusqlite"]),
            package("longhaul-transfer", &["longhaul-contract", "tokio"]),
            package("longhaul-daemon", &["longhaul-store", "longhaul-transfer"]),
            package("longhaul-lab", &["longhaul-contract"]),
        ];
        packages.retain(|package| package.name != changed.name);
        packages.push(changed);
        packages
    }

    #[test]
    fn what_is_listed_is_allowed() {
        assert_eq!(check_manifests(&world(package("longhaul-engine", &["longhaul-contract"]))), [""; 0]);
    }

    #[test]
    fn a_forbidden_arrow_fails() {
        let cases = [
            (package("longhaul-transfer", &["longhaul-engine"]), "longhaul-transfer -> longhaul-engine"),
            (package("longhaul-contract", &["longhaul-engine"]), "longhaul-contract -> longhaul-engine"),
            (package("longhaul-daemon", &["longhaul-lab"]), "nothing may depend on tests"),
            (package("longhaul-engine", &["tokio"]), "longhaul-engine -> tokio"),
            (package("longhaul-newcomer", &[]), "no rule names this package"),
        ];
        for (changed, expected) in cases {
            let violations = check_manifests(&world(changed));
            assert_eq!(violations.len(), 1, "{violations:?}");
            assert!(violations[0].contains(expected), "{violations:?}");
        }
    }

    #[test]
    fn dependencies_of_tests_are_not_looked_at() {
        let metadata = serde_json::json!({"packages": [{"name": "longhaul-transfer", "dependencies": [
            {"name": "longhaul-contract", "kind": null},
            {"name": "longhaul-lab", "kind": "dev"},
            {"name": "longhaul-engine", "kind": "build"},
        ]}]});
        let read = packages(&metadata).expect("well-formed");
        assert_eq!(read[0].dependencies, ["longhaul-contract", "longhaul-engine"]);
    }

    #[test]
    fn the_engine_reads_no_clock_and_no_disk() {
        let violations = |source: &str| check_engine_source(Path::new("engine.rs"), source).len();
        assert_eq!(
            violations("use std::time::Duration; // std::fs\nconst NAME: &str = \"std::net::TcpStream\";"),
            0
        );
        assert_eq!(violations("fn f(rand: u8) -> u8 { rand }"), 0);
        for source in [
            "use std::{collections::BTreeMap, time::Instant};",
            "use std::time;",
            "fn f() { std::fs::read(\"x\"); }",
            "fn f() { let _ = std::time::SystemTime::now(); }",
            "use tokio::sync::mpsc;",
            "fn f() -> u8 { rand::random() }",
        ] {
            assert_eq!(violations(source), 1, "{source}");
        }
    }
}
