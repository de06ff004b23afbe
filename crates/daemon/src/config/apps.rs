//! What the owner says of single applications.

use std::path::PathBuf;

use longhaul_contract::AppId;
use serde::Deserialize;

use super::value::{Form, Value};
use super::{ConfigValue, Origin};

/// Of one application. The folders and private addresses concern it if it is confined (sandboxed, or calling with a token).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct AppSettings {
    /// Folders below which it may name files, beside its own folder in the state folder.
    pub folders: Vec<PathBuf>,
    /// Whether it may connect to private and loopback addresses.
    pub private_addresses: bool,
    /// As `transfer.proxy`, in its place; and so are the others.
    pub proxy: Option<String>,
    pub no_proxy: Vec<String>,
    pub proxy_user: String,
    pub proxy_password_file: String,
}

impl AppSettings {
    /// As `config show` prints them.
    pub(super) fn values(&self, app: &AppId, origin: &Origin) -> Vec<ConfigValue> {
        let folders = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let mut shown = vec![
            ("folders", Value::Texts(folders).show(Form::Texts)),
            ("private-addresses", self.private_addresses.to_string()),
        ];
        if let Some(proxy) = &self.proxy {
            let text = |text: &String| Value::Text(text.clone()).show(Form::Text);
            shown.extend([
                ("proxy", text(proxy)),
                ("no-proxy", Value::Texts(self.no_proxy.clone()).show(Form::Texts)),
                ("proxy-user", text(&self.proxy_user)),
                ("proxy-password-file", text(&self.proxy_password_file)),
            ]);
        }
        let named = shown.into_iter().map(|(name, value)| ConfigValue {
            key: format!("apps.{app:?}.{name}"),
            value,
            origin: origin.clone(),
        });
        named.collect()
    }
}
