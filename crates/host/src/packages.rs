//! Which versions of the system's packages are installed, by the databases of dpkg(1) and rpm(8). Deliberately absent:
//! watching them (their folders are watched with all else that applications are made of), and changing anything.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where databases of packages are by default.
pub const DATABASES: [&str; 3] = ["/var/lib/dpkg", "/usr/lib/sysimage/rpm", "/var/lib/rpm"];

/// Versions by package; `None` for one that is not installed.
pub type Versions = BTreeMap<String, Option<String>>;

#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// Its program is replacing it at this moment; it will say when that is over.
    #[error("the package {0} is half installed")]
    HalfInstalled(String),
    #[error("the database of packages {folder} cannot be read: {source}")]
    Unreadable { folder: PathBuf, source: io::Error },
}

/// Looks the packages up in whichever of the databases there are; may block, and for rpm starts its program.
///
/// # Errors
/// A package is not to be judged now; what was known of it still holds.
pub fn versions(databases: &[PathBuf], names: &[String]) -> Result<Versions, PackagesError> {
    let mut found: Versions = names.iter().map(|name| (name.clone(), None)).collect();
    if names.is_empty() {
        return Ok(found);
    }
    for folder in databases {
        let unreadable = |source| PackagesError::Unreadable { folder: folder.clone(), source };
        let here = if folder.join("status").is_file() {
            let text = fs::read(folder.join("status")).map_err(unreadable)?;
            dpkg(&String::from_utf8_lossy(&text), names)?
        } else if is_rpm(folder) {
            rpm(folder, names).map_err(unreadable)?
        } else {
            continue;
        };
        for (name, version) in here {
            found.insert(name, Some(version));
        }
    }
    Ok(found)
}

fn is_rpm(folder: &Path) -> bool {
    ["rpmdb.sqlite", "Packages.db", "Packages"].iter().any(|name| folder.join(name).is_file())
}

/// Reads the status file: paragraphs of `Field: value`.
fn dpkg(text: &str, names: &[String]) -> Result<Vec<(String, String)>, PackagesError> {
    let mut found = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        let name = field("Package");
        if !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        // want, error flag, status
        match field("Status").split(' ').nth(2) {
            Some("installed") => found.push((name.to_owned(), field("Version").to_owned())),
            Some("not-installed" | "config-files") | None => {}
            Some(_) => return Err(PackagesError::HalfInstalled(name.to_owned())),
        }
    }
    Ok(found)
}

fn rpm(folder: &Path, names: &[String]) -> io::Result<Vec<(String, String)>> {
    let mut command = Command::new("rpm");
    command.arg("--dbpath").arg(folder).args(["--query", "--queryformat", "%{NAME}\\t%{EVR}\\n", "--"]);
    let output = command.args(names).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    // What is not installed is told in words without a tab, and by the exit code.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(rows.map(|(name, version)| (name.to_owned(), version.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const STATUS: &str = "\
Package: player
Status: install ok installed
Version: 1.2-3
Description: plays
 Version: 9

Package: half
Status: install ok unpacked
Version: 2

Package: gone
Status: deinstall ok config-files
Version: 3
";

    #[test]
    fn versions_are_those_of_what_is_installed_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let databases = [folder.path().join("none"), folder.path().to_owned()];
        let look = |wanted: &[&str]| versions(&databases, &names(wanted));
        assert_eq!(look(&["player"]).unwrap()["player"], None);
        fs::write(folder.path().join("status"), STATUS).unwrap();
        let found = look(&["player", "gone", "never"]).unwrap();
        assert_eq!(found["player"].as_deref(), Some("1.2-3"));
        assert_eq!((&found["gone"], &found["never"]), (&None, &None));
        assert!(
            matches!(look(&["player", "half"]), Err(PackagesError::HalfInstalled(name)) if name == "half")
        );
        assert!(look(&[]).unwrap().is_empty());
    }
}
