//! What changed, for those who watch: a numbered ring of which operations and tasks changed, and a bell per operation.
//!
//! The ring keeps names and not views: a reader builds the view of now when it gets there, so that nobody's slowness
//! costs memory and nothing is built that nobody reads. Deliberately absent: progress, which is sampled by readers.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_contract::{AppId, InstanceId, OperationId, RangesAdded, TaskId};
use tokio::sync::watch;

/// One numbered change.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Touched(OperationId),
    Removed(OperationId),
    RangesAdded(Arc<RangesAdded>),
    Task(TaskId),
    TaskRemoved(TaskId),
    /// An instance began, changed or ended.
    Instance(InstanceId),
    /// Too much changed at once to be told one by one.
    Everything,
}

#[derive(Debug)]
struct Entry {
    app: AppId,
    item: Item,
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<Entry>,
    /// Number of the newest entry; the first one ever is 1.
    newest: u64,
    capacity: usize,
}

/// What a reader finds behind the number it has.
#[derive(Debug)]
pub(crate) enum Found {
    /// In order; an operation that changed several times comes once, at its last place.
    Items(Vec<(u64, Item)>),
    /// The number is not known any more, or everything changed: take a new snapshot.
    Gap,
}

#[derive(Debug)]
pub(crate) struct News {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    bells: Mutex<HashMap<OperationId, watch::Sender<()>>>,
    /// How many bells there are, so that nobody takes the lock when there is none.
    bell_count: AtomicUsize,
}

/// More changes of one application in one step than this are told as [`Item::Everything`].
const TOLD_ONE_BY_ONE_MAX: usize = 1000;

impl News {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ring: Mutex::new(Ring { entries: VecDeque::new(), newest: 0, capacity: capacity.max(1) }),
            newest: watch::Sender::new(0),
            bells: Mutex::default(),
            bell_count: AtomicUsize::new(0),
        }
    }

    /// Tells what one step of the engine changed.
    pub(crate) fn publish(&self, touched: Vec<(AppId, OperationId)>, removed: Vec<(AppId, OperationId)>) {
        if touched.is_empty() && removed.is_empty() {
            return;
        }
        if self.bell_count.load(Ordering::Acquire) > 0 {
            let bells = lock(&self.bells);
            for (_, id) in touched.iter().chain(&removed) {
                if let Some(bell) = bells.get(id) {
                    bell.send_replace(());
                }
            }
        }
        let crowded = crowded(touched.iter().chain(&removed).map(|(app, _)| app));
        let mut ring = lock(&self.ring);
        for app in &crowded {
            ring.push(app.clone(), Item::Everything);
        }
        let items = touched
            .into_iter()
            .map(|(app, id)| (app, Item::Touched(id)))
            .chain(removed.into_iter().map(|(app, id)| (app, Item::Removed(id))));
        for (app, item) in items {
            if !crowded.contains(&app) {
                ring.push(app, item);
            }
        }
        let newest = ring.newest;
        drop(ring);
        self.newest.send_replace(newest);
    }

    /// Tells what one step of the engine changed of tasks.
    pub(crate) fn publish_tasks(&self, items: Vec<(AppId, Item)>) {
        if items.is_empty() {
            return;
        }
        let mut ring = lock(&self.ring);
        let crowded = crowded(items.iter().map(|(app, _)| app));
        for app in &crowded {
            ring.push(app.clone(), Item::Everything);
        }
        for (app, item) in items {
            if !crowded.contains(&app) {
                ring.push(app, item);
            }
        }
        let newest = ring.newest;
        drop(ring);
        self.newest.send_replace(newest);
    }

    pub(crate) fn publish_ranges(&self, app: AppId, added: RangesAdded) {
        let mut ring = lock(&self.ring);
        ring.push(app, Item::RangesAdded(Arc::new(added)));
        let newest = ring.newest;
        drop(ring);
        self.newest.send_replace(newest);
    }

    /// Everything anybody knows may be wrong: all readers take a new snapshot, and all bells ring.
    pub(crate) fn publish_everything(&self) {
        for bell in lock(&self.bells).values() {
            bell.send_replace(());
        }
        let mut ring = lock(&self.ring);
        ring.entries.clear();
        // One number that nobody can have, so that every reader is behind what is kept.
        ring.newest += 2;
        let newest = ring.newest;
        drop(ring);
        self.newest.send_replace(newest);
    }

    /// Rings for `id` without telling the readers of the ring: something about its worker changed.
    pub(crate) fn ring(&self, id: OperationId) {
        if self.bell_count.load(Ordering::Acquire) > 0
            && let Some(bell) = lock(&self.bells).get(&id)
        {
            bell.send_replace(());
        }
    }

    /// Changes when there is something new; the value is the newest number.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    pub(crate) fn newest(&self) -> u64 {
        lock(&self.ring).newest
    }

    /// What `app` has to know that has `after`; together with the number to ask with next. No `app` is all of them.
    pub(crate) fn since(&self, app: Option<&AppId>, after: u64) -> (u64, Found) {
        let ring = lock(&self.ring);
        let oldest = ring.newest - ring.entries.len() as u64 + 1;
        if after + 1 < oldest || after > ring.newest {
            return (ring.newest, Found::Gap);
        }
        let skip = usize::try_from(after + 1 - oldest).unwrap_or(usize::MAX);
        let mut seen = std::collections::HashSet::new();
        let mut items = Vec::new();
        for (index, entry) in ring.entries.iter().enumerate().skip(skip).rev() {
            if app.is_some_and(|app| *app != entry.app) {
                continue;
            }
            let is_news = match &entry.item {
                Item::Everything => return (ring.newest, Found::Gap),
                Item::Touched(id) | Item::Removed(id) => seen.insert(*id.as_bytes()),
                Item::Task(id) | Item::TaskRemoved(id) => seen.insert(*id.as_bytes()),
                Item::Instance(id) => seen.insert(*id.as_bytes()),
                Item::RangesAdded(_) => true,
            };
            if is_news {
                items.push((oldest + index as u64, entry.item.clone()));
            }
        }
        items.reverse();
        (ring.newest, Found::Items(items))
    }

    /// A bell for one operation: it rings at every change of the operation or of its worker.
    pub(crate) fn watch(self: &Arc<Self>, id: OperationId) -> Bell {
        let mut bells = lock(&self.bells);
        let receiver = bells.entry(id).or_insert_with(|| watch::Sender::new(())).subscribe();
        self.bell_count.store(bells.len(), Ordering::Release);
        Bell { id, receiver, news: Arc::clone(self) }
    }
}

impl Ring {
    fn push(&mut self, app: AppId, item: Item) {
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { app, item });
        self.newest += 1;
    }
}

/// Applications of which too much changed at once to be told one by one.
fn crowded<'a>(apps: impl Iterator<Item = &'a AppId> + Clone) -> Vec<AppId> {
    if apps.clone().count() <= TOLD_ONE_BY_ONE_MAX {
        return Vec::new();
    }
    let mut counts: HashMap<&AppId, usize> = HashMap::new();
    for app in apps {
        *counts.entry(app).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > TOLD_ONE_BY_ONE_MAX).map(|(app, _)| app.clone()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rings when its operation changes; what rang before the last look is not missed.
#[derive(Debug)]
pub(crate) struct Bell {
    id: OperationId,
    receiver: watch::Receiver<()>,
    news: Arc<News>,
}

impl Bell {
    /// Waits until it rings, or has rung since the last call.
    pub(crate) async fn rang(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender lives as long as any bell of the operation does; without it nothing will ever ring.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut bells = lock(&self.news.bells);
        if bells.get(&self.id).is_some_and(|bell| bell.receiver_count() <= 1) {
            bells.remove(&self.id);
        }
        self.news.bell_count.store(bells.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> OperationId {
        OperationId::from_bytes([number; 16])
    }

    fn app(name: &str) -> AppId {
        AppId::new(name).unwrap()
    }

    fn numbers(found: &Found) -> Vec<u64> {
        match found {
            Found::Items(items) => items.iter().map(|(number, _)| *number).collect(),
            Found::Gap => panic!("a gap"),
        }
    }

    #[test]
    fn readers_get_their_own_changes_once_each() {
        let news = News::new(10);
        let (a, b) = (app("org.a"), app("org.b"));
        news.publish(vec![(a.clone(), id(1)), (b.clone(), id(2)), (a.clone(), id(3))], vec![]);
        news.publish(vec![(a.clone(), id(1))], vec![(b.clone(), id(2))]);
        assert_eq!(numbers(&news.since(Some(&a), 0).1), [3, 4]);
        assert_eq!(numbers(&news.since(Some(&a), 3).1), [4]);
        assert_eq!(numbers(&news.since(Some(&b), 0).1), [5]);
        assert_eq!(numbers(&news.since(None, 0).1), [3, 4, 5]);
        assert_eq!(numbers(&news.since(Some(&a), 5).1), [0; 0]);
    }

    #[test]
    fn what_is_not_kept_is_a_gap() {
        let news = News::new(3);
        let a = app("org.a");
        assert!(matches!(news.since(Some(&a), 7).1, Found::Gap), "a number of another life");
        for number in 0..5 {
            news.publish(vec![(a.clone(), id(number))], vec![]);
        }
        assert!(matches!(news.since(Some(&a), 1).1, Found::Gap));
        assert_eq!(numbers(&news.since(Some(&a), 2).1), [3, 4, 5]);
    }

    #[test]
    fn a_crowd_is_told_as_everything() {
        let news = News::new(10_000);
        let (a, b) = (app("org.a"), app("org.b"));
        let mut touched: Vec<_> = (0..=TOLD_ONE_BY_ONE_MAX)
            .map(|number| (a.clone(), OperationId::from_parts(number as u64, &[0; 10])))
            .collect();
        touched.push((b.clone(), id(9)));
        news.publish(touched, vec![]);
        assert!(matches!(news.since(Some(&a), 0).1, Found::Gap));
        assert_eq!(numbers(&news.since(Some(&b), 0).1), [2]);
        assert_eq!(numbers(&news.since(Some(&a), 2).1), [0; 0]);
    }

    #[test]
    fn after_everything_changed_every_reader_has_a_gap() {
        let news = News::new(10);
        let a = app("org.a");
        news.publish(vec![(a.clone(), id(1))], vec![]);
        news.publish_everything();
        for number in 0..=1 {
            assert!(matches!(news.since(Some(&a), number).1, Found::Gap), "{number}");
        }
        let newest = news.newest();
        assert_eq!(numbers(&news.since(Some(&a), newest).1), [0; 0]);
    }

    #[tokio::test]
    async fn a_bell_rings_for_its_operation_only() {
        let news = Arc::new(News::new(10));
        let mut bell = news.watch(id(1));
        let mut other = news.watch(id(2));
        news.publish(vec![(app("org.a"), id(1))], vec![]);
        bell.rang().await;
        tokio::select! {
            biased;
            () = other.rang() => panic!("rang for another operation"),
            () = std::future::ready(()) => {}
        }
        drop((bell, other));
        assert!(lock(&news.bells).is_empty());
    }
}
