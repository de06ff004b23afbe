//! Watches the disk for the end of what operations wait for: a folder that is back, a mount or permission that lets
//! files be made again, room. Folders and mounts are told by the kernel; nothing tells of room, so it is looked at
//! while something waits for it. With nothing waiting there is no watch and no timer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longhaul_contract::{Blocker, OperationId, OperationKind};
use longhaul_engine::Fact;
use longhaul_host::disk;
use longhaul_host::mounts::MountWatch;
use longhaul_host::ways::WayWatch;
use longhaul_store::Reader;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::heart::Heart;
use crate::journal;

/// Changes come in bursts: one is looked at together with what follows it within this time.
const BURST: Duration = Duration::from_millis(50);
/// How often room is looked at while something waits for it.
const SPACE_PERIOD: Duration = Duration::from_secs(5);
/// Less room than this is no news.
const SPACE_GAIN_BYTES: u64 = 1 << 20;
/// A place that was called well and was not is not called so again before this time is over, unless it was seen to
/// become well.
const SPACING: Duration = Duration::from_secs(30);

/// A handle to the watch. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Blockers {
    orders: mpsc::UnboundedSender<Order>,
}

/// The other end of [`Blockers`].
pub(crate) struct Orders(mpsc::UnboundedReceiver<Order>);

enum Order {
    Watch(OperationId, Blocker),
    Unwatch(OperationId),
    UnwatchAll,
}

/// What is waited for, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    on: Blocker,
    folders: Vec<PathBuf>,
}

/// What is known of a place at which something waits.
#[derive(Debug)]
struct Watched {
    operations: Vec<OperationId>,
    /// Room there was when the first began to wait.
    free: u64,
    /// As last looked at.
    is_clear: Option<bool>,
}

impl Blockers {
    pub(crate) fn new() -> (Self, Orders) {
        let (sender, orders) = mpsc::unbounded_channel();
        (Self { orders: sender }, Orders(orders))
    }

    pub(crate) fn watch(&self, id: OperationId, on: Blocker) {
        self.send(Order::Watch(id, on));
    }

    pub(crate) fn unwatch(&self, id: OperationId) {
        self.send(Order::Unwatch(id));
    }

    pub(crate) fn unwatch_all(&self) {
        self.send(Order::UnwatchAll);
    }

    fn send(&self, order: Order) {
        // When the watch has ended, so will the service.
        let _ = self.orders.send(order);
    }
}

/// Keeps watch until the last handle is gone.
pub(crate) async fn keep_watch(mut orders: Orders, reader: Arc<dyn Reader>, heart: Heart) {
    let mut watch = Watch { reader, heart, places: HashMap::new(), eased: HashMap::new() };
    let mut signals = Signals::default();
    loop {
        tokio::select! {
            order = orders.0.recv() => {
                let Some(first) = order else { return };
                let mut is_new = false;
                let more = std::iter::from_fn(|| orders.0.try_recv().ok());
                let all: Vec<Order> = std::iter::once(first).chain(more).collect();
                for order in all {
                    is_new |= watch.take(order).await;
                }
                if !is_new && !watch.places.is_empty() {
                    continue;
                }
            }
            () = signals.changed() => tokio::time::sleep(BURST).await,
        }
        // Watched first and looked at then, so that nothing falls in between.
        signals.set(&watch.places);
        signals.look_by(watch.look());
    }
}

/// What may tell that a look is worth it.
#[derive(Default)]
struct Signals {
    folders: Option<WayWatch>,
    mounts: Option<MountWatch>,
    /// When to look although nothing tells.
    look_at: Option<Instant>,
}

impl Signals {
    fn look_by(&mut self, time: Option<Instant>) {
        self.look_at = self.look_at.into_iter().chain(time).min();
    }

    fn set(&mut self, places: &HashMap<Place, Watched>) {
        *self = Self::default();
        if places.keys().any(|place| place.on == Blocker::DiskSpace) {
            self.look_at = Some(Instant::now() + SPACE_PERIOD);
        }
        let mut folders = places
            .keys()
            .filter(|place| place.on != Blocker::DiskSpace)
            .flat_map(|place| place.folders.iter().map(PathBuf::as_path))
            .peekable();
        if folders.peek().is_none() {
            return;
        }
        match WayWatch::open(folders) {
            Ok(watch) => self.folders = Some(watch),
            Err(error) => tracing::warn!(%error, "folders are not watched; what waits looks by itself"),
        }
        match MountWatch::open() {
            Ok(watch) => self.mounts = Some(watch),
            Err(error) => tracing::warn!(%error, "mounts are not watched; what waits looks by itself"),
        }
    }

    async fn changed(&mut self) {
        let folders = async {
            match &mut self.folders {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let mounts = async {
            match &mut self.mounts {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let time = async {
            match self.look_at {
                Some(instant) => tokio::time::sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = folders => {}
            () = mounts => {}
            () = time => {}
        }
    }
}

struct Watch {
    reader: Arc<dyn Reader>,
    heart: Heart,
    places: HashMap<Place, Watched>,
    /// When places were last called well, for all or for one operation.
    eased: HashMap<(Place, Option<OperationId>), Instant>,
}

impl Watch {
    /// Answers whether there is another place to watch.
    async fn take(&mut self, order: Order) -> bool {
        match order {
            Order::Watch(id, on) => {
                let reader = Arc::clone(&self.reader);
                let found = tokio::task::spawn_blocking(move || folders_of(&*reader, id)).await;
                let Ok(folders) = found else { return false };
                let place = Place { on, folders };
                if let Some(watched) = self.places.get_mut(&place) {
                    watched.operations.push(id);
                    return false;
                }
                let watched = Watched { operations: vec![id], free: free_bytes(&place), is_clear: None };
                tracing::info!(%id, on = ?place.on, folders = ?place.folders, free = watched.free, "the disk is watched");
                self.places.insert(place, watched);
                true
            }
            Order::Unwatch(id) => {
                self.places.retain(|_, watched| {
                    watched.operations.retain(|waiting| *waiting != id);
                    !watched.operations.is_empty()
                });
                false
            }
            Order::UnwatchAll => {
                self.places.clear();
                false
            }
        }
    }

    /// Tells of every place that has become well. Answers when to look again at one that may not be told of yet.
    fn look(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut again = None;
        self.eased.retain(|_, at| now.duration_since(*at) < SPACING);
        for (place, watched) in &mut self.places {
            let was_clear = watched.is_clear;
            let is_clear = is_clear(place, watched.free);
            watched.is_clear = Some(is_clear);
            if was_clear == Some(true) || !is_clear {
                continue;
            }
            let is_seen_to_change = was_clear == Some(false) && place.on != Blocker::DiskSpace;
            for id in &watched.operations {
                // Room is everybody's; a folder may have come back before it was seen to be gone, and then it is well for
                // whoever has not been sent there before.
                let teller = (place.clone(), (place.on != Blocker::DiskSpace).then_some(*id));
                if let Some(eased) = self.eased.get(&teller).filter(|at| **at < now)
                    && !is_seen_to_change
                {
                    // What is there now will still be there then.
                    watched.is_clear = was_clear;
                    again = again.into_iter().chain([*eased + SPACING]).min();
                    continue;
                }
                self.eased.insert(teller, now);
                tracing::info!(%id, on = ?place.on, folders = ?place.folders, "what stood in the way is gone");
                self.heart.report(None, Fact::BlockerEased { on: place.on, id: Some(*id) });
            }
        }
        again
    }
}

/// Where the operation makes its file, and where it made the part file before; or where its sources lie. Empty when the
/// record is gone.
fn folders_of(reader: &dyn Reader, id: OperationId) -> Vec<PathBuf> {
    let Ok(Some(record)) = reader.operation(id) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = Vec::new();
    for file in record.spec.files() {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = PathBuf::from(if folder.is_empty() { "/" } else { folder });
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    if record.row.kind == OperationKind::Download
        && let Ok(Some(kept)) = reader.journal(id)
        && let Ok(kept) = journal::decode(&kept)
        && !folders.iter().any(|folder| folder.as_os_str() == kept.folder.as_str())
    {
        folders.push(PathBuf::from(kept.folder));
    }
    folders
}

fn is_clear(place: &Place, free_before: u64) -> bool {
    match place.on {
        Blocker::DiskSpace => free_bytes(place) >= free_before.saturating_add(SPACE_GAIN_BYTES),
        Blocker::Folder => place.folders.iter().all(|folder| folder.is_dir()),
        _ => place.folders.iter().all(|folder| disk::check_writable(folder).is_ok()),
    }
}

fn free_bytes(place: &Place) -> u64 {
    place.folders.iter().filter_map(|folder| disk::free_bytes(folder).ok()).min().unwrap_or_default()
}
