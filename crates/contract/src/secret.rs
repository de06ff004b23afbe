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

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
