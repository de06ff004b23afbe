//! The manifest of an application: which classes it has, and what each of them is on this machine. The owner puts it
//! into the folder of manifests (`longhaul app install FILE`); no call over HTTP can name a command.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::AppId;
use crate::trigger::TriggerKind;

/// Begins the class of a command that a person gave (`longhaul task add … -- CMD`, `longhaul when`): the command line
/// writes and removes such entry points one by one, so they are no part of what the application is, and neither they nor
/// their programs count when it is told whether the application was updated.
pub const COMMAND_PREFIX: &str = "command:";

/// A whole manifest file, in TOML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    pub app: ManifestApp,
    #[serde(default, rename = "entry-point", skip_serializing_if = "Vec::is_empty")]
    pub entry_points: Vec<EntryPoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ManifestApp {
    /// The application the caller names.
    pub id: AppId,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The system's packages that the application is made of: another version of one of them is an update of the
    /// application, also where no program of the manifest shows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// One class and what it is: exactly one of `exec`, `dbus`, `wasm` and `in-process`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EntryPoint {
    /// What a registration's `entryPoint` says, case-sensitive.
    pub class: String,
    /// Program and arguments, run without a shell. The program is an absolute path, or one of the manifest's PATH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// Well-known bus name whose service has `io.longhaul.BackgroundTask1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dbus: Option<String>,
    /// `session` (the default) or `system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<Bus>,
    /// File of a WebAssembly component: an absolute path. It reaches nothing but what the sandbox grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasm: Option<PathBuf>,
    /// Served by a program that listens to `GET /background-tasks/activations`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_process: bool,
    /// Which trigger types may start it; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TriggerKind>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// `~` at the beginning is the home folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Longest run, such as `10m`; within what the owner allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<String>,
    /// Largest memory of all its processes, such as `512MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<String>,
    /// Share of one processor in per cent; 200 is two processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_max: Option<u32>,
    /// Processes and threads at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    Session,
    System,
}

/// What the processes may reach. Without a sandbox they may do what their user may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sandbox {
    /// Folders beside the system's programs and libraries; `:ro` at the end only to read.
    #[serde(default)]
    pub filesystem: Vec<String>,
    #[serde(default)]
    pub network: bool,
    /// Another user to run as; only a service of the machine can do that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What an entry point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryPointKind<'a> {
    Process(&'a [String]),
    DBus(&'a str, Bus),
    Wasm(&'a std::path::Path),
    InProcess,
}

impl EntryPointKind<'_> {
    /// For answers.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::DBus(..) => "dbus",
            Self::Wasm(_) => "wasm",
            Self::InProcess => "in-process",
        }
    }
}

/// What is wrong with a manifest that is well-formed TOML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry point {class:?}: {problem}")]
pub struct InvalidManifest {
    pub class: String,
    pub problem: String,
}

impl EntryPoint {
    /// # Errors
    /// None, or more than one, of the four is given.
    pub fn kind(&self) -> Result<EntryPointKind<'_>, InvalidManifest> {
        let kinds = [
            self.exec.as_deref().map(EntryPointKind::Process),
            self.dbus.as_deref().map(|name| EntryPointKind::DBus(name, self.bus.unwrap_or(Bus::Session))),
            self.wasm.as_deref().map(EntryPointKind::Wasm),
            self.in_process.then_some(EntryPointKind::InProcess),
        ];
        let mut given = kinds.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(kind), None) => Ok(kind),
            (None, _) => Err(self.invalid("needs one of exec, dbus, wasm and in-process")),
            (Some(_), Some(_)) => Err(self.invalid("has more than one of exec, dbus, wasm and in-process")),
        }
    }

    /// Whether it is a command that a person gave, see [`COMMAND_PREFIX`].
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.class.starts_with(COMMAND_PREFIX)
    }

    /// Seconds of [`EntryPoint::time_limit`].
    ///
    /// # Errors
    /// It is no whole number with s, m, h or d.
    pub fn time_limit_seconds(&self) -> Result<Option<u32>, InvalidManifest> {
        self.time_limit
            .as_deref()
            .map(|text| {
                seconds(text).ok_or_else(|| {
                    self.invalid(&format!(
                        "time-limit {text:?} is not a number with s, m, h or d, at most 7d"
                    ))
                })
            })
            .transpose()
    }

    /// Bytes of [`EntryPoint::memory_max`].
    ///
    /// # Errors
    /// It is no whole number with KiB, MiB or GiB.
    pub fn memory_max_bytes(&self) -> Result<Option<u64>, InvalidManifest> {
        self.memory_max
            .as_deref()
            .map(|text| {
                bytes(text).ok_or_else(|| {
                    self.invalid(&format!("memory-max {text:?} is not a number with KiB, MiB or GiB"))
                })
            })
            .transpose()
    }

    fn invalid(&self, problem: &str) -> InvalidManifest {
        InvalidManifest { class: self.class.clone(), problem: problem.to_owned() }
    }

    fn check(&self) -> Result<(), InvalidManifest> {
        if self.class.is_empty() || self.class.len() > 256 || self.class.chars().any(char::is_control) {
            return Err(self.invalid("class must be 1 to 256 characters without control characters"));
        }
        if let EntryPointKind::Process(argv) = self.kind()?
            && argv.first().is_none_or(String::is_empty)
        {
            return Err(self.invalid("exec needs a program"));
        }
        if let Some(file) = &self.wasm
            && !file.is_absolute()
        {
            return Err(self.invalid("wasm needs an absolute path"));
        }
        if self.bus.is_some() && self.dbus.is_none() {
            return Err(self.invalid("bus goes with dbus"));
        }
        if let Some(name) = self.environment.keys().find(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return Err(self.invalid(&format!("{name:?} cannot be the name of a variable")));
        }
        self.time_limit_seconds()?;
        self.memory_max_bytes().map(drop)
    }
}

impl Manifest {
    /// # Errors
    /// The first entry point that is not sound, or comes twice.
    pub fn check(&self) -> Result<(), InvalidManifest> {
        let mut seen = std::collections::BTreeSet::new();
        for entry_point in &self.entry_points {
            entry_point.check()?;
            if !seen.insert(&entry_point.class) {
                return Err(entry_point.invalid("is declared twice"));
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn entry_point(&self, class: &str) -> Option<&EntryPoint> {
        self.entry_points.iter().find(|entry_point| entry_point.class == class)
    }
}

/// Seven days: nothing of ours runs longer.
const SECONDS_MAX: u32 = 604_800;

fn seconds(text: &str) -> Option<u32> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = u32::try_from(number.checked_mul(scale)?).ok()?;
    (1..=SECONDS_MAX).contains(&seconds).then_some(seconds)
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(scale).filter(|bytes| *bytes > 0)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_point(exec: &[&str]) -> EntryPoint {
        EntryPoint {
            class: "Example.Task".to_owned(),
            exec: Some(exec.iter().map(|&word| word.to_owned()).collect()),
            ..EntryPoint::default()
        }
    }

    #[test]
    fn an_entry_point_is_exactly_one_thing() {
        assert!(matches!(entry_point(&["/bin/true"]).kind(), Ok(EntryPointKind::Process(_))));
        assert!(entry_point(&[]).check().is_err());
        let both = EntryPoint { in_process: true, ..entry_point(&["/bin/true"]) };
        assert!(both.kind().unwrap_err().problem.contains("more than one"));
        let none = EntryPoint { exec: None, ..entry_point(&[]) };
        let component = |file: &str| EntryPoint { wasm: Some(file.into()), ..none.clone() };
        assert_eq!(component("/opt/task.wasm").check(), Ok(()));
        assert!(component("task.wasm").check().is_err());
        assert!(none.kind().unwrap_err().problem.contains("needs one"));
    }

    #[test]
    fn limits_have_units() {
        let limited = |time: &str, memory: &str| EntryPoint {
            time_limit: Some(time.to_owned()),
            memory_max: Some(memory.to_owned()),
            ..entry_point(&["/bin/true"])
        };
        assert_eq!(limited("10m", "1MiB").time_limit_seconds(), Ok(Some(600)));
        assert_eq!(limited("10m", "512MiB").memory_max_bytes(), Ok(Some(512 << 20)));
        for bad in ["", "10", "m", "0s", "8d", "99999999999999999999s", "-1m", "1.5h"] {
            assert!(limited(bad, "1MiB").check().is_err(), "{bad}");
        }
        for bad in ["", "10", "0KiB", "1MB", "99999999999999999999GiB"] {
            assert!(limited("1s", bad).check().is_err(), "{bad}");
        }
    }
}
