//! Folders that are open for downloads under way: further downloads into one of them share its descriptor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use longhaul_contract::Failure;

use super::blocking;
use super::folder::{Folder, OpenFolder};

/// From so many names on those are forgotten whose folder nobody has open.
const NAMES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct OpenFolders {
    by_path: Mutex<HashMap<String, Weak<OpenFolder>>>,
}

impl OpenFolders {
    /// Opens `path`, or gives what is open already if that is what is there now.
    pub(super) async fn open(&self, path: &str) -> Result<Folder, Failure> {
        let known = self.by_path().get(path).and_then(Weak::upgrade);
        let opened = match &known {
            // A disk of this machine answers for a folder in use from memory.
            Some(known) if known.is_local => Folder::open(path)?,
            _ => {
                let path = path.to_owned();
                blocking(move || Folder::open(&path)).await?
            }
        };
        if let Some(known) =
            known.filter(|known| known.key == opened.shared.key && known.path == opened.path())
        {
            return Ok(Folder { shared: known });
        }
        let mut by_path = self.by_path();
        if by_path.len() >= NAMES_MAX {
            by_path.retain(|_, folder| folder.strong_count() > 0);
        }
        by_path.insert(path.to_owned(), Arc::downgrade(&opened.shared));
        Ok(opened)
    }

    fn by_path(&self) -> MutexGuard<'_, HashMap<String, Weak<OpenFolder>>> {
        self.by_path.lock().expect("no holder of this lock panics")
    }
}
