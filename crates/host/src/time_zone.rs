//! The machine's time zone as an IANA name: from the variable TZ, the link /etc/localtime, or the file /etc/timezone
//! (localtime(5)), and when it is set to another one.
//!
//! Deliberately absent: what an offset is on some day, and when it changes. A link that is bind-mounted into a container
//! changes without anybody being told.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::folder::FolderWatch;

/// Links that are followed from /etc/localtime.
const LINKS_MAX: usize = 8;
/// The longest names of the database have about 30 bytes.
const NAME_LENGTH_MAX: usize = 64;
/// Trees of the same zones, with and without leap seconds.
const TREES: [&str; 2] = ["posix", "right"];

/// What the zone is called and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    pub name: String,
    /// `TZ`, `/etc/localtime` or `/etc/timezone`.
    pub source: &'static str,
}

/// Why the zone has no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeZoneError {
    #[error("TZ is {0:?}, a rule and no name of a zone")]
    Rule(String),
    #[error(
        "/etc/localtime is no link into the zone database and /etc/timezone names no zone: \
         ln -sf /usr/share/zoneinfo/NAME /etc/localtime"
    )]
    Nameless,
}

/// Looks the zone up on the machine whose files begin at `root`; `variable` is the value of TZ. A machine without any
/// setting has UTC, as for the C library.
///
/// # Errors
/// The zone is set, and by no name.
pub fn find(root: &Path, variable: Option<&str>) -> Result<TimeZone, TimeZoneError> {
    if let Some(value) = variable {
        let plain = value.strip_prefix(':').unwrap_or(value);
        let name = match plain {
            "" => Some("UTC".to_owned()),
            path if path.starts_with('/') => name_in(Path::new(path)),
            name => Some(name.to_owned()).filter(|name| is_name(name)),
        };
        return match name {
            Some(name) => Ok(TimeZone { name, source: "TZ" }),
            None => Err(TimeZoneError::Rule(value.to_owned())),
        };
    }
    let etc = root.join("etc");
    let link = etc.join("localtime");
    if let Some(name) = name_by_links(root, &link) {
        return Ok(TimeZone { name, source: "/etc/localtime" });
    }
    let written = fs::read_to_string(etc.join("timezone")).unwrap_or_default();
    let named = written.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    match named {
        Some(name) if is_name(name) => Ok(TimeZone { name: name.to_owned(), source: "/etc/timezone" }),
        None if fs::symlink_metadata(&link).is_err() => {
            Ok(TimeZone { name: "UTC".to_owned(), source: "/etc/localtime" })
        }
        _ => Err(TimeZoneError::Nameless),
    }
}

/// Follows links until one leads into the zone database.
fn name_by_links(root: &Path, link: &Path) -> Option<String> {
    let mut at = link.to_owned();
    for _ in 0..LINKS_MAX {
        let target = fs::read_link(&at).ok()?;
        if let Some(name) = name_in(&target) {
            return Some(name);
        }
        at = match target.strip_prefix("/") {
            Ok(absolute) => root.join(absolute),
            Err(_) => at.parent()?.join(target),
        };
    }
    None
}

/// What stands after `zoneinfo/` in a path.
fn name_in(path: &Path) -> Option<String> {
    let mut components = path.components();
    components.find(|part| *part == Component::Normal(OsStr::new("zoneinfo")))?;
    let rest = components.as_path();
    let rest = TREES.iter().find_map(|tree| rest.strip_prefix(tree).ok()).unwrap_or(rest);
    rest.to_str().filter(|name| is_name(name)).map(str::to_owned)
}

/// Whether it has the form of a name of the zone database: words of letters, digits, `_`, `-` and `+`, with slashes
/// between them. Rules like `CET-1CEST` are told apart by the digit that follows letters, which only names below
/// `Etc/` and the old `EST5EDT` family have.
fn is_name(name: &str) -> bool {
    const OLD_RULES: [&str; 4] = ["EST5EDT", "CST6CDT", "MST7MDT", "PST8PDT"];
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    let is_rule = !name.contains('/')
        && name.contains(|c: char| c.is_ascii_digit())
        && !OLD_RULES.contains(&name)
        && !matches!(name, "GMT0" | "GMT+0" | "GMT-0");
    name.len() <= NAME_LENGTH_MAX && name.split('/').all(is_word) && !is_rule
}

/// Watches the files that set the zone. Must live inside a tokio runtime.
#[derive(Debug)]
pub(crate) struct TimeZoneWatch {
    root: PathBuf,
    variable: Option<String>,
    folder: Option<FolderWatch>,
}

impl TimeZoneWatch {
    pub(crate) fn open(root: &Path, variable: Option<String>) -> io::Result<Self> {
        // What the variable says holds for as long as the process lives.
        let folder =
            if variable.is_some() { None } else { Some(FolderWatch::open_nearest(&root.join("etc"))?) };
        Ok(Self { root: root.to_owned(), variable, folder })
    }

    pub(crate) fn look(&self) -> Result<TimeZone, TimeZoneError> {
        find(&self.root, self.variable.as_deref())
    }

    /// Waits until the zone may be another one.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        let Some(folder) = &mut self.folder else { return std::future::pending().await };
        let etc = self.root.join("etc");
        let is_etc = folder.folder() == etc;
        let told = folder
            .changed(|name| if is_etc { name == "localtime" || name == "timezone" } else { name == "etc" })
            .await;
        match told {
            Ok(()) if is_etc => Ok(()),
            Ok(()) => {
                *folder = FolderWatch::open_nearest(&etc)?;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *folder = FolderWatch::open_nearest(&etc)?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        root
    }

    fn name(root: &Path) -> String {
        find(root, None).unwrap().name
    }

    #[test]
    fn the_link_names_the_zone_wherever_the_database_is() {
        for (target, expected) in [
            ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
            ("../usr/share/zoneinfo/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
            ("/etc/zoneinfo/Etc/GMT+5", "Etc/GMT+5"),
            ("/usr/share/zoneinfo/right/UTC", "UTC"),
            ("/usr/share/zoneinfo/posix/Asia/Tokyo", "Asia/Tokyo"),
        ] {
            let root = machine();
            symlink(target, root.path().join("etc/localtime")).unwrap();
            // The link is what the C library reads; a stale file beside it is not.
            fs::write(root.path().join("etc/timezone"), "Africa/Cairo\n").unwrap();
            assert_eq!(find(root.path(), None).unwrap().source, "/etc/localtime");
            assert_eq!(name(root.path()), expected);
        }
    }

    #[test]
    fn links_to_links_are_followed_below_the_root() {
        let root = machine();
        symlink("/etc/local-zone", root.path().join("etc/localtime")).unwrap();
        symlink("/usr/share/zoneinfo/Asia/Kolkata", root.path().join("etc/local-zone")).unwrap();
        assert_eq!(name(root.path()), "Asia/Kolkata");
        let circle = machine();
        symlink("localtime", circle.path().join("etc/localtime")).unwrap();
        assert_eq!(find(circle.path(), None), Err(TimeZoneError::Nameless));
    }

    #[test]
    fn a_copied_zone_is_named_by_the_file_beside_it_or_by_nothing() {
        let root = machine();
        fs::write(root.path().join("etc/localtime"), "TZif").unwrap();
        assert_eq!(find(root.path(), None), Err(TimeZoneError::Nameless));
        fs::write(root.path().join("etc/timezone"), "# zone\n\n Australia/Sydney \n").unwrap();
        assert_eq!(name(root.path()), "Australia/Sydney");
        fs::write(root.path().join("etc/timezone"), "../../passwd\n").unwrap();
        assert_eq!(find(root.path(), None), Err(TimeZoneError::Nameless));
    }

    #[test]
    fn no_setting_is_utc() {
        assert_eq!(name(machine().path()), "UTC");
        assert_eq!(name(Path::new("/proc/self/fdinfo")), "UTC");
    }

    #[test]
    fn the_variable_comes_first() {
        let root = machine();
        symlink("/usr/share/zoneinfo/Asia/Tokyo", root.path().join("etc/localtime")).unwrap();
        for (value, expected) in [
            ("Europe/Paris", Some("Europe/Paris")),
            (":Europe/Paris", Some("Europe/Paris")),
            ("/usr/share/zoneinfo/Europe/Paris", Some("Europe/Paris")),
            ("", Some("UTC")),
            ("EST5EDT", Some("EST5EDT")),
            ("EST", Some("EST")),
            ("CET-1CEST,M3.5.0,M10.5.0/3", None),
            ("CET-1", None),
            ("<+03>-3", None),
            ("/srv/zone", None),
        ] {
            let found = find(root.path(), Some(value));
            assert_eq!(found.ok().map(|zone| zone.name).as_deref(), expected, "{value}");
        }
    }
}
