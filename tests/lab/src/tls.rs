//! Certificates, good and bad, and the server side of TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;

/// A certification authority of its own; its root lies in a PEM file for `--ca-certificate` and its like.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    folder: TempDir,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    chain_pem: String,
    key_pem: String,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    Expired,
    NotYetValid,
    /// Issued for `elsewhere.example`.
    WrongHost,
}

impl Authority {
    /// # Panics
    /// The temporary folder cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let mut params = CertificateParams::new(Vec::new()).expect("no names to refuse");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Verifiers find an issuer by its name, so no two roots may share one.
        let name = format!("Longhaul lab root {}", hex::encode(&key.public_key_raw()[..8]));
        params.distinguished_name.push(DnType::CommonName, name);
        let root_pem = params.self_signed(&key).expect("a root signs itself").pem();
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("root.pem"), &root_pem).expect("a writable temporary folder");
        Self { issuer: Issuer::new(params, key), root_pem, folder }
    }

    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The PEM file with the root certificate; it is there as long as `self` is.
    #[must_use]
    pub fn root_file(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A certificate for `localhost`, `127.0.0.1` and `::1`, with `flaw`.
    #[must_use]
    pub fn issue(&self, flaw: Flaw) -> Identity {
        let names = match flaw {
            Flaw::WrongHost => vec!["elsewhere.example".to_owned()],
            Flaw::None | Flaw::Expired | Flaw::NotYetValid => local_names(),
        };
        let mut params = CertificateParams::new(names).expect("valid names");
        match flaw {
            Flaw::Expired => {
                params.not_before = date_time_ymd(2019, 1, 1);
                params.not_after = date_time_ymd(2020, 1, 1);
            }
            Flaw::NotYetValid => params.not_before = date_time_ymd(3000, 1, 1),
            Flaw::None | Flaw::WrongHost => {}
        }
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let certificate = params.signed_by(&key, &self.issuer).expect("the lab's root signs");
        Identity::new(certificate.der().clone(), certificate.pem(), &key)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    fn new(certificate: CertificateDer<'static>, chain_pem: String, key: &KeyPair) -> Self {
        Self {
            chain: vec![certificate],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            chain_pem,
            key_pem: key.serialize_pem(),
        }
    }

    /// Valid names and dates, and trusted by nobody.
    #[must_use]
    pub fn self_signed() -> Self {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let params = CertificateParams::new(local_names()).expect("valid names");
        let certificate = params.self_signed(&key).expect("it signs itself");
        Self::new(certificate.der().clone(), certificate.pem(), &key)
    }

    /// Writes `certificate.pem`, `key.pem` and `both.pem` into `folder`, for servers that read files.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn write_to(&self, folder: &Path) {
        for (name, text) in [
            ("certificate.pem", self.chain_pem.clone()),
            ("key.pem", self.key_pem.clone()),
            ("both.pem", format!("{}{}", self.chain_pem, self.key_pem)),
        ] {
            std::fs::write(folder.join(name), text).expect("a writable temporary folder");
        }
    }

    #[must_use]
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// HTTP/1.1 for clients with a certificate of `authority` and for no others.
    #[must_use]
    pub fn server_config_for_clients_of(&self, authority: &Authority) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.root_pem.as_bytes()).expect("it is PEM");
        roots.add(root).expect("a root of the lab");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has TLS 1.2 and 1.3")
            .with_client_cert_verifier(verifier.expect("there is a root"))
            .with_single_cert(self.chain.clone(), PrivateKeyDer::from(self.key.clone_key()))
            .expect("the key belongs to the certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// TLS 1.2 and 1.3, offering `protocols` by ALPN.
    #[must_use]
    pub fn server_config(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), PrivateKeyDer::from(self.key.clone_key()))
            .expect("the key belongs to the certificate");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

fn local_names() -> Vec<String> {
    ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
}
