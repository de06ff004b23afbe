//! What a running worker shares with those who watch, steer and read it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use longhaul_contract::{ByteRange, RangeSet, ResponseInformation};
use tokio::sync::{Notify, watch};

use super::meter::Meter;
use crate::files::PartReader;
use crate::rate::RateLimit;
use crate::transfers::{ReadError, StopMode};

pub(crate) struct Live {
    stop: watch::Sender<Option<StopMode>>,
    pub(crate) meter: Meter,
    pub(crate) rate: RateLimit,
    response: Mutex<Option<ResponseInformation>>,
    wanted: Mutex<Vec<ByteRange>>,
    want: Notify,
    file: watch::Sender<File>,
    /// How often the download has begun again at byte 0, over all its attempts.
    restarts: AtomicU32,
}

/// What can be read of the file now.
#[derive(Clone)]
enum File {
    /// No response has been accepted yet.
    Awaited,
    Part {
        reader: PartReader,
        total: Option<u64>,
    },
    Ended,
}

impl Live {
    pub(crate) fn new(rate: RateLimit, restarts: u32) -> Self {
        Self {
            stop: watch::Sender::new(None),
            meter: Meter::new(),
            rate,
            response: Mutex::new(None),
            wanted: Mutex::new(Vec::new()),
            want: Notify::new(),
            file: watch::Sender::new(File::Awaited),
            restarts: AtomicU32::new(restarts),
        }
    }

    /// Asks the worker to stop. To discard overrules to keep.
    pub(crate) fn ask_to_stop(&self, mode: StopMode) {
        self.stop.send_if_modified(|asked| {
            let is_news = asked.is_none() || (*asked == Some(StopMode::Keep) && mode == StopMode::Discard);
            if is_news {
                *asked = Some(mode);
            }
            is_news
        });
    }

    /// Resolves when the worker was asked to stop.
    pub(crate) async fn stopped(&self) -> StopMode {
        let mut stop = self.stop.subscribe();
        let asked = stop.wait_for(Option::is_some).await.map(|mode| *mode);
        asked.ok().flatten().unwrap_or(StopMode::Keep)
    }

    pub(crate) fn stop_mode(&self) -> Option<StopMode> {
        *self.stop.borrow()
    }

    /// To be told before the first byte of the new version can be read.
    pub(crate) fn set_restarts(&self, restarts: u32) {
        self.restarts.store(restarts, Ordering::Release);
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Acquire)
    }

    pub(crate) fn set_response(&self, response: ResponseInformation) {
        *self.response_slot() = Some(response);
    }

    pub(crate) fn response(&self) -> Option<ResponseInformation> {
        self.response_slot().clone()
    }

    fn response_slot(&self) -> MutexGuard<'_, Option<ResponseInformation>> {
        self.response.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn want(&self, range: ByteRange) {
        self.wanted.lock().expect("no holder of this lock panics").push(range);
        self.want.notify_one();
    }

    /// Resolves when something is wanted.
    pub(crate) async fn wanting(&self) {
        self.want.notified().await;
    }

    pub(crate) fn take_wanted(&self) -> Vec<ByteRange> {
        std::mem::take(&mut *self.wanted.lock().expect("no holder of this lock panics"))
    }

    pub(crate) fn set_part(&self, reader: PartReader, total: Option<u64>) {
        if let Some(total) = total {
            self.meter.set_total(total);
        }
        self.file.send_replace(File::Part { reader, total });
    }

    pub(crate) fn set_ended(&self) {
        self.file.send_replace(File::Ended);
    }

    pub(crate) fn ranges(&self) -> RangeSet {
        match &*self.file.borrow() {
            File::Part { reader, .. } => reader.readable(),
            File::Awaited | File::Ended => RangeSet::new(),
        }
    }

    /// Waits until a byte at `offset` can be read, and reads up to `length`.
    pub(crate) async fn read_at(&self, offset: u64, length: usize) -> Result<bytes::Bytes, ReadError> {
        let mut file = self.file.subscribe();
        loop {
            let now = file.borrow_and_update().clone();
            match now {
                File::Ended => return Err(ReadError::Ended),
                File::Awaited => {}
                File::Part { total: Some(total), .. } if offset >= total => {
                    return Err(ReadError::BehindEnd { total });
                }
                File::Part { mut reader, .. } => {
                    if reader.readable().available_from(offset) == 0 {
                        self.want(ByteRange::new(offset, length as u64));
                    }
                    tokio::select! {
                        available = reader.wait(offset) => {
                            if available.is_none() {
                                return Err(ReadError::Ended);
                            }
                            let bytes = reader.read_at(offset, length).await.map_err(ReadError::File)?;
                            if !bytes.is_empty() {
                                return Ok(bytes);
                            }
                            continue;
                        }
                        changed = file.changed() => {
                            if changed.is_err() {
                                return Err(ReadError::Ended);
                            }
                            continue;
                        }
                    }
                }
            }
            if file.changed().await.is_err() {
                return Err(ReadError::Ended);
            }
        }
    }
}
