//! The owner's proxies. Their passwords are in files of their own, so that no setting is a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;

use longhaul_contract::{Credential, Secret};
use longhaul_transfer::{ProxyAddress, ProxyRules};

use super::{AppSettings, ConfigError, Configuration, Origin};
use crate::proxying::{NO_PROXY, Proxying};

/// Goes by what the variables of the environment name.
const ENVIRONMENT: &str = "environment";

/// By which proxy everything goes that says nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// An address, `environment` or `none`.
    pub proxy: String,
    pub no_proxy: Vec<String>,
    pub user: String,
    pub password_file: String,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            proxy: ENVIRONMENT.to_owned(),
            no_proxy: Vec::new(),
            user: String::new(),
            password_file: String::new(),
        }
    }
}

impl Configuration {
    /// Reads passwords and the variables that curl reads.
    pub(super) fn find_proxies(
        &mut self,
        environment: &BTreeMap<String, OsString>,
    ) -> Result<(), ConfigError> {
        let variable = |name: &str| environment.get(name).and_then(|value| value.to_str()).map(str::to_owned);
        let rules = |settings: &ProxySettings| settings.rules(&variable);
        let service = rules(&self.proxy).map_err(|(name, problem)| {
            let name = format!("transfer.{name}");
            let place = self.origins.get(name.as_str()).cloned().unwrap_or(Origin::Default);
            ConfigError::InvalidValue { place, name, problem }
        })?;
        let mut apps = BTreeMap::new();
        for (app, settings) in &self.apps {
            let Some(settings) = of_app(settings) else { continue };
            let found = rules(&settings).map_err(|(name, problem)| ConfigError::InvalidValue {
                place: self.origins.get("apps").cloned().unwrap_or(Origin::Default),
                name: format!("apps.{app:?}.{name}"),
                problem,
            })?;
            apps.insert(app.clone(), found);
        }
        self.proxying = Proxying { service, apps };
        Ok(())
    }
}

fn of_app(settings: &AppSettings) -> Option<ProxySettings> {
    Some(ProxySettings {
        proxy: settings.proxy.clone()?,
        no_proxy: settings.no_proxy.clone(),
        user: settings.proxy_user.clone(),
        password_file: settings.proxy_password_file.clone(),
    })
}

impl ProxySettings {
    /// Or the name of the setting that is wrong, and what is wrong with it.
    fn rules(
        &self,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<ProxyRules, (&'static str, String)> {
        let credential = self.credential()?;
        let rules = match self.proxy.as_str() {
            NO_PROXY => return Ok(ProxyRules::direct()),
            ENVIRONMENT => ProxyRules::from_environment(variable),
            text => {
                let address = ProxyAddress::parse(text).map_err(|error| ("proxy", error.to_string()))?;
                if address.credential().is_some() {
                    let advice = "has a user name in it: use proxy-user and proxy-password-file";
                    return Err(("proxy", advice.to_owned()));
                }
                ProxyRules::all(address.trusted())
            }
        };
        let rules = match credential {
            Some(credential) => rules.with_credential(&credential),
            None => rules,
        };
        Ok(if self.no_proxy.is_empty() { rules } else { rules.except(&self.no_proxy.join(",")) })
    }

    fn credential(&self) -> Result<Option<Credential>, (&'static str, String)> {
        if self.user.is_empty() {
            return if self.password_file.is_empty() {
                Ok(None)
            } else {
                Err(("proxy-user", "is missing for the password in proxy-password-file".to_owned()))
            };
        }
        if self.user.contains(':') || self.user.chars().any(char::is_control) {
            let problem = "has a colon or control characters: the password belongs into proxy-password-file";
            return Err(("proxy-user", problem.to_owned()));
        }
        let password = match self.password_file.as_str() {
            "" => String::new(),
            path => password(path).map_err(|problem| ("proxy-password-file", problem))?,
        };
        Ok(Some(Credential { user: self.user.clone(), password: Secret::new(password) }))
    }
}

/// The first line of a file that nobody else may read.
fn password(path: &str) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("{path:?} cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(format!("{path:?} may be read by others: take the right away with `chmod go= {path}`"));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn rules(settings: &ProxySettings) -> Result<ProxyRules, (&'static str, String)> {
        settings.rules(&|name: &str| (name == "all_proxy").then(|| "socks5h://env.example".to_owned()))
    }

    fn of(proxy: &str) -> ProxySettings {
        ProxySettings { proxy: proxy.to_owned(), ..ProxySettings::default() }
    }

    fn trusted(text: &str) -> ProxyRules {
        ProxyRules::all(ProxyAddress::parse(text).unwrap().trusted())
    }

    #[test]
    fn the_environment_counts_unless_something_else_is_set() {
        assert_eq!(rules(&ProxySettings::default()), Ok(trusted("socks5h://env.example")));
        assert_eq!(rules(&of("none")), Ok(ProxyRules::direct()));
        let settings = ProxySettings { no_proxy: vec!["a".to_owned(), "b:1".to_owned()], ..of("h:1") };
        assert_eq!(rules(&settings), Ok(trusted("http://h:1").except("a,b:1")));
    }

    #[test]
    fn a_password_is_in_a_file_of_its_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pass word\nrest").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let settings = ProxySettings { user: "ann".to_owned(), password_file: path.clone(), ..of("h:1") };
        assert_eq!(rules(&settings), Ok(trusted("ann:pass%20word@h:1")));
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        for (settings, name) in [
            (settings.clone(), "proxy-password-file"),
            (ProxySettings { user: String::new(), ..settings.clone() }, "proxy-user"),
            (ProxySettings { user: "a:b".to_owned(), ..of("h:1") }, "proxy-user"),
            (of("u:secret@h:1"), "proxy"),
            (of("gopher://h"), "proxy"),
        ] {
            let (found, problem) = rules(&settings).unwrap_err();
            assert_eq!(found, name);
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
