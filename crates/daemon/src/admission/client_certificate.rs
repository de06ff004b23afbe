//! The form of a client certificate. Pure.

use longhaul_contract::ClientCertificate;
use longhaul_transfer::ClientIdentity;

use super::form::invalid;
use crate::http::Answer;

const BYTES_MAX: usize = 64 << 10;

/// `uris` are where it may be shown.
pub(super) fn check_client_certificate(given: Option<&ClientCertificate>, uri: Option<&str>) -> Answer<()> {
    const FIELD: &str = "/clientCertificate";
    let Some(given) = given else { return Ok(()) };
    if let Some(uri) = uri.filter(|uri| !uri.starts_with("https:")) {
        let scheme = uri.split(':').next().unwrap_or_default();
        return Err(invalid(
            FIELD,
            format!("a client certificate is shown over https, and not over {scheme}"),
        ));
    }
    for (text, part) in [(&given.certificate, "certificate"), (&given.key, "key")] {
        if text.reveal().len() > BYTES_MAX {
            return Err(invalid(&format!("{FIELD}/{part}"), format!("longer than {BYTES_MAX} bytes")));
        }
    }
    ClientIdentity::parse(given.certificate.reveal(), given.key.reveal()).map(drop).map_err(|error| {
        let part = if error.is_of_key() { "key" } else { "certificate" };
        invalid(&format!("{FIELD}/{part}"), error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use longhaul_contract::Secret;

    use super::*;

    #[test]
    fn what_is_wrong_is_named_and_the_key_is_not_shown() {
        let given = |certificate: &str, key: &str| ClientCertificate {
            certificate: Secret::new(certificate),
            key: Secret::new(key),
        };
        let long = "x".repeat(BYTES_MAX + 1);
        for (certificate, uri, field) in [
            (given("a", "s3cr3t"), "http://a/", "/clientCertificate"),
            (given("a", "s3cr3t"), "ftps://a/", "/clientCertificate"),
            (given("a", "s3cr3t"), "https://a/", "/clientCertificate/certificate"),
            (given(&long, "s3cr3t"), "https://a/", "/clientCertificate/certificate"),
            (given("a", &long), "https://a/", "/clientCertificate/key"),
        ] {
            let refused = check_client_certificate(Some(&certificate), Some(uri)).unwrap_err();
            let problem = refused.problem();
            assert_eq!(problem.field.as_deref(), Some(field));
            assert!(!format!("{problem:?}").contains("s3cr3t"));
        }
        assert!(check_client_certificate(None, Some("http://a/")).is_ok());
    }
}
