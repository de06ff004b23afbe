//! TLS: the system's trust plus the owner's certificates, and certificate problems told apart.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use longhaul_contract::{Cause, Failure, WebErrorStatus};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error};
use rustls_platform_verifier::Verifier;
use url::Host;

use super::failure::{needs_input, transient};
use crate::client_identity::ClientIdentity;
use crate::transfers::SettingsError;

/// Which protocols a TLS connection may agree on (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocols {
    Http1AndHttp2,
    Http1,
    /// None is named: for FTP.
    Unnamed,
}

/// Client side of TLS. The system's trust is loaded with the first connection that needs it.
pub(crate) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    configurations: OnceLock<Result<Configurations, Error>>,
}

struct Configurations {
    http1_and_http2: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    unnamed: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the owner's certificate files.
    ///
    /// # Errors
    /// A file that cannot be read, is not PEM or holds no certificate that could be a root.
    pub(crate) fn new(files: &[PathBuf]) -> Result<Self, SettingsError> {
        let mut extra_roots = Vec::new();
        for path in files {
            let refuse = |problem: String| SettingsError::Certificate { path: path.clone(), problem };
            let before = extra_roots.len();
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
                rustls::RootCertStore::empty()
                    .add(certificate.clone())
                    .map_err(|error| refuse(error.to_string()))?;
                extra_roots.push(certificate);
            }
            if extra_roots.len() == before {
                return Err(refuse("it holds no PEM certificate".to_owned()));
            }
        }
        Ok(Self { extra_roots, configurations: OnceLock::new() })
    }

    pub(crate) fn configuration(
        &self,
        protocols: Protocols,
        identity: Option<&ClientIdentity>,
    ) -> Result<Arc<ClientConfig>, Failure> {
        let configurations = self.configurations.get_or_init(|| self.build());
        let built = configurations.as_ref().map_err(|error| {
            needs_input(Cause::TlsCertificate, format!("the system's certificates: {error}"))
        })?;
        let configuration = match protocols {
            Protocols::Http1AndHttp2 => &built.http1_and_http2,
            Protocols::Http1 => &built.http1,
            Protocols::Unnamed => &built.unnamed,
        };
        Ok(match identity {
            None => Arc::clone(configuration),
            Some(identity) => Arc::new(identity.in_configuration(configuration)),
        })
    }

    fn build(&self) -> Result<Configurations, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            Arc::new(Verifier::new_with_extra_roots(self.extra_roots.clone(), Arc::clone(&provider))?);
        let unnamed = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let mut http1 = unnamed.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut http1_and_http2 = http1.clone();
        http1_and_http2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Configurations {
            http1_and_http2: Arc::new(http1_and_http2),
            http1: Arc::new(http1),
            unnamed: Arc::new(unnamed),
        })
    }
}

/// The name a certificate has to carry for `host`.
pub(crate) fn server_name(host: &Host<String>) -> Result<ServerName<'static>, Failure> {
    match host {
        Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).map_err(|error| {
            needs_input(
                Cause::TlsCertificate,
                format!("{name:?} cannot be checked in a certificate: {error}"),
            )
        }),
        Host::Ipv4(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Ipv6(address) => Ok(ServerName::IpAddress((*address).into())),
    }
}

/// Whether the server refused all application protocols that were offered.
pub(crate) fn is_protocol_refused(error: &std::io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).is_some_and(|error| {
        matches!(
            error,
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol
        )
    })
}

pub(super) fn failure_of(error: &Error, doing: &str) -> Failure {
    match error {
        Error::InvalidCertificate(problem) => {
            let (web_error_status, text) = certificate_problem(problem);
            Failure {
                web_error_status,
                ..needs_input(Cause::TlsCertificate, format!("{doing} failed: {text}"))
            }
        }
        Error::NoCertificatesPresented => Failure {
            web_error_status: WebErrorStatus::CertificateIsInvalid,
            ..needs_input(Cause::TlsCertificate, format!("{doing} failed: the server sent no certificate"))
        },
        Error::AlertReceived(alert) if is_about_us(*alert) => Failure {
            web_error_status: WebErrorStatus::CertificateIsInvalid,
            ..needs_input(
                Cause::TlsCertificate,
                format!(
                    "{doing} failed: the server wants a client certificate that it knows ({alert:?}): give one \
                     (clientCertificate, --cert)"
                ),
            )
        },
        Error::AlertReceived(AlertDescription::CloseNotify) => {
            transient(Cause::ConnectionClosed, format!("{doing} failed: {error}"))
        }
        other => transient(Cause::TlsProtocol, format!("{doing} failed: {other}")),
    }
}

/// What a server says of the client's certificate or of its absence (RFC 8446 section 6.2).
const fn is_about_us(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

fn certificate_problem(problem: &CertificateError) -> (WebErrorStatus, String) {
    use WebErrorStatus as Web;
    match problem {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            (Web::CertificateCommonNameIsIncorrect, format!("the certificate is for another name: {problem}"))
        }
        CertificateError::Expired => (Web::CertificateExpired, "the certificate has expired".to_owned()),
        CertificateError::ExpiredContext { time, not_after } => (
            Web::CertificateExpired,
            format!(
                "the certificate expired at {}, or this machine's clock is wrong (it shows {})",
                instant(*not_after),
                instant(*time)
            ),
        ),
        CertificateError::NotValidYet => (
            Web::CertificateExpired,
            "the certificate is not valid yet, or this machine's clock is slow".to_owned(),
        ),
        CertificateError::NotValidYetContext { time, not_before } => (
            Web::CertificateExpired,
            format!(
                "the certificate is valid only from {}: most likely this machine's clock is wrong (it shows {})",
                instant(*not_before),
                instant(*time)
            ),
        ),
        CertificateError::Revoked => (Web::CertificateRevoked, "the certificate has been revoked".to_owned()),
        // A bad signature is what an authority of the same name with another key looks like.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            Web::CertificateIsInvalid,
            "the certificate was issued by an authority this machine does not trust (self-signed?)"
                .to_owned(),
        ),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
            Web::CertificateIsInvalid,
            "the server uses a certificate authority's own certificate; it needs one issued for its name"
                .to_owned(),
        ),
        CertificateError::BadEncoding | CertificateError::UnhandledCriticalExtension => {
            (Web::CertificateContainsErrors, format!("the certificate contains errors: {problem}"))
        }
        other => (Web::CertificateIsInvalid, format!("the certificate is not acceptable: {other}")),
    }
}

fn instant(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{} s after 1970", time.as_secs()), |instant| instant.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn certificate_problems_have_their_windows_numbers() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for (problem, number, word) in [
            (CertificateError::NotValidForName, 1, "name"),
            (CertificateError::Expired, 2, "expired"),
            (
                CertificateError::NotValidYetContext { time: time(0), not_before: time(1_700_000_000) },
                2,
                "clock is wrong (it shows 1970-01-01T00:00:00Z)",
            ),
            (CertificateError::BadEncoding, 3, "errors"),
            (CertificateError::Revoked, 4, "revoked"),
            (CertificateError::UnknownIssuer, 5, "does not trust"),
        ] {
            let failure = failure_of(&Error::InvalidCertificate(problem), "TLS with a.example");
            assert_eq!(failure.web_error_status.number(), number);
            assert!(failure.detail.contains(word), "{}", failure.detail);
        }
    }

    #[test]
    fn a_certificate_file_must_hold_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "no certificate").unwrap();
        assert!(matches!(Tls::new(&[path]), Err(SettingsError::Certificate { .. })));
        let absent = folder.path().join("absent.pem");
        assert!(matches!(Tls::new(&[absent]), Err(SettingsError::Certificate { .. })));
    }
}
