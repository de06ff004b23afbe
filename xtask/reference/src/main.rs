//! Writes the references that are made from the code: `longhaul-reference FOLDER`.
//!
//! Below the folder each file has the path it has in the project; the paths go to standard output. Run by
//! `cargo xtask generate`, which compares them with what is checked in.

mod problems;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A path in the project, and what makes its text.
type File = (&'static str, fn() -> String);

const FILES: &[File] = &[
    ("api/openapi.json", longhaul_daemon::openapi_json),
    ("docs/reference/cli.md", longhaul_cli::reference_markdown),
    ("docs/reference/configuration.md", longhaul_daemon::configuration_markdown),
    ("docs/reference/exit-codes.md", longhaul_cli::exit_codes_markdown),
    ("docs/reference/problems.md", problems::markdown),
];

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: longhaul-reference FOLDER");
        return ExitCode::from(2);
    };
    for (path, text) in FILES {
        if let Err(error) = write(&folder.join(path), &text()) {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
        println!("{path}");
    }
    ExitCode::SUCCESS
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}
