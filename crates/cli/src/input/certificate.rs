//! Certificates of the client, from PEM files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use longhaul_contract::{ClientCertificate, Secret};

use crate::trouble::Trouble;

const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct CertificateArguments {
    /// Show this certificate to a server that asks who you are: a PEM file with the certificate and those that lead to its root,
    /// and with the private key unless --key names it
    #[arg(long, value_name = "FILE", help_heading = "Request")]
    cert: Option<PathBuf>,
    /// PEM file with the private key of --cert, not encrypted
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Request")]
    key: Option<PathBuf>,
}

impl CertificateArguments {
    pub(crate) fn read(&self) -> Result<Option<ClientCertificate>, Trouble> {
        let Some(file) = &self.cert else { return Ok(None) };
        let certificate = text_of(file)?;
        let key = self.key.as_deref().map_or_else(|| Ok(certificate.clone()), text_of)?;
        // What the key's file holds beside the certificate stays out of it.
        Ok(Some(ClientCertificate {
            certificate: Secret::new(without_key(&certificate)),
            key: Secret::new(key),
        }))
    }
}

fn text_of(path: &Path) -> Result<String, Trouble> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| Trouble::file(path, &error))?;
    String::from_utf8(bytes).map_err(|_| {
        Trouble::usage(format!("{} is not PEM", path.display())).advise(
            "Of PKCS #12 make PEM first: openssl pkcs12 -in FILE -nodes -out FILE.pem; of DER: openssl x509 -inform der.",
        )
    })
}

/// The blocks of a PEM text that are certificates.
fn without_key(text: &str) -> String {
    let mut kept = String::new();
    let mut is_kept = false;
    for line in text.lines() {
        is_kept |= line.starts_with("-----BEGIN CERTIFICATE-----");
        if is_kept {
            kept.push_str(line);
            kept.push('\n');
        }
        is_kept &= !line.starts_with("-----END");
    }
    if kept.is_empty() { text.to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_told_from_the_certificate() {
        let certificate = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nREVG\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            without_key(&format!("subject=me\n{key}{certificate}{certificate}")),
            certificate.repeat(2)
        );
        assert_eq!(without_key("nothing"), "nothing", "the service says what is wrong with it");
    }
}
