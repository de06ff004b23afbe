//! The writer thread: what it groups, what it lets wait, and how it ends.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use longhaul_contract::OperationId;
use longhaul_engine::{Change, StoredPhase};
use longhaul_store::{
    Adopt, GroupStore, JournalWrite, MemoryReader, MemoryStore, Queue, Reader as _, Store, StoreError, Write,
    Writer,
};

use crate::samples::{create, created, ended, id, journal, row, spec, time};
use crate::trial::open;

const DEADLINE: Duration = Duration::from_secs(20);

fn start(number: u64) -> Write {
    Write::Change(Change::Started { id: id(number), time: time(1) })
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// A store in memory that tells how many submissions each group has, and goes on only when it is let.
struct GatedStore {
    inner: MemoryStore,
    groups: Sender<usize>,
    gate: Receiver<()>,
}

struct Gate {
    /// Sizes of the groups, sent when their commit begins.
    groups: Receiver<usize>,
    open: Sender<()>,
    reader: MemoryReader,
}

fn gated() -> (Writer, Gate) {
    let inner = MemoryStore::new();
    let reader = inner.reader();
    let (groups, seen) = channel();
    let (open, gate) = channel();
    let writer = Writer::start(GatedStore { inner, groups, gate }).unwrap();
    (writer, Gate { groups: seen, open, reader })
}

impl Gate {
    /// Waits until a commit begins, and lets it go on.
    fn pass(&self) -> usize {
        let size = self.groups.recv_timeout(DEADLINE).unwrap();
        self.open.send(()).unwrap();
        size
    }

    fn is_started(&self, number: u64) -> bool {
        self.reader.operation(id(number)).unwrap().is_some_and(|operation| operation.started.is_some())
    }
}

impl Store for GatedStore {
    fn load_into(&mut self, adopter: &mut dyn Adopt) -> Result<(), StoreError> {
        self.inner.load_into(adopter)
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.inner.commit(writes)
    }
}

impl GroupStore for GatedStore {
    type Prepared = Vec<Write>;

    fn prepare(writes: Vec<Write>) -> Result<Vec<Write>, StoreError> {
        Ok(writes)
    }

    fn commit_group(&mut self, submissions: &[Vec<Write>]) -> Vec<Result<(), StoreError>> {
        self.groups.send(submissions.len()).unwrap();
        self.gate.recv_timeout(DEADLINE).unwrap();
        self.inner.commit_group(submissions)
    }

    fn tidy(&mut self, queue: Queue) {
        self.inner.tidy(queue);
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

#[test]
fn what_gathers_while_a_commit_runs_goes_into_the_next() {
    let (writer, gate) = gated();
    let first = writer.submit(vec![create(1)]);
    let size = gate.groups.recv_timeout(DEADLINE).unwrap();
    assert_eq!(size, 1);
    let others: Vec<_> = (2..=50).map(|number| writer.submit(vec![create(number)])).collect();
    gate.open.send(()).unwrap();
    first.wait().unwrap();
    assert_eq!(gate.pass(), 49);
    for other in others {
        other.wait().unwrap();
    }
    for number in 1..=50 {
        assert!(gate.reader.operation(id(number)).unwrap().is_some());
    }
}

#[test]
fn a_transaction_has_a_largest_size() {
    let (writer, gate) = gated();
    let first = writer.submit(vec![create(1)]);
    assert_eq!(gate.groups.recv_timeout(DEADLINE).unwrap(), 1);
    let big: Vec<_> = (0..3).map(|_| writer.submit(vec![create(2); 3_000])).collect();
    gate.open.send(()).unwrap();
    first.wait().unwrap();
    assert_eq!((gate.pass(), gate.pass()), (2, 1));
    for submission in big {
        submission.wait().unwrap();
    }
}

#[test]
fn what_nobody_waits_for_is_acknowledged_at_once_and_rides_along() {
    let (writer, gate) = gated();
    let first = writer.submit(vec![create(1)]);
    gate.pass();
    first.wait().unwrap();
    writer.submit(vec![start(1)]).wait().unwrap();
    assert!(!gate.is_started(1), "no commit was let through");
    let second = writer.submit(vec![create(2)]);
    assert_eq!(gate.pass(), 2);
    second.wait().unwrap();
    assert!(gate.is_started(1));
}

#[test]
fn what_nobody_waits_for_is_written_by_itself_after_a_while() {
    let (writer, gate) = gated();
    let first = writer.submit(vec![create(1)]);
    gate.pass();
    first.wait().unwrap();
    writer.submit(vec![start(1)]).wait().unwrap();
    assert_eq!(gate.pass(), 1);
    until("the start is written", || gate.is_started(1));
}

#[test]
fn closing_writes_what_is_pending_and_refuses_what_comes_later() {
    let store = MemoryStore::new();
    let reader = store.reader();
    let writer = Writer::start(store).unwrap();
    let other = writer.clone();
    writer.submit(vec![create(1)]).wait().unwrap();
    writer.submit(vec![start(1)]).wait().unwrap();
    writer.close().wait().unwrap();
    assert!(reader.operation(id(1)).unwrap().unwrap().started.is_some());
    assert_eq!(other.submit(vec![create(2)]).wait(), Err(StoreError::Closed));
    until("even what nobody waits for is refused", || {
        other.submit(vec![start(1)]).wait() == Err(StoreError::Closed)
    });
    assert_eq!(other.close().wait(), Err(StoreError::Closed));
}

#[test]
fn dropping_the_last_handle_closes_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path()).unwrap();
    let writer = Writer::start(opened.store).unwrap();
    writer.submit(vec![create(1)]).wait().unwrap();
    writer.submit(vec![start(1)]).wait().unwrap();
    drop(writer);
    let mut opened = None;
    until("the folder is free", || {
        opened = open(folder.path()).ok();
        opened.is_some()
    });
    assert!(opened.unwrap().readers.operation(id(1)).unwrap().unwrap().started.is_some());
}

#[test]
fn loading_sees_what_was_submitted_before() {
    let writer = Writer::start(MemoryStore::new()).unwrap();
    let _created = writer.submit(vec![create(1)]);
    let _started = writer.submit(vec![start(1)]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let loaded = runtime.block_on(writer.load()).unwrap();
    assert_eq!(loaded.rows, [row(1)]);
    runtime.block_on(writer.close()).unwrap();
    assert_eq!(runtime.block_on(writer.load()), Err(StoreError::Closed));
}

/// Longer than SQLite takes a value to be.
fn too_long() -> Write {
    let record = vec![0; 1_000_000_001];
    Write::Journal(JournalWrite { id: id(1), received: 1, total: 1, record })
}

#[test]
fn a_submission_that_is_refused_does_not_take_others_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path()).unwrap();
    opened.store.commit(&[create(1)]).unwrap();
    let prepare = |writes| longhaul_store::SqliteStore::prepare(writes).unwrap();
    let in_group =
        created(longhaul_engine::Row { group: Some(crate::samples::group("new")), ..row(3) }, spec(3));
    let results = opened.store.commit_group(&[
        prepare(vec![create(2)]),
        prepare(vec![in_group.clone(), too_long()]),
        prepare(vec![journal(1, 5, b"kept")]),
    ]);
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert!(matches!(results[1], Err(StoreError::CannotWrite(_))), "{results:?}");
    assert!(opened.readers.operation(id(2)).unwrap().is_some());
    assert!(opened.readers.operation(id(3)).unwrap().is_none());
    assert_eq!(opened.readers.journal(id(1)).unwrap().as_deref(), Some(b"kept".as_slice()));
    // The names that were numbered in the transaction that failed are numbered anew.
    opened.store.commit(&[in_group]).unwrap();
    let found = opened.readers.operation(id(3)).unwrap().unwrap();
    assert_eq!(found.row.group, Some(crate::samples::group("new")));
}

#[test]
fn many_threads_write_and_read_at_one_time() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path()).unwrap();
    let writer = Writer::start(opened.store).unwrap();
    let readers = opened.readers;
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (writer, readers) = (writer.clone(), readers.clone());
            scope.spawn(move || {
                for number in (0..40).map(|number| thread * 1_000 + number) {
                    writer.submit(vec![create(number)]).wait().unwrap();
                    let found = readers.operation(id(number)).unwrap().unwrap();
                    assert_eq!(found.row.phase, StoredPhase::Idle, "what is acknowledged is read");
                    writer.submit(vec![ended(row(number), 5)]).wait().unwrap();
                    assert!(readers.operation(id(number)).unwrap().unwrap().completed.is_some());
                }
            });
        }
    });
    let all = readers.list(&crate::samples::everything()).unwrap();
    let ids: Vec<OperationId> = all.iter().map(|operation| operation.row.id).collect();
    assert_eq!(ids.len(), 320);
    assert!(ids.is_sorted());
    writer.close().wait().unwrap();
}
