//! Stores to try, all in the same way.

use longhaul_store::{
    Keys, ListQuery, MemoryReader, MemoryStore, Reader, Store, StoreError, StoredOperation,
};

use crate::samples::id;

/// Opens a state folder that keeps its own keys.
pub(crate) fn open(folder: &std::path::Path) -> Result<longhaul_store::Opened, StoreError> {
    longhaul_store::open(folder, &Keys::InFolder)
}

pub(crate) type Boxed = Box<dyn Trial>;

/// A store to be tried, with a reader of it and a way to lose the process.
pub(crate) trait Trial {
    fn store(&mut self) -> &mut dyn Store;
    fn reader(&self) -> &dyn Reader;
    /// The process dies and a new one opens what is left.
    fn restart(self: Box<Self>) -> Box<dyn Trial>;
}

pub(crate) struct MemoryTrial {
    store: MemoryStore,
    reader: MemoryReader,
}

impl MemoryTrial {
    pub(crate) fn begin() -> Box<dyn Trial> {
        let store = MemoryStore::new();
        Box::new(Self { reader: store.reader(), store })
    }
}

impl Trial for MemoryTrial {
    fn store(&mut self) -> &mut dyn Store {
        &mut self.store
    }

    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn restart(self: Box<Self>) -> Box<dyn Trial> {
        let store = self.store.crash();
        Box::new(Self { reader: store.reader(), store })
    }
}

pub(crate) struct SqliteTrial {
    opened: longhaul_store::Opened,
    folder: tempfile::TempDir,
}

impl SqliteTrial {
    pub(crate) fn begin() -> Box<dyn Trial> {
        let folder = tempfile::tempdir().unwrap();
        Self::open_with(folder, &Keys::InFolder)
    }

    /// Opens the folder `state` in `folder`.
    pub(crate) fn open_with(folder: tempfile::TempDir, keys: &Keys) -> Box<dyn Trial> {
        let opened = longhaul_store::open(&folder.path().join("state"), keys).unwrap();
        assert_eq!(opened.notice, None);
        Box::new(Self { opened, folder })
    }
}

impl Trial for SqliteTrial {
    fn store(&mut self) -> &mut dyn Store {
        &mut self.opened.store
    }

    fn reader(&self) -> &dyn Reader {
        &self.opened.readers
    }

    fn restart(self: Box<Self>) -> Box<dyn Trial> {
        drop(self.opened);
        Self::open_with(self.folder, &Keys::InFolder)
    }
}

pub(crate) fn read(trial: &Boxed, number: u64) -> StoredOperation {
    trial.reader().operation(id(number)).unwrap().unwrap()
}

pub(crate) fn numbers(listed: &[StoredOperation]) -> Vec<i64> {
    listed.iter().map(|operation| operation.row.order).collect()
}

pub(crate) fn list(trial: &Boxed, query: &ListQuery) -> Vec<i64> {
    numbers(&trial.reader().list(query).unwrap())
}
