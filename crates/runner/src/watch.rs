//! The worker that looks after one running instance: reads what it writes, passes wishes on, and tells its end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use crate::ended::Ended;
use crate::output::{Output, Stream};
use crate::runner::Place;
use crate::running::Wish;
use crate::wire::{self, Inbox, Order, Report};

/// How long after the end of its grace a tree may take to be gone before the supervisor itself is taken for stuck. It gives up
/// by itself before that.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(8);
/// Bytes read at once, and how often in a row, before others get their turn.
const READ_LENGTH: usize = 64 << 10;
const READS_IN_A_ROW: usize = 8;

/// Our ends of what the program writes to; `None` after their end.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdout: Option<pipe::Receiver>,
    pub(crate) stderr: Option<pipe::Receiver>,
}

pub(crate) struct Instance {
    pub(crate) control: UnixStream,
    pub(crate) inbox: Inbox,
    pub(crate) pipes: Pipes,
    pub(crate) output: Arc<Output>,
    pub(crate) wished: mpsc::UnboundedReceiver<Wish>,
    pub(crate) place: Place,
    pub(crate) report: watch::Sender<Option<Arc<Ended>>>,
    pub(crate) started: Instant,
}

impl Instance {
    pub(crate) async fn look_after(mut self) {
        let mut ended = self.follow().await;
        ended.duration = self.started.elapsed();
        self.pipes.read_rest(&self.output);
        self.output.complete();
        if let Some(group) = self.place.group() {
            ended.usage.memory_peak = group.memory_peak();
            ended.ran_out_of_memory = group.ran_out_of_memory();
        }
        self.place.clear().await;
        self.report.send_replace(Some(Arc::new(ended)));
    }

    async fn follow(&mut self) -> Ended {
        let mut canceled = None;
        let mut deadline = None;
        let mut is_wanted = true;
        let mut buffer = [0; 4 << 10];
        loop {
            match self.inbox.next() {
                Ok(Some(Report::Ended { outcome, leftovers_killed, survivors, usage })) => {
                    return Ended { canceled, leftovers_killed, usage, ..Ended::bare(outcome, survivors) };
                }
                Ok(None) => {}
                Ok(Some(Report::Started { .. } | Report::Failed(_))) | Err(_) => {
                    return self.lost(canceled, "its supervisor says what makes no sense");
                }
            }
            tokio::select! {
                read = self.control.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => self.inbox.push(&buffer[..count]),
                    Ok(_) | Err(_) => return self.lost(canceled, "its supervisor was killed"),
                },
                wish = self.wished.recv(), if is_wanted => {
                    is_wanted = wish.is_some();
                    let (order, grace) = match wish {
                        Some(Wish::Cancel { reason, grace }) => {
                            canceled.get_or_insert_with(|| reason.clone());
                            (Order::Cancel { reason, grace }, grace)
                        }
                        Some(Wish::Leftovers { leftovers, passed_on }) => {
                            self.send(&Order::Leftovers(leftovers)).await;
                            // Whoever gave the order may have gone.
                            let _ = passed_on.send(());
                            continue;
                        }
                        Some(Wish::Kill) | None => (Order::Kill, Duration::ZERO),
                    };
                    self.send(&order).await;
                    let latest = Instant::now() + grace + SUPERVISOR_PATIENCE;
                    deadline = Some(deadline.map_or(latest, |earlier: Instant| earlier.min(latest)));
                }
                () = self.pipes.read_some(&self.output) => {}
                () = until(deadline) => return self.lost(canceled, "its supervisor does not answer"),
            }
        }
    }

    /// A supervisor that does not take it is found out by what it does not answer.
    async fn send(&mut self, order: &Order) {
        if let Ok(frame) = wire::encode(order) {
            let _ = self.control.write_all(&frame).await;
        }
    }

    /// Nobody reaps the tree any more in the proper way: the cgroup, where there is one, and the launcher kill it.
    fn lost(&self, canceled: Option<String>, why: &str) -> Ended {
        if let Some(group) = self.place.group() {
            let _ = group.kill();
        }
        Ended { canceled, ..Ended::lost(why) }
    }
}

pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

impl Pipes {
    /// Waits until one of the two has something, and takes it.
    async fn read_some(&mut self, output: &Output) {
        let is_done = tokio::select! {
            () = readable(self.stdout.as_ref()) => (Stream::Stdout, take(self.stdout.as_ref(), Stream::Stdout, output)),
            () = readable(self.stderr.as_ref()) => (Stream::Stderr, take(self.stderr.as_ref(), Stream::Stderr, output)),
        };
        match is_done {
            (Stream::Stdout, Taken::All) => self.stdout = None,
            (Stream::Stderr, Taken::All) => self.stderr = None,
            (_, Taken::Some) => {}
        }
    }

    /// What still lies there after the tree's end. A descriptor that was handed to a foreign process may go on forever: it is
    /// not followed.
    fn read_rest(&self, output: &Output) {
        take(self.stdout.as_ref(), Stream::Stdout, output);
        take(self.stderr.as_ref(), Stream::Stderr, output);
    }
}

async fn readable(pipe: Option<&pipe::Receiver>) {
    match pipe {
        Some(pipe) => {
            let _ = pipe.readable().await;
        }
        None => std::future::pending().await,
    }
}

#[derive(PartialEq, Eq)]
enum Taken {
    Some,
    /// There will be no more.
    All,
}

fn take(pipe: Option<&pipe::Receiver>, stream: Stream, output: &Output) -> Taken {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_LENGTH]);
    }
    let Some(pipe) = pipe else { return Taken::All };
    BUFFER.with_borrow_mut(|buffer| {
        for _ in 0..READS_IN_A_ROW {
            match pipe.try_read(buffer) {
                Ok(0) => return Taken::All,
                Ok(count) => output.push(stream, &buffer[..count], SystemTime::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Taken::Some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Taken::All,
            }
        }
        Taken::Some
    })
}
