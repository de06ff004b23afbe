//! Where the project lies, and how its commands are run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a command of the project did not succeed, for the person who ran it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self, Failure> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().ok_or_else(|| Failure::new("xtask lies outside of a workspace"))?;
        if root.join("Cargo.toml").is_file() {
            Ok(Self { root: root.to_owned() })
        } else {
            Err(Failure::new(format!(
                "{} has no Cargo.toml; was the project moved? Build xtask again",
                root.display()
            )))
        }
    }

    /// A command that runs in the root of the project.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(&self.root);
        command
    }

    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        command
    }

    /// Runs it with our own output streams.
    pub(crate) fn succeed(&self, mut command: Command) -> Result<(), Failure> {
        let status =
            command.status().map_err(|error| Failure::new(format!("{}: {error}", shown(&command))))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("{} ended with {status}", shown(&command))))
        }
    }

    /// Runs it and returns its standard output.
    pub(crate) fn read(&self, mut command: Command) -> Result<String, Failure> {
        command.stderr(Stdio::inherit());
        let output =
            command.output().map_err(|error| Failure::new(format!("{}: {error}", shown(&command))))?;
        if !output.status.success() {
            return Err(Failure::new(format!("{} ended with {}", shown(&command), output.status)));
        }
        String::from_utf8(output.stdout)
            .map_err(|_| Failure::new(format!("{} printed something that is not UTF-8", shown(&command))))
    }

    /// `cargo metadata` without the dependencies' own packages.
    pub(crate) fn metadata(&self) -> Result<serde_json::Value, Failure> {
        let text = self.read(self.cargo(&["metadata", "--format-version=1", "--no-deps"]))?;
        serde_json::from_str(&text).map_err(|error| Failure::new(format!("cargo metadata: {error}")))
    }

    /// The folder all builds share.
    pub(crate) fn target(&self) -> Result<PathBuf, Failure> {
        let metadata = self.metadata()?;
        metadata["target_directory"]
            .as_str()
            .map(PathBuf::from)
            .ok_or_else(|| Failure::new("cargo metadata names no target folder"))
    }

    /// Paths of the project's files, as `git` lists them: tracked, or new and not ignored.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut list = self.command("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = self.read(list)?;
        let mut files: Vec<PathBuf> = listed
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .filter(|path| self.root.join(path).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
