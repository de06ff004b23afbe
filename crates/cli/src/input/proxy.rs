//! Options about proxies.

use std::path::PathBuf;

use longhaul_contract::Credential;
use url::Url;

use super::password;
use crate::trouble::Trouble;

#[derive(Debug, clap::Args)]
pub(crate) struct ProxyArguments {
    /// Go by this proxy: [http|https|socks5|socks5h://]HOST[:PORT], or none; what the service is set to otherwise
    #[arg(short = 'x', long, value_name = "PROXY", help_heading = "Request")]
    pub(crate) proxy: Option<String>,
    /// User name at the proxy; the password is asked for
    #[arg(long, value_name = "NAME", help_heading = "Request")]
    pub(crate) proxy_user: Option<String>,
    /// Read the password at the proxy from this file (- is standard input)
    #[arg(long, value_name = "FILE", requires = "proxy_user", help_heading = "Request")]
    pub(crate) proxy_password_file: Option<PathBuf>,
    /// Reach these hosts without the proxy: names with all below them, addresses, networks, * for all
    #[arg(long, value_name = "HOST,…", value_delimiter = ',', help_heading = "Request")]
    pub(crate) noproxy: Option<Vec<String>>,
}

/// What they say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxying {
    pub(crate) proxy: Option<String>,
    pub(crate) credential: Option<Credential>,
    pub(crate) exempt: Option<Vec<String>>,
}

impl ProxyArguments {
    pub(crate) fn read(&self) -> Result<Proxying, Trouble> {
        if let Some(proxy) = &self.proxy {
            check(proxy)?;
        }
        let credential = match &self.proxy_user {
            Some(user) => {
                Some(password::credential(user, self.proxy_password_file.as_deref(), password::Of::Proxy)?)
            }
            None => None,
        };
        let exempt = self.noproxy.as_ref().map(|list| {
            list.iter().map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect()
        });
        Ok(Proxying { proxy: self.proxy.clone(), credential, exempt })
    }
}

/// The service reads the address; here it matters only that no password is in it.
pub(crate) fn check(proxy: &str) -> Result<(), Trouble> {
    let bare = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let has_password = Url::parse(&format!("http://{bare}")).is_ok_and(|url| url.password().is_some());
    if has_password {
        return Err(Trouble::usage("a password on the command line is there for everybody to read")
            .advise("Leave it out of the address and use --proxy-user."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        for proxy in ["socks5://ann:secret@h", "ann:secret@h:1"] {
            assert!(!format!("{:?}", check(proxy).unwrap_err()).contains("secret"));
        }
        for proxy in ["none", "h:1", "https://ann@h"] {
            assert!(check(proxy).is_ok(), "{proxy}");
        }
    }
}
