//! The form of what a caller says about proxies. Pure.

use longhaul_contract::Credential;
use longhaul_transfer::ProxyAddress;

use super::form::{check_credential, invalid};
use crate::http::Answer;
use crate::proxying::NO_PROXY;

const ADDRESS_BYTES_MAX: usize = 2048;
const EXEMPTIONS_MAX: usize = 100;
const EXEMPTION_BYTES_MAX: usize = 256;

/// Userinfo of the address moves into the credential.
pub(super) fn check_proxy(
    proxy: &mut Option<String>,
    credential: &mut Option<Credential>,
    exempt: Option<&[String]>,
) -> Answer<()> {
    if let Some(text) = proxy.as_mut().filter(|text| *text != NO_PROXY) {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(invalid("/proxy", format!("longer than {ADDRESS_BYTES_MAX} bytes")));
        }
        let address = ProxyAddress::parse(text).map_err(|error| invalid("/proxy", error.to_string()))?;
        *text = address.to_string();
        if let Some(given) = address.credential() {
            credential.get_or_insert_with(|| given.clone());
        }
    }
    check_credential(credential.as_ref(), "/proxyCredential")?;
    let exempt = exempt.unwrap_or_default();
    if exempt.len() > EXEMPTIONS_MAX {
        return Err(invalid("/noProxy", format!("more than {EXEMPTIONS_MAX} entries")));
    }
    for (index, entry) in exempt.iter().enumerate() {
        let is_written_wrong = entry.is_empty()
            || entry.len() > EXEMPTION_BYTES_MAX
            || entry.chars().any(|c| c.is_control() || c.is_whitespace() || c == ',');
        if is_written_wrong {
            let detail = "one entry is one host, address or network, without blanks and commas".to_owned();
            return Err(invalid(&format!("/noProxy/{index}"), detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use longhaul_contract::Secret;

    use super::*;

    fn check(proxy: &str, exempt: &[&str]) -> Result<(Option<String>, Option<Credential>), String> {
        let (mut proxy, mut credential) = (Some(proxy.to_owned()), None);
        let exempt: Vec<String> = exempt.iter().map(|entry| (*entry).to_owned()).collect();
        check_proxy(&mut proxy, &mut credential, Some(&exempt))
            .map_err(|refused| refused.problem().field.clone().unwrap())?;
        Ok((proxy, credential))
    }

    #[test]
    fn userinfo_moves_into_the_credential() {
        let (proxy, credential) = check("socks5h://ann:p%40ss@proxy.example", &["a", "10.0.0.0/8"]).unwrap();
        assert_eq!(proxy.as_deref(), Some("socks5h://proxy.example:1080"));
        assert_eq!(credential, Some(Credential { user: "ann".to_owned(), password: Secret::new("p@ss") }));
        assert_eq!(check("none", &[]), Ok((Some("none".to_owned()), None)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (proxy, exempt, field) in [
            ("", &[][..], "/proxy"),
            ("socks4://h", &[], "/proxy"),
            ("http://h/path", &[], "/proxy"),
            ("http://a:b%0A@h", &[], "/proxyCredential/password"),
            ("none", &["a", "b c"], "/noProxy/1"),
            ("none", &[""], "/noProxy/0"),
        ] {
            assert_eq!(check(proxy, exempt), Err(field.to_owned()), "{proxy}");
        }
    }
}
