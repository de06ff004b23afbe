//! What background tasks need: manifests that count, programs that are there, signals, and leave to run.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use longhaul_client::{Client, ClientError};
use longhaul_contract::manifest::{EntryPointKind, Manifest};
use longhaul_contract::trigger::TriggerType;
use longhaul_contract::{AccessStatus, HostState, ServicePaths, Signal};

use super::{Check, Grade};
use crate::manifest;

/// Manifests and what they name, without the service.
pub(super) fn manifests(paths: &ServicePaths) -> Vec<Check> {
    let name = "manifests";
    let found = match manifest::all(&paths.apps) {
        Ok(found) => found,
        Err(error) => {
            return vec![Check::new(name, Grade::Bad, format!("{}: {error}", paths.apps.display()))];
        }
    };
    if found.is_empty() {
        return vec![Check::new(name, Grade::Good, format!("none in {}", paths.apps.display()))];
    }
    let mut checks = Vec::new();
    checks.extend(written_by_others(&paths.apps));
    let (mut count, mut entry_points) = (0, 0);
    for (path, manifest) in found {
        checks.extend(written_by_others(&path));
        match manifest {
            Ok(manifest) => {
                count += 1;
                entry_points += manifest.entry_points.len();
                checks.extend(file_name(&path, &manifest));
                checks.extend(programs(&manifest));
            }
            Err(trouble) => checks.push(Check::new(name, Grade::Bad, trouble.message)),
        }
    }
    let sum = format!("{count} with {entry_points} entry points in {}", paths.apps.display());
    checks.insert(0, Check::new(name, Grade::Good, sum));
    checks
}

/// The service does not believe what somebody else could have written.
fn written_by_others(path: &Path) -> Option<Check> {
    let metadata = path.metadata().ok()?;
    let uid = rustix::process::getuid().as_raw();
    let shown = path.display();
    if metadata.uid() != uid && metadata.uid() != 0 {
        let detail = format!("{shown} belongs to user {}, not to you ({uid})", metadata.uid());
        return Some(Check::new("manifests", Grade::Bad, detail));
    }
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o022 != 0).then(|| {
        Check::new("manifests", Grade::Bad, format!("{shown} can be written by others (mode {mode:o})"))
            .advise(format!("chmod go-w {shown}"))
    })
}

fn file_name(path: &Path, manifest: &Manifest) -> Option<Check> {
    let expected = format!("{}.toml", manifest.app.id);
    let is_expected = path.file_name().is_some_and(|name| name == expected.as_str());
    (!is_expected).then(|| {
        Check::new(
            "manifests",
            Grade::Bad,
            format!("{} is the manifest of {}", path.display(), manifest.app.id),
        )
        .advise(format!("rename it to {expected}, or use longhaul app install"))
    })
}

fn programs(manifest: &Manifest) -> Vec<Check> {
    let missing = manifest.entry_points.iter().filter_map(|entry_point| {
        let file = match entry_point.kind().ok()? {
            EntryPointKind::Process(command) => Path::new(command.first()?),
            EntryPointKind::Wasm(file) => file,
            EntryPointKind::DBus(..) | EntryPointKind::InProcess => return None,
        };
        // A plain name is looked for at the start, in the task's own PATH.
        (file.is_absolute() && !file.is_file()).then(|| {
            let detail = format!("{} of {} is not there", file.display(), entry_point.class);
            Check::new("entry points", Grade::Bad, detail)
        })
    });
    missing.collect()
}

/// What a running service says.
pub(super) async fn service(client: &Client) -> Vec<Check> {
    let asked = async {
        Ok::<_, ClientError>((
            client.access_status().await?,
            client.host().await?,
            client.trigger_types().await?,
        ))
    };
    match asked.await {
        Ok((status, host, triggers)) => {
            let mut checks = vec![access(status), signals(&host)];
            checks.extend(supported(&triggers));
            checks
        }
        Err(error) => vec![Check::new("tasks", Grade::Bad, error.to_string())],
    }
}

fn access(status: AccessStatus) -> Check {
    let name = "access";
    match status {
        AccessStatus::Unspecified => {
            Check::new(name, Grade::Good, "not asked for yet; longhaul task add and when do it")
        }
        status if status.is_allowed() => Check::new(name, Grade::Good, status.word()),
        status => Check::new(name, Grade::Remark, format!("{status}: tasks are registered and wait"))
            .advise("longhaul access grant io.longhaul.cli"),
    }
}

fn signals(host: &HostState) -> Check {
    fn unknown<T>(name: &str, signal: &Signal<T>) -> Option<String> {
        match signal {
            Signal::Known { .. } => None,
            Signal::Unknown { reason } => Some(format!("{name} ({reason})")),
        }
    }
    let unknown: Vec<_> = [
        unknown("network", &host.network.level),
        unknown("network cost", &host.network.cost),
        unknown("power", &host.power),
        unknown("energy saver", &host.energy_saver),
        unknown("session", &host.session_connected),
        unknown("user", &host.user_present),
        unknown("work cost", &host.work_cost),
        unknown("time zone", &host.time_zone),
    ]
    .into_iter()
    .flatten()
    .collect();
    if unknown.is_empty() {
        return Check::new("signals", Grade::Good, "everything that conditions look at is known");
    }
    Check::new("signals", Grade::Remark, format!("not known: {}", unknown.join(", ")))
        .advise("install what is named, or longhaul host set SIGNAL VALUE")
}

/// What can fire here and by which source, and for each reason what cannot, or not now.
fn supported(triggers: &[TriggerType]) -> Vec<Check> {
    let mut here: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut held: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
    let mut count = (0, 0);
    let mut note = |name: String, supported: bool, source: Option<&str>, reason: Option<&str>| {
        count.0 += usize::from(supported);
        count.1 += 1;
        match (supported, source, reason) {
            (true, Some(source), None) => here.entry(strip(source).to_owned()).or_default().push(name),
            (_, _, reason) => {
                let reason = reason.unwrap_or("it has no source").to_owned();
                held.entry((supported, reason)).or_default().push(name);
            }
        }
    };
    for kind in triggers {
        if kind.system_trigger_types.is_empty() {
            let (source, reason) = (kind.source.as_deref(), kind.reason.as_deref());
            note(kind.kind.word().to_owned(), kind.supported, source, reason);
        }
        for system in &kind.system_trigger_types {
            let name = format!("system:{}", system.system_trigger_type);
            note(name, system.supported, system.source.as_deref(), system.reason.as_deref());
        }
    }
    let sum = Check::new("triggers", Grade::Good, format!("{} of {} can fire here", count.0, count.1));
    let here = here.into_iter().map(|(source, names)| {
        Check::new("triggers", Grade::Good, format!("{}: from {source}", names.join(", ")))
    });
    let held = held.into_iter().map(|((supported, reason), names)| {
        let word = if supported { "not now" } else { "not here" };
        Check::new("triggers", Grade::Remark, format!("{}: {word}: {reason}", names.join(", ")))
    });
    std::iter::once(sum).chain(here).chain(held).collect()
}

/// Whether a source tells by guess is no matter here.
fn strip(source: &str) -> &str {
    source.strip_suffix(" (guessed)").unwrap_or(source)
}

#[cfg(test)]
mod tests {
    use longhaul_contract::TriggerKind;

    use super::*;

    fn paths(apps: &Path) -> ServicePaths {
        let none = Path::new("/none").to_owned();
        ServicePaths { socket: none.clone(), state: none.clone(), config: none, apps: apps.to_owned() }
    }

    #[test]
    fn manifests_must_count_and_name_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let checks = |mode: u32, name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let checks = manifests(&paths(folder.path()));
            std::fs::remove_file(&path).unwrap();
            let bad: Vec<_> = checks
                .into_iter()
                .filter(|check| check.grade == Grade::Bad)
                .map(|check| check.detail)
                .collect();
            bad.join("\n")
        };
        let good = "[app]\nid = \"a.b\"\n[[entry-point]]\nclass = \"A\"\nexec = [\"/bin/sh\"]\n";
        assert_eq!(checks(0o600, "a.b.toml", good), "");
        assert!(checks(0o622, "a.b.toml", good).contains("written by others"));
        assert!(checks(0o600, "other.toml", good).contains("manifest of a.b"));
        assert!(checks(0o600, "a.b.toml", "[app").contains("not a manifest"));
        let missing = good.replace("/bin/sh", "/bin/there-is-no-such-program");
        assert!(checks(0o600, "a.b.toml", &missing).contains("of A is not there"));
        assert_eq!(manifests(&paths(&folder.path().join("none")))[0].grade, Grade::Good);
    }

    #[test]
    fn unknown_signals_are_named_with_their_reason() {
        let check = signals(&HostState::unmeasured());
        assert_eq!(check.grade, Grade::Remark);
        assert!(check.detail.contains("power (no source of power on this host)"), "{}", check.detail);
    }

    #[test]
    fn triggers_are_told_by_source_and_by_reason() {
        let kind = |kind, supported, source: Option<&str>, reason: Option<&str>| TriggerType {
            kind,
            description: String::new(),
            requires_lock_screen: false,
            supports_one_shot: false,
            supported,
            source: source.map(str::to_owned),
            reason: reason.map(str::to_owned),
            system_trigger_types: Vec::new(),
        };
        let checks = supported(&[
            kind(TriggerKind::TimeTrigger, true, Some("clock"), None),
            kind(TriggerKind::LocationTrigger, false, None, Some("install geoclue")),
            kind(TriggerKind::MaintenanceTrigger, true, Some("clock"), None),
            kind(TriggerKind::ActivitySensorTrigger, true, None, Some("it has stopped")),
        ]);
        let told: Vec<_> = checks.iter().map(|check| check.detail.as_str()).collect();
        assert_eq!(
            told,
            [
                "3 of 4 can fire here",
                "TimeTrigger, MaintenanceTrigger: from clock",
                "LocationTrigger: not here: install geoclue",
                "ActivitySensorTrigger: not now: it has stopped",
            ]
        );
    }

    #[test]
    fn a_denial_is_worth_a_remark() {
        assert_eq!(access(AccessStatus::DeniedByUser).grade, Grade::Remark);
        assert_eq!(access(AccessStatus::Unspecified).grade, Grade::Good);
    }
}
