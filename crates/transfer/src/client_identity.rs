//! Who we are in TLS: a certificate with its private key (RFC 8446 section 4.4.2).

use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys};

/// Sessions that may be resumed; one transfer has few servers that ask who it is.
const SESSIONS_MAX: usize = 8;

/// A certificate that may be shown to a server, and the key that proves it.
#[derive(Clone)]
pub struct ClientIdentity {
    /// Tells it from all others.
    name: Arc<str>,
    resolver: Arc<dyn ResolvesClientCert>,
    resumption: Resumption,
}

/// Why texts are no certificate with its key. Never shows anything of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdentityError {
    #[error("it holds no PEM certificate (BEGIN CERTIFICATE)")]
    NoCertificate,
    #[error("it holds a certificate that cannot be read: {0}")]
    Certificate(String),
    #[error("it holds no PEM private key (BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY)")]
    NoKey,
    #[error(
        "the private key is encrypted: give it in plain form, as `openssl pkey -in FILE` writes it; it is kept sealed"
    )]
    EncryptedKey,
    #[error("the private key is of a kind that cannot be used: {0}")]
    Key(String),
    #[error("the private key is not that of the certificate")]
    OtherKey,
}

impl ClientIdentityError {
    /// Whether the key is at fault, and not the certificate.
    #[must_use]
    pub const fn is_of_key(&self) -> bool {
        !matches!(self, Self::NoCertificate | Self::Certificate(_))
    }
}

impl ClientIdentity {
    /// Reads PEM: the certificate and those that lead to its root, and the key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// They are no such texts, or do not belong together.
    pub fn parse(certificate: &str, key: &str) -> Result<Self, ClientIdentityError> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ClientIdentityError::Certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(ClientIdentityError::NoCertificate);
        }
        if key.contains("BEGIN ENCRYPTED PRIVATE KEY") || key.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(ClientIdentityError::EncryptedKey);
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| ClientIdentityError::NoKey)?;
        let mut all = chain.iter().flat_map(|certificate| certificate.iter().copied()).collect::<Vec<_>>();
        all.extend(key.secret_der());
        let digits: String =
            digest(&SHA256, &all).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => ClientIdentityError::OtherKey,
            rustls::Error::InvalidCertificate(problem) => {
                ClientIdentityError::Certificate(format!("{problem:?}"))
            }
            other => ClientIdentityError::Key(other.to_string()),
        })?;
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        Ok(Self { name: digits.into(), resolver, resumption: Resumption::in_memory_sessions(SESSIONS_MAX) })
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The same configuration, for one who has this identity. Sessions are its own: a resumed one is as good as the
    /// certificate.
    pub(crate) fn in_configuration(&self, configuration: &ClientConfig) -> ClientConfig {
        let mut configuration = configuration.clone();
        configuration.client_auth_cert_resolver = Arc::clone(&self.resolver);
        configuration.resumption = self.resumption.clone();
        configuration
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = longhaul_lab::Identity::self_signed();
        (made.chain_pem().to_owned(), made.key_pem().to_owned())
    }

    #[test]
    fn a_certificate_has_its_own_key() {
        let ((certificate, key), (_, other)) = (made(), made());
        let identity = ClientIdentity::parse(&certificate, &key).unwrap();
        assert_eq!(identity.name(), ClientIdentity::parse(&certificate, &key).unwrap().name());
        assert!(!format!("{identity:?}").contains(&**identity.name()));
        let refusal = |certificate: &str, key: &str| ClientIdentity::parse(certificate, key).unwrap_err();
        assert_eq!(refusal(&certificate, &other), ClientIdentityError::OtherKey);
        assert_eq!(refusal("", &key), ClientIdentityError::NoCertificate);
        assert_eq!(refusal(&key, &key), ClientIdentityError::NoCertificate);
        assert_eq!(refusal(&certificate, &certificate), ClientIdentityError::NoKey);
        let encrypted = key.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE");
        assert_eq!(refusal(&certificate, &encrypted), ClientIdentityError::EncryptedKey);
        // One file may hold both.
        ClientIdentity::parse(&format!("{key}{certificate}"), &format!("{certificate}{key}")).unwrap();
    }
}
