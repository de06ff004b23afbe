//! Publishes for all workers: while one group's syncs run, the next group gathers, and the whole group shares them.
//!
//! There is one lane for each device, so that a slow one holds up nobody else, and no timer: a single file is never
//! kept waiting for company.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::join_all;
use longhaul_contract::{Cause, Failure, IfExists, Remedy};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::blocking;
use super::failure::{failure, io_failure};
use super::folder::Folder;
use super::part::PartFile;
use super::publish::{Intent, Published, Renamed, Request, intent_failure};
use super::shared::Shared;

/// Publications that share their syncs at most.
const GROUP_MAX: usize = 512;
/// From so many files on, one sync of the file system beats one for each file.
const FILES_PER_SYNCFS_MIN: usize = 4;
/// With more dirty bytes than this on the machine, syncing a file system would mean waiting for others' writes.
const DIRTY_BYTES_MAX: u64 = 128 << 20;
/// A crowd of files waits longer for its own syncs than for so many of others' bytes for each file.
const DIRTY_BYTES_PER_FILE: u64 = 4 << 20;
/// Files larger than this are made durable before they join a group.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// Syncs that run side by side.
const SYNCS_AT_ONCE: usize = 16;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Publisher {
    /// What waits, by device. A device that has an entry has a worker.
    lanes: Arc<Mutex<HashMap<u64, Vec<Request>>>>,
    mode: Mode,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self { lanes: Arc::default(), mode: mode_of_new_files() }
    }

    pub(super) async fn publish(
        &self,
        part: PartFile,
        as_name: &str,
        if_exists: IfExists,
        intent: Intent,
    ) -> Result<Published, Failure> {
        let shared = Arc::clone(&part.shared);
        shared.settle().await;
        shared.tell_error()?;
        let (mut request, answer) = Request::new(part, as_name, if_exists, intent)?;
        if request.size() > SMALL_BYTES_MAX {
            let mode = self.mode;
            let prepared = blocking(move || {
                request.prepare(mode, &|_| false)?;
                if request.is_sync_needed {
                    sync_data(request.shared())?;
                    request.is_sync_needed = false;
                }
                Ok(request)
            });
            request = prepared.await?;
        }
        self.enqueue(shared.identity.device, request);
        answer.await.unwrap_or_else(|_| {
            let detail = format!("the publication of {} was broken off", shared.path());
            Err(failure(Remedy::Transient, Cause::Internal, detail))
        })
    }

    fn enqueue(&self, device: u64, request: Request) {
        let mut lanes = self.lanes();
        if let Some(waiting) = lanes.get_mut(&device) {
            waiting.push(request);
            return;
        }
        lanes.insert(device, vec![request]);
        drop(lanes);
        let lane = Lane { publisher: self.clone(), device, is_done: false };
        tokio::spawn(lane.run());
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<u64, Vec<Request>>> {
        self.lanes.lock().expect("no holder of this lock panics")
    }
}

/// The worker of one device. It ends when nothing waits.
struct Lane {
    publisher: Publisher,
    device: u64,
    is_done: bool,
}

impl Drop for Lane {
    /// After a panic in an intent what waits is told so, and the next request starts a new worker.
    fn drop(&mut self) {
        if !self.is_done {
            self.publisher.lanes().remove(&self.device);
        }
    }
}

impl Lane {
    async fn run(mut self) {
        while let Some(group) = self.take_group() {
            publish_group(group, self.publisher.mode).await;
        }
    }

    fn take_group(&mut self) -> Option<Vec<Request>> {
        let mut lanes = self.publisher.lanes();
        let waiting = lanes.get_mut(&self.device)?;
        if waiting.is_empty() {
            lanes.remove(&self.device);
            self.is_done = true;
            return None;
        }
        let rest = waiting.split_off(waiting.len().min(GROUP_MAX));
        Some(std::mem::replace(waiting, rest))
    }
}

async fn publish_group(group: Vec<Request>, mode: Mode) {
    let mut group = blocking(move || prepare_group(group, mode)).await;
    group = make_durable(group).await;
    while !group.is_empty() {
        group = record_intents(group).await;
        group = blocking(move || rename_group(group, mode)).await;
    }
}

/// Prepares each request; those that cannot go on are answered and left out.
fn prepare_group(group: Vec<Request>, mode: Mode) -> Vec<Request> {
    let mut chosen = HashSet::new();
    let mut ready = Vec::with_capacity(group.len());
    for mut request in group {
        let folder = request.shared().open_folder().key;
        match request.prepare(mode, &|name| chosen.contains(&(folder, name.to_owned()))) {
            Ok(()) => {
                if request.if_exists == IfExists::Rename {
                    chosen.insert((folder, request.name.clone()));
                }
                ready.push(request);
            }
            Err(failure) => request.refuse(failure),
        }
    }
    ready
}

/// Makes the data of the whole group durable.
async fn make_durable(group: Vec<Request>) -> Vec<Request> {
    let unsynced: Vec<Arc<Shared>> = group
        .iter()
        .filter(|request| request.is_sync_needed)
        .map(|request| Arc::clone(request.shared()))
        .collect();
    if unsynced.len() >= FILES_PER_SYNCFS_MIN {
        let files = unsynced.clone();
        if blocking(move || sync_file_system(&files)).await {
            return group;
        }
    }
    let size = unsynced.len().div_ceil(SYNCS_AT_ONCE).max(1);
    let parts = unsynced
        .chunks(size)
        .map(<[_]>::to_vec)
        .map(|files| blocking(move || files.iter().map(|file| sync_data(file)).collect::<Vec<_>>()));
    let mut results = join_all(parts).await.into_iter().flatten();
    let mut ready = Vec::with_capacity(group.len());
    for request in group {
        let result = if request.is_sync_needed { results.next().unwrap_or(Ok(())) } else { Ok(()) };
        match result {
            Ok(()) => ready.push(request),
            Err(failure) => request.refuse(failure),
        }
    }
    ready
}

/// One sync for all of `files`, which are on one device. `false` where that is unwise, or failed for some file; then
/// syncing each tells which.
fn sync_file_system(files: &[Arc<Shared>]) -> bool {
    let Some(first) = files.first().map(|file| file.open_folder()) else { return true };
    let dirty_max = DIRTY_BYTES_MAX.max(files.len() as u64 * DIRTY_BYTES_PER_FILE);
    if !first.is_local || dirty_bytes().is_none_or(|dirty| dirty > dirty_max) {
        return false;
    }
    if rustix::fs::syncfs(&first.descriptor).is_err() {
        return false;
    }
    for file in files {
        file.mark_all_durable();
    }
    true
}

fn sync_data(file: &Shared) -> Result<(), Failure> {
    match rustix::fs::fdatasync(file.sink.descriptor()) {
        Ok(()) => {
            file.mark_all_durable();
            Ok(())
        }
        Err(errno) => {
            file.lose_undurable();
            Err(file.failed("make durable", errno))
        }
    }
}

/// Records that the renames may happen; those that cannot be recorded are answered and left out.
async fn record_intents(mut group: Vec<Request>) -> Vec<Request> {
    let intents = group.iter_mut().map(|request| (request.intent)(request.name.clone()));
    let results = join_all(intents).await;
    let mut ready = Vec::with_capacity(group.len());
    for (request, result) in group.into_iter().zip(results) {
        match result {
            Ok(()) => ready.push(request),
            Err(error) => request.refuse(intent_failure(&error)),
        }
    }
    ready
}

/// Renames, makes the renames durable and answers. Returns, with their next names, those whose name was taken by
/// somebody at the last moment.
fn rename_group(group: Vec<Request>, mode: Mode) -> Vec<Request> {
    let mut again = Vec::new();
    let mut renamed = Vec::with_capacity(group.len());
    for request in group {
        match request.rename() {
            Ok(Renamed::Done) => renamed.push(request),
            Ok(Renamed::NameTaken) => again.push(request),
            Err(failure) => request.refuse(failure),
        }
    }
    let mut synced: HashMap<(u64, u64), (Result<(), Errno>, String)> = HashMap::new();
    for request in renamed {
        let folder: Folder = request.part.folder().clone();
        let (result, path) = synced
            .entry(folder.shared.key)
            .or_insert_with(|| (rustix::fs::fsync(&folder.shared.descriptor), folder.shared.path_now()));
        match *result {
            Ok(()) => request.confirm_in(path),
            Err(errno) => {
                request.refuse(io_failure("make durable the folder", folder.path(), errno));
            }
        }
    }
    prepare_group(again, mode)
}

/// Bytes on the whole machine that wait to be written to disks.
fn dirty_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Some((kibibytes("Dirty:")? + kibibytes("Writeback:")?) << 10)
}

/// Reading and writing for all, less the umask of the process.
fn mode_of_new_files() -> Mode {
    let all = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
    let umask = std::fs::read_to_string("/proc/self/status").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Umask:"))?;
        u32::from_str_radix(line.trim(), 8).ok()
    });
    match umask {
        Some(umask) => all & !Mode::from_raw_mode(umask),
        None => Mode::RUSR | Mode::WUSR,
    }
}
