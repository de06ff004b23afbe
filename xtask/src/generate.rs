//! Files made from the code: written here, checked in, and compared in continuous integration.

use std::path::{Path, PathBuf};

use crate::workspace::{Failure, Workspace};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

pub(crate) fn run(workspace: &Workspace, mode: Mode) -> Result<(), Failure> {
    let made = workspace.target()?.join("generated");
    let unusable = |error| Failure::new(format!("{}: {error}", made.display()));
    if made.exists() {
        std::fs::remove_dir_all(&made).map_err(unusable)?;
    }
    std::fs::create_dir_all(&made).map_err(unusable)?;
    let mut command = workspace.cargo(&["run", "--quiet", "--package", "longhaul-reference", "--"]);
    command.arg(&made);
    let written: Vec<PathBuf> = workspace.read(command)?.lines().map(PathBuf::from).collect();
    if written.is_empty() {
        return Err(Failure::new("longhaul-reference wrote nothing"));
    }
    let mut different = Vec::new();
    for path in &written {
        let new = read(&made.join(path))?
            .ok_or_else(|| Failure::new(format!("{} was not written", path.display())))?;
        let old = read(&workspace.root.join(path))?;
        if old.as_ref() == Some(&new) {
            continue;
        }
        different.push(path);
        match mode {
            Mode::Write => write(&workspace.root.join(path), &new)?,
            Mode::Check => println!("{}: {}", path.display(), first_difference(old.as_deref(), &new)),
        }
    }
    match (mode, different.is_empty()) {
        (_, true) => println!("generate: {} files are up to date", written.len()),
        (Mode::Write, false) => {
            println!("generate: {} of {} files written anew", different.len(), written.len());
        }
        (Mode::Check, false) => {
            return Err(Failure::new(
                "generated files differ; run `cargo xtask generate` and commit the result",
            ));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("{}: {error}", path.display()))),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

fn first_difference(old: Option<&str>, new: &str) -> String {
    let Some(old) = old else { return "missing".to_owned() };
    let same = old.lines().zip(new.lines()).take_while(|(old, new)| old == new).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(end of file)").trim().to_owned();
    format!("line {} is `{}` and would be `{}`", same + 1, line(old), line(new))
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn a_difference_is_named_by_its_line() {
        assert_eq!(first_difference(Some("a\nb\n"), "a\nc\n"), "line 2 is `b` and would be `c`");
        assert_eq!(first_difference(Some("a\n"), "a\nc\n"), "line 2 is `(end of file)` and would be `c`");
        assert_eq!(first_difference(None, "a\n"), "missing");
    }
}
