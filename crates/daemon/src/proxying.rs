//! By which proxy an operation goes: what it says itself, else what the owner has set for its application or for all.

use std::collections::BTreeMap;

use longhaul_contract::{AppId, Credential};
use longhaul_transfer::{ProxyAddress, ProxyRules};

/// Stands for going by no proxy, where one could be named.
pub(crate) const NO_PROXY: &str = "none";

/// The owner's settings, ready for use.
#[derive(Debug, Clone, Default)]
pub struct Proxying {
    pub(crate) service: ProxyRules,
    pub(crate) apps: BTreeMap<AppId, ProxyRules>,
}

impl Proxying {
    /// For an operation of `app`.
    ///
    /// # Errors
    /// The address was checked when the operation was made, so the record is not what was kept.
    pub(crate) fn rules(
        &self,
        app: &AppId,
        proxy: Option<&str>,
        credential: Option<&Credential>,
        exempt: Option<&[String]>,
    ) -> Result<ProxyRules, String> {
        let mut rules = match proxy {
            Some(NO_PROXY) => return Ok(ProxyRules::direct()),
            Some(text) => ProxyRules::all(
                ProxyAddress::parse(text).map_err(|error| format!("the kept proxy is damaged: {error}"))?,
            ),
            None => self.apps.get(app).unwrap_or(&self.service).clone(),
        };
        if let Some(credential) = credential {
            rules = rules.with_credential(credential);
        }
        Ok(match exempt {
            Some(list) => rules.except(&list.join(",")),
            None => rules,
        })
    }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::Secret;

    use super::*;

    #[test]
    fn the_nearest_word_counts() {
        let named = |text: &str| ProxyRules::all(ProxyAddress::parse(text).unwrap());
        let app = AppId::new("org.example.A").unwrap();
        let other = AppId::new("org.example.B").unwrap();
        let all = Proxying {
            service: named("service.example:1").except("a.example"),
            apps: [(app.clone(), named("app.example:1"))].into(),
        };
        let plain = |app: &AppId| all.rules(app, None, None, None).unwrap();
        assert_eq!(plain(&app), named("app.example:1"));
        assert_eq!(plain(&other), named("service.example:1").except("a.example"));
        assert_eq!(all.rules(&app, Some("none"), None, None), Ok(ProxyRules::direct()));
        assert_eq!(all.rules(&other, Some("own.example:1"), None, None), Ok(named("own.example:1")));
        let credential = Credential { user: "u".to_owned(), password: Secret::new("p") };
        let list = ["b.example".to_owned(), "c.example".to_owned()];
        assert_eq!(
            all.rules(&other, None, Some(&credential), Some(&list)),
            Ok(named("u:p@service.example:1").except("b.example,c.example"))
        );
    }
}
