//! Every check, in the order in which a mistake is found soonest. The tests come last, so that the runner's own
//! summary ends the output.

use std::time::Instant;

use crate::setup::cargo_tool;
use crate::workspace::{Failure, Workspace};
use crate::{arrows, generate, setup, tidy};

type Step = (&'static str, fn(&Workspace) -> Result<(), Failure>);

const STEPS: &[Step] = &[
    ("setup", setup::run),
    ("fmt", |workspace| workspace.succeed(workspace.cargo(&["fmt", "--all", "--", "--check"]))),
    ("arrows", arrows::run),
    ("tidy", |workspace| tidy::run(workspace, tidy::Mode::Check)),
    ("deny", |workspace| {
        workspace.succeed(cargo_tool(
            workspace,
            &["deny", "--workspace", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"],
        )?)
    }),
    ("clippy", |workspace| {
        workspace.succeed(workspace.cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))
    }),
    ("build", |workspace| {
        workspace.succeed(workspace.cargo(&["build", "--quiet", "--workspace", "--bins", "--tests"]))
    }),
    ("generated", |workspace| generate::run(workspace, generate::Mode::Check)),
    ("doctests", |workspace| {
        workspace.succeed(workspace.cargo(&["test", "--quiet", "--workspace", "--doc"]))
    }),
    // Unit tests, contract suites, simulation and end to end alike.
    ("tests", |workspace| {
        workspace.succeed(cargo_tool(workspace, &["nextest", "run", "--workspace", "--profile", "ci"])?)
    }),
];

pub(crate) fn run(workspace: &Workspace, wanted: &[&str]) -> Result<(), Failure> {
    if let Some(unknown) = wanted.iter().find(|name| !STEPS.iter().any(|(step, _)| step == *name)) {
        let known: Vec<_> = STEPS.iter().map(|(step, _)| *step).collect();
        return Err(Failure::new(format!("{unknown} is not one of {}", known.join(", "))));
    }
    let chosen = STEPS.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
    let begun = Instant::now();
    for (name, step) in chosen {
        let started = Instant::now();
        println!("==> {name}  ({:.0} s since the start)", begun.elapsed().as_secs_f64());
        step(workspace).map_err(|failure| Failure::new(format!("step {name}: {failure}")))?;
        // The summary of the test runner is the end of the output; its own time is in it.
        if *name != "tests" {
            println!("    {name} ok, {:.1} s", started.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
