//! The owner's settings: defaults, then the file, then the environment, then flags; every value remembers where it
//! came from. Deliberately absent: what may change while the service runs (`PUT /limits` keeps that in the store).

mod apps;
mod keys;
mod origin;
mod plans;
mod proxies;
mod reference;
mod schedule;
mod value;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longhaul_contract::paths::{self, NoHome, ServicePaths};
use longhaul_contract::{AppId, Limits};
use longhaul_engine::{Policy, is_time_zone};
use longhaul_host::data_plan::DataPlan;
use longhaul_host::packages;
use longhaul_host::time_zone::{self, TimeZone};

use keys::{KEYS, nearest};
use schedule::ScheduleEntry;
use value::Value;

use crate::proxying::Proxying;

pub use apps::AppSettings;
pub use origin::Origin;
pub use proxies::ProxySettings;
pub use reference::configuration_markdown;

/// What the command line of `longhaul daemon` gives.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Loopback addresses to listen on beside the Unix socket.
    pub listen: Vec<SocketAddr>,
    pub socket: Option<PathBuf>,
    /// Must exist when given.
    pub config: Option<PathBuf>,
    pub state: Option<PathBuf>,
    /// PEM files of further certificate authorities.
    pub ca_certificates: Vec<PathBuf>,
    /// This binary can run WebAssembly components; what it was built with says so.
    pub components: bool,
}

/// Settings of the daemon itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    pub socket: String,
    pub state: String,
    /// The folder of manifests.
    pub apps: String,
    /// Folders of databases of packages.
    pub package_databases: Vec<PathBuf>,
    pub listen: Vec<SocketAddr>,
    pub hosts: Vec<String>,
    pub origins: Vec<String>,
    pub log: String,
    pub connections_max: usize,
    pub event_streams_max: usize,
    pub events_kept: usize,
    pub request_timeout: Duration,
    pub stop_timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct Configuration {
    pub service: ServiceSettings,
    pub transfer: longhaul_transfer::Settings,
    pub engine: Policy,
    pub limits: Limits,
    pub apps: BTreeMap<AppId, AppSettings>,
    /// Files of rules for background access beside the machine's own.
    pub policy_files: Vec<String>,
    /// By connection of NetworkManager or by network interface.
    pub data_plans: BTreeMap<String, DataPlan>,
    pub proxy: ProxySettings,
    /// What comes of it, with the settings of applications and the environment.
    pub proxying: Proxying,
    /// The folder of what systemd hands over (systemd.exec(5), `LoadCredential=`). No setting: systemd says it.
    pub credentials: Option<PathBuf>,
    /// A binary that can become the launcher of tasks; this process's own when absent. No setting: a test says it.
    pub launcher: Option<PathBuf>,
    /// Whether that binary can run WebAssembly components. No setting: what it was built with says it.
    pub components: bool,
    origins: BTreeMap<&'static str, Origin>,
}

/// One line of `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    pub key: String,
    /// As the file would say it.
    pub value: String,
    pub origin: Origin,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the configuration {path} is not valid TOML: {problem}")]
    Malformed { path: PathBuf, problem: String },
    #[error("{place}: there is no setting {name:?}{}", suggestion.as_ref().map(|near| format!("; did you mean {near:?}?")).unwrap_or_default())]
    UnknownKey { place: Origin, name: String, suggestion: Option<String> },
    #[error("{place}: {name} {problem}")]
    InvalidValue { place: Origin, name: String, problem: String },
    #[error(transparent)]
    NoHome(#[from] NoHome),
}

/// Variables of ours that are no settings.
const OTHER_VARIABLES: [&str; 1] = [paths::CONFIG_VARIABLE];

/// Beginnings of variables that must name a setting.
const SECTIONS: [&str; 5] = ["service", "transfer", "engine", "tasks", "limits"];

impl Configuration {
    /// Reads everything for user `uid` with the variables of `environment`.
    ///
    /// # Errors
    /// Names the file or variable, the key and what is wrong with it.
    pub fn load(
        options: &Options,
        uid: u32,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment: BTreeMap<String, OsString> =
            environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        let found = ServicePaths::find(uid, |name| environment.get(name).cloned())?;
        let mut configuration = Self::defaults(&found);
        let is_chosen = options.config.is_some() || environment.contains_key(paths::CONFIG_VARIABLE);
        let file = options.config.clone().unwrap_or(found.config);
        match std::fs::read_to_string(&file) {
            Ok(text) => configuration.read_file(&file, &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_chosen => {}
            Err(source) => return Err(ConfigError::Unreadable { path: file, source }),
        }
        configuration.read_environment(&environment)?;
        configuration.read_flags(options);
        configuration.find_proxies(&environment)?;
        configuration.components = options.components;
        configuration.credentials = environment.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        configuration.ask_machine(environment.get("TZ").map(OsString::as_os_str));
        Ok(configuration)
    }

    /// What nobody has set and the machine knows. Without a name that the database has, it is UTC.
    fn ask_machine(&mut self, tz: Option<&OsStr>) {
        if self.engine.time_zone.is_some() {
            return;
        }
        let variable = tz.and_then(OsStr::to_str);
        let found = time_zone::find(Path::new("/"), variable).ok().filter(|zone| is_time_zone(&zone.name));
        if let Some(TimeZone { name, source }) = found {
            self.engine.time_zone = Some(name);
            self.origins.insert("engine.time-zone", Origin::Machine(source.to_owned()));
        }
    }

    /// The defaults, with these paths.
    #[must_use]
    pub fn defaults(found: &ServicePaths) -> Self {
        Self {
            service: ServiceSettings {
                socket: found.socket.display().to_string(),
                state: found.state.display().to_string(),
                apps: found.apps.display().to_string(),
                package_databases: packages::DATABASES.map(PathBuf::from).to_vec(),
                listen: Vec::new(),
                hosts: Vec::new(),
                origins: Vec::new(),
                log: "info".to_owned(),
                connections_max: 1024,
                event_streams_max: 256,
                events_kept: 65_536,
                request_timeout: Duration::from_secs(30),
                stop_timeout: Duration::from_secs(10),
            },
            transfer: longhaul_transfer::Settings::default(),
            engine: Policy::default(),
            limits: Limits::default(),
            apps: BTreeMap::new(),
            policy_files: Vec::new(),
            data_plans: BTreeMap::new(),
            proxy: ProxySettings::default(),
            proxying: Proxying::default(),
            credentials: None,
            launcher: None,
            components: false,
            origins: BTreeMap::new(),
        }
    }

    /// Every setting with its value and origin, in the order of the reference.
    #[must_use]
    pub fn values(&self) -> Vec<ConfigValue> {
        let origin = |name: &str| self.origins.get(name).cloned().unwrap_or(Origin::Default);
        let mut values: Vec<_> = KEYS
            .iter()
            .map(|key| ConfigValue {
                key: key.name.to_owned(),
                value: (key.show)(self).show(key.form),
                origin: origin(key.name),
            })
            .collect();
        values.push(ConfigValue {
            key: "limits.schedule".to_owned(),
            value: format!("{} entries", self.limits.schedule.len()),
            origin: origin("limits.schedule"),
        });
        for (app, settings) in &self.apps {
            values.extend(settings.values(app, &origin("apps")));
        }
        values.extend(plans::values(&self.data_plans, &origin(plans::SECTION)));
        values
    }

    fn set(&mut self, key: &'static keys::Key, value: Value, origin: Origin) -> Result<(), ConfigError> {
        (key.set)(self, value).map_err(|problem| ConfigError::InvalidValue {
            place: origin.clone(),
            name: key.name.to_owned(),
            problem,
        })?;
        self.origins.insert(key.name, origin);
        Ok(())
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let place = || Origin::File(path.to_owned());
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Malformed {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        for (section, content) in table {
            let unknown = |name: String| ConfigError::UnknownKey {
                place: place(),
                suggestion: nearest(
                    &name,
                    KEYS.iter().map(|key| key.name).chain(SECTIONS).chain(["apps", plans::SECTION]),
                )
                .map(str::to_owned),
                name,
            };
            if section == "apps" {
                self.read_apps(&content, &place())?;
                continue;
            }
            if section == plans::SECTION {
                self.data_plans = plans::read(&content).map_err(|problem| ConfigError::InvalidValue {
                    place: place(),
                    name: section,
                    problem,
                })?;
                self.origins.insert(plans::SECTION, place());
                continue;
            }
            let toml::Value::Table(entries) = content else { return Err(unknown(section)) };
            for (name, content) in entries {
                let name = format!("{section}.{name}");
                if name == "limits.schedule" {
                    self.read_schedule(&content, &place())?;
                    continue;
                }
                let key = KEYS.iter().find(|key| key.name == name).ok_or_else(|| unknown(name))?;
                let value = Value::from_toml(key.form, &content).map_err(|problem| {
                    ConfigError::InvalidValue { place: place(), name: key.name.to_owned(), problem }
                })?;
                self.set(key, value, place())?;
            }
        }
        Ok(())
    }

    fn read_apps(&mut self, content: &toml::Value, place: &Origin) -> Result<(), ConfigError> {
        self.apps =
            content.clone().try_into().map_err(|error: toml::de::Error| ConfigError::InvalidValue {
                place: place.clone(),
                name: "apps".to_owned(),
                problem: error.message().to_owned(),
            })?;
        self.origins.insert("apps", place.clone());
        Ok(())
    }

    fn read_schedule(&mut self, content: &toml::Value, place: &Origin) -> Result<(), ConfigError> {
        let invalid = |problem: String| ConfigError::InvalidValue {
            place: place.clone(),
            name: "limits.schedule".to_owned(),
            problem,
        };
        let entries: Vec<ScheduleEntry> = content
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| invalid(error.message().to_owned()))?;
        self.limits.schedule =
            entries.into_iter().map(ScheduleEntry::into_rate).collect::<Result<_, _>>().map_err(invalid)?;
        self.origins.insert("limits.schedule", place.clone());
        Ok(())
    }

    fn read_environment(&mut self, environment: &BTreeMap<String, OsString>) -> Result<(), ConfigError> {
        for (variable, value) in environment {
            if !variable.starts_with("LONGHAUL_") || OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            let place = Origin::Environment(variable.clone());
            let Some(key) = KEYS.iter().find(|key| key.variable() == *variable) else {
                let rest = variable["LONGHAUL_".len()..].to_lowercase();
                if SECTIONS.iter().any(|section| rest.starts_with(&format!("{section}_"))) {
                    let variables: Vec<String> = KEYS.iter().map(keys::Key::variable).collect();
                    let suggestion =
                        nearest(variable, variables.iter().map(String::as_str)).map(str::to_owned);
                    return Err(ConfigError::UnknownKey { place, name: variable.clone(), suggestion });
                }
                continue;
            };
            let value = value
                .to_str()
                .ok_or_else(|| "is not UTF-8".to_owned())
                .and_then(|text| Value::from_text(key.form, text))
                .map_err(|problem| ConfigError::InvalidValue {
                    place: place.clone(),
                    name: key.name.to_owned(),
                    problem,
                })?;
            self.set(key, value, place)?;
        }
        Ok(())
    }

    fn read_flags(&mut self, options: &Options) {
        if !options.listen.is_empty() {
            self.service.listen.clone_from(&options.listen);
            self.origins.insert("service.listen", Origin::Flag);
        }
        if let Some(socket) = &options.socket {
            self.service.socket = socket.display().to_string();
            self.origins.insert("service.socket", Origin::Flag);
        }
        if let Some(state) = &options.state {
            self.service.state = state.display().to_string();
            self.origins.insert("service.state", Origin::Flag);
        }
        if !options.ca_certificates.is_empty() {
            self.transfer.ca_certificates.extend(options.ca_certificates.iter().cloned());
            self.origins.insert("transfer.ca-certificates", Origin::Flag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        file: Option<&str>,
        environment: &[(&str, &str)],
        options: Options,
    ) -> Result<Configuration, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("longhaul.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let options = Options { config: file.map(|_| path), ..options };
        let environment = [("HOME", "/home/somebody")].iter().chain(environment);
        Configuration::load(
            &options,
            1000,
            environment.map(|(name, value)| ((*name).into(), (*value).into())),
        )
    }

    fn origin_of(configuration: &Configuration, key: &str) -> Origin {
        configuration.values().into_iter().find(|value| value.key == key).unwrap().origin
    }

    #[test]
    fn later_places_win_and_are_named() {
        let file = "[transfer]\nconnect-timeout = \"7s\"\nsegments-max = 3\n[engine]\nkeep-consumed = \"1d\"\n\
                    [limits]\nrate = \"1MiB\"\n[[limits.schedule]]\nfrom = \"08:00\"\nto = \"17:00\"\nrate = 0\n\
                    [apps.\"org.example.Photos\"]\nfolders = [\"/srv/photos\"]\n";
        let environment = [("LONGHAUL_TRANSFER_SEGMENTS_MAX", "5"), ("LONGHAUL_STATE", "/var/tmp/state")];
        let options = Options { state: Some("/srv/state".into()), ..Options::default() };
        let configuration = load(Some(file), &environment, options).unwrap();
        assert_eq!(configuration.transfer.connect_timeout, Duration::from_secs(7));
        assert_eq!(configuration.transfer.segments_max, 5);
        assert_eq!(configuration.service.state, "/srv/state");
        assert_eq!(configuration.engine.keep_consumed_seconds, 86_400);
        assert_eq!(configuration.limits.bytes_per_second, Some(1 << 20));
        assert_eq!(configuration.limits.schedule[0].bytes_per_second, 0);
        assert_eq!(configuration.apps.values().next().unwrap().folders, [PathBuf::from("/srv/photos")]);
        assert!(matches!(origin_of(&configuration, "transfer.connect-timeout"), Origin::File(_)));
        let variable = "LONGHAUL_TRANSFER_SEGMENTS_MAX".to_owned();
        assert_eq!(origin_of(&configuration, "transfer.segments-max"), Origin::Environment(variable));
        assert_eq!(origin_of(&configuration, "service.state"), Origin::Flag);
        assert_eq!(origin_of(&configuration, "transfer.overlap"), Origin::Default);
    }

    #[test]
    fn the_zone_is_the_machines_unless_it_is_set() {
        let zone = |file, environment: &[(&str, &str)]| {
            let configuration = load(file, environment, Options::default()).unwrap();
            let value = configuration.values().into_iter().find(|value| value.key == "engine.time-zone");
            (value.unwrap(), configuration.engine.time_zone)
        };
        let (shown, kept) = zone(None, &[("TZ", ":Asia/Tokyo")]);
        assert_eq!(
            (shown.value.as_str(), shown.origin),
            ("\"Asia/Tokyo\"", Origin::Machine("TZ".to_owned()))
        );
        assert_eq!(kept.as_deref(), Some("Asia/Tokyo"));
        let file = "[engine]\ntime-zone = \"Europe/Berlin\"";
        let (shown, kept) = zone(Some(file), &[("TZ", "Asia/Tokyo")]);
        assert!(matches!(shown.origin, Origin::File(_)), "{shown:?}");
        assert_eq!(kept.as_deref(), Some("Europe/Berlin"));
        let machine = [("TZ", "Asia/Tokyo"), ("LONGHAUL_ENGINE_TIME_ZONE", "machine")];
        assert_eq!(zone(Some(file), &machine).1.as_deref(), Some("Asia/Tokyo"));
    }

    #[test]
    fn every_shown_value_reads_back() {
        let configuration = load(None, &[], Options::default()).unwrap();
        let mut file = String::new();
        for value in configuration.values().iter().filter(|value| value.key != "limits.schedule") {
            let (section, name) = value.key.split_once('.').unwrap();
            file += &format!("[{section}]\n{name} = {}\n", value.value);
        }
        let merged = file.lines().fold(BTreeMap::<String, Vec<String>>::new(), |mut sections, line| {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'))
                && SECTIONS.contains(&section)
            {
                sections.entry("current".to_owned()).or_default().push(section.to_owned());
            } else {
                let section = sections["current"].last().unwrap().clone();
                sections.entry(section).or_default().push(line.to_owned());
            }
            sections
        });
        let file: String =
            SECTIONS.iter().map(|name| format!("[{name}]\n{}\n", merged[*name].join("\n"))).collect();
        let again = load(Some(&file), &[], Options::default()).unwrap();
        let plain = |configuration: &Configuration| -> Vec<_> {
            configuration.values().into_iter().map(|value| (value.key, value.value)).collect()
        };
        assert_eq!(plain(&again), plain(&configuration));
    }

    #[test]
    fn mistakes_name_the_place_and_the_nearest_key() {
        for (file, expected) in [
            ("[transfer]\nconect-timeout = \"7s\"", "did you mean \"transfer.connect-timeout\"?"),
            ("[transfr]\nconnect-timeout = 1", "did you mean \"transfer.connect-timeout\"?"),
            ("listen = [\"127.0.0.1:1\"]", "there is no setting \"listen\""),
            ("[service]\nlisten = [\"everywhere\"]", "\"everywhere\" is not an address with a port"),
            ("[engine]\nretries-max = 1000", "must be at most 255"),
            ("[engine]\ntime-zone = \"Berlin\"", "is not a zone of the IANA database"),
            ("[engine]\nretries-max = \"three\"", "must be a number"),
            ("[transfer\n", "not valid TOML"),
            ("[apps.\"photos\"]\nfolders = []", "reverse-DNS"),
            ("[[limits.schedule]]\nfrom = \"8\"\nto = \"9\"\nrate = \"fast\"", "is not a size"),
        ] {
            let error = load(Some(file), &[], Options::default()).unwrap_err().to_string();
            assert!(error.contains(expected), "{file:?} gave {error}");
            assert!(error.contains("longhaul.toml"), "{error}");
        }
        let error = load(None, &[("LONGHAUL_ENGINE_RETRYS_MAX", "1")], Options::default()).unwrap_err();
        assert!(error.to_string().contains("LONGHAUL_ENGINE_RETRIES_MAX"), "{error}");
        assert!(load(None, &[("LONGHAUL_BIN", "x")], Options::default()).is_ok());
        let missing = Options { config: Some("/nonexistent/longhaul.toml".into()), ..Options::default() };
        let error = Configuration::load(&missing, 0, std::iter::empty()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/longhaul.toml"), "{error}");
    }
}
