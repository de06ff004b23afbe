//! The process that runs one WebAssembly component as a task instance.
//!
//! Knows the run time (wasmtime), the WASI interfaces of `wasi:cli/command` and the component's own interface to the service
//! (`wit/instance.wit`). Deliberately absent: starting, limits of the process, killing, the log; to all of these the process
//! is a program like any other, which the runner looks after. It is the service's own binary with a first argument.

mod guest;
mod limiter;
mod run;

use std::process::ExitCode;

use longhaul_runner::Component;

pub use run::Failure;

/// To be called early in `main`, before any thread and any output: `Some` if that is what this process was started for,
/// and then the component has run.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let component = match Component::asked()? {
        Ok(component) => component,
        Err(error) => {
            eprintln!("longhaul: the component to run is not told: {error}");
            return Some(ExitCode::FAILURE);
        }
    };
    Some(run::run(&component))
}
