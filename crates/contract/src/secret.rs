//! Values that may be given and never read back.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A write-only value: prints as `***`, so that no log or answer can show it by accident.
///
/// It does serialise as itself, for the store; views for callers never contain one.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Use it only where it leaves for its destination.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A certificate with its key, for servers that ask who the client is (TLS, RFC 8446 section 4.4.2); never shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificate {
    /// PEM: the certificate first, then those that lead to its root. At most 64 KiB.
    pub certificate: Secret,
    /// PEM, not encrypted: PKCS #8, PKCS #1 or SEC 1. At most 64 KiB.
    pub key: Secret,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
