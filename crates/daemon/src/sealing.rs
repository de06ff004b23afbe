//! Which keys seal the secrets of the database.

use std::path::Path;

use longhaul_store::{Keys, StoreError};

/// The credential of systemd (systemd.exec(5)) that holds keys, by its name.
const CREDENTIAL: &str = "longhaul.key";

/// What systemd hands over, or else the file of the state folder.
///
/// # Errors
/// There is such a credential, and it cannot be read.
pub(crate) fn keys(credentials: Option<&Path>) -> Result<Keys, StoreError> {
    let Some(path) = credentials.map(|folder| folder.join(CREDENTIAL)) else { return Ok(Keys::InFolder) };
    let from = format!("the credential {}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Keys::Given { text, from }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Keys::InFolder),
        Err(error) => Err(StoreError::UnusableKey { from, problem: error.to_string() }),
    }
}
