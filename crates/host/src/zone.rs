//! The name of the machine's time zone in the IANA database: from `TZ` (tzset(3)), the link `/etc/localtime`
//! (localtime(5)) or the file `/etc/timezone` of Debian.
//!
//! Deliberately absent: whether a database knows the name, and rules without a name (`CET-1CEST`, a copied file).

use std::ffi::OsStr;
use std::path::{Component, Path};

/// What may be the zone's name, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedZone {
    pub name: String,
    pub source: String,
}

/// What names the zone, the weightiest first: `tz` is the value of the variable, `etc` the folder of the machine's
/// settings. Reads two files.
pub fn named_zones(tz: Option<&OsStr>, etc: &Path) -> impl Iterator<Item = NamedZone> {
    let zone = |name: String, source: String| NamedZone { name, source };
    let variable = tz.and_then(OsStr::to_str).and_then(of_variable).map(|name| zone(name, "$TZ".to_owned()));
    let link = etc.join("localtime");
    let linked = std::fs::canonicalize(&link)
        .ok()
        .into_iter()
        .chain(std::fs::read_link(&link))
        .find_map(|target| below_database(&target))
        .map(|name| zone(name, link.display().to_string()));
    let file = etc.join("timezone");
    let written = std::fs::read_to_string(&file).ok().and_then(|text| {
        let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
        Some(zone(name.to_owned(), file.display().to_string()))
    });
    variable.into_iter().chain(linked).chain(written)
}

/// An empty variable means UTC; a colon may precede the name or the path of a file.
fn of_variable(value: &str) -> Option<String> {
    let value = value.strip_prefix(':').unwrap_or(value);
    match value {
        "" => Some("UTC".to_owned()),
        path if path.starts_with('/') => below_database(Path::new(path)),
        name => Some(name.to_owned()),
    }
}

/// The part of a path behind the database's folder; `posix` and `right` hold the same names once more.
fn below_database(path: &Path) -> Option<String> {
    let mut parts = path.components().skip_while(|part| part.as_os_str() != "zoneinfo").skip(1).peekable();
    parts.next_if(|part| part.as_os_str() == "posix" || part.as_os_str() == "right");
    let names: Option<Vec<&str>> = parts
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    names.filter(|names| !names.is_empty()).map(|names| names.join("/"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(tz: Option<&str>, etc: &Path) -> Vec<String> {
        named_zones(tz.map(OsStr::new), etc).map(|zone| zone.name).collect()
    }

    #[test]
    fn the_variable_is_read_as_tzset_reads_it() {
        let etc = tempfile::tempdir().unwrap();
        for (value, expected) in [
            ("Europe/Berlin", Some("Europe/Berlin")),
            (":Asia/Tokyo", Some("Asia/Tokyo")),
            ("/usr/share/zoneinfo/posix/America/Argentina/Ushuaia", Some("America/Argentina/Ushuaia")),
            ("", Some("UTC")),
            ("/somewhere/else", None),
        ] {
            assert_eq!(found(Some(value), etc.path()).first().map(String::as_str), expected, "{value}");
        }
    }

    #[test]
    fn the_link_goes_before_the_file_and_neither_has_to_be_there() {
        let etc = tempfile::tempdir().unwrap();
        assert!(found(None, etc.path()).is_empty());
        std::fs::write(etc.path().join("timezone"), "\nEurope/Paris\n").unwrap();
        assert_eq!(found(None, etc.path()), ["Europe/Paris"]);
        symlink("../usr/share/zoneinfo/Nowhere/Land", etc.path().join("localtime")).unwrap();
        assert_eq!(found(None, etc.path()), ["Nowhere/Land", "Europe/Paris"]);
        std::fs::remove_file(etc.path().join("localtime")).unwrap();
        std::fs::write(etc.path().join("localtime"), "TZif2").unwrap();
        assert_eq!(found(None, etc.path()), ["Europe/Paris"], "a copy has no name");
    }
}
