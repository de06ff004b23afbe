//! Connections shared by all workers: how many one origin may have, and which are idle.
//!
//! A *seat* is the right to have one request under way at an origin. A worker waits for its first seat in order of
//! arrival; further ones it takes only while they are free, and gives them up when another worker waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::address::Reach;
use super::origin::Origin;
use super::outgoing::Outgoing;
use super::stream::Stream;

/// How long a connection without a request is kept.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Idle connections over all origins; each is a file descriptor.
const IDLE_COUNT_MAX: usize = 128;
/// How long a path is taken for what it was.
const LOSSY_MAX: Duration = Duration::from_mins(10);
/// Origins whose peculiarities are remembered.
const TRAITS_MAX: usize = 1024;

/// What was learned about an origin, for the lifetime of the service.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traits {
    /// Answers If-Range with the whole file although its validator is equal.
    pub(crate) ignores_if_range: bool,
    /// Refused a request over HTTP/2 (HTTP_1_1_REQUIRED).
    pub(crate) needs_http1: bool,
    /// Agreed on HTTP/1.1 when HTTP/2 was offered.
    pub(crate) chose_http1: bool,
    /// Does not answer `Expect: 100-continue`, or refuses it.
    pub(crate) ignores_expect: bool,
    /// Took up no credential but as Digest.
    pub(crate) asks_digest: bool,
    /// Has taken a large body.
    pub(crate) takes_bodies: bool,
    /// When its path last lost packets although none waited in a queue.
    pub(crate) lossy: Option<Instant>,
}

/// The way by which a connection was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Route {
    /// Tells a proxy and who we are to it from all others; `None` goes directly.
    pub(crate) proxy: Option<Arc<str>>,
    /// As whom we are known at its other end.
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) reach: Reach,
}

impl Route {
    /// Whether who would go this way may use a connection that was made by `made`, with `remote` at its other end.
    fn allows(&self, made: &Self, remote: std::net::IpAddr) -> bool {
        match &self.proxy {
            _ if self.identity != made.identity => false,
            None => made.proxy.is_none() && self.reach.from == made.reach.from && self.reach.allows(remote),
            // The other end is the proxy: what the server's address may be was seen to when it was made.
            Some(_) => self == made,
        }
    }
}

pub(crate) struct Pool {
    state: Mutex<State>,
}

struct State {
    seats_max: usize,
    hosts: HashMap<Origin, Host>,
    traits: HashMap<Origin, Traits>,
    idle_count: usize,
    is_sweeping: bool,
}

#[derive(Default)]
struct Host {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Seat>>,
    /// Those of the taken seats that can be called back.
    spare: Vec<Weak<Notify>>,
    idle: Vec<Idle>,
    http2: Vec<Shared>,
    /// Held while the first connection finds out which protocol the origin speaks.
    greeting: Arc<tokio::sync::Mutex<()>>,
}

struct Idle {
    stream: Stream,
    since: Instant,
}

struct Shared {
    connection: Http2Connection,
    since: Instant,
}

/// A connection that several requests use at a time.
#[derive(Clone)]
pub(crate) struct Http2Connection {
    pub(crate) sender: http2::SendRequest<Outgoing>,
    pub(crate) remote: std::net::SocketAddr,
    pub(crate) local: std::net::SocketAddr,
    pub(crate) route: Route,
    /// One clone per request under way, beside the pool's own.
    pub(crate) users: Arc<()>,
    /// With which reason the connection ended; closed when it ended without one.
    pub(crate) farewell: watch::Receiver<Option<h2::Reason>>,
}

/// The right to one request at a time at an origin. Dropping it lets the next one in.
pub(crate) struct Seat {
    pool: Arc<Pool>,
    origin: Origin,
    recall: Option<Arc<Notify>>,
    shared: Option<Arc<()>>,
}

impl Pool {
    pub(crate) fn new(seats_max: u32) -> Arc<Self> {
        let state = State {
            seats_max: seats_max.max(1) as usize,
            hosts: HashMap::new(),
            traits: HashMap::new(),
            idle_count: 0,
            is_sweeping: false,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Waits for a seat; those who came first go first.
    pub(crate) async fn seat(self: &Arc<Self>, origin: &Origin) -> Seat {
        loop {
            let turn = {
                let mut state = self.state();
                let seats_max = state.seats_max;
                let host = state.hosts.entry(origin.clone()).or_default();
                if host.taken < seats_max && host.waiting.is_empty() {
                    host.taken += 1;
                    None
                } else {
                    if let Some(recall) = host.spare.pop().and_then(|recall| recall.upgrade()) {
                        recall.notify_one();
                    }
                    let (sender, receiver) = oneshot::channel();
                    host.waiting.push_back(sender);
                    Some(receiver)
                }
            };
            match turn {
                None => return self.make_seat(origin.clone(), None),
                Some(receiver) => {
                    if let Ok(seat) = receiver.await {
                        return seat;
                    }
                }
            }
        }
    }

    /// A further seat, if one is free and nobody waits. It may be called back: see [`Seat::recalled`].
    pub(crate) fn spare_seat(self: &Arc<Self>, origin: &Origin) -> Option<Seat> {
        let recall = Arc::new(Notify::new());
        {
            let mut state = self.state();
            let seats_max = state.seats_max;
            let host = state.hosts.entry(origin.clone()).or_default();
            if host.taken >= seats_max || !host.waiting.is_empty() {
                return None;
            }
            host.taken += 1;
            host.spare.retain(|known| known.strong_count() > 0);
            host.spare.push(Arc::downgrade(&recall));
        }
        Some(self.make_seat(origin.clone(), Some(recall)))
    }

    fn make_seat(self: &Arc<Self>, origin: Origin, recall: Option<Arc<Notify>>) -> Seat {
        Seat { pool: Arc::clone(self), origin, recall, shared: None }
    }

    pub(crate) fn set_seats(self: &Arc<Self>, seats_max: u32) {
        let woken = {
            let mut state = self.state();
            state.seats_max = seats_max.max(1) as usize;
            let seats_max = state.seats_max;
            let mut woken = Vec::new();
            for (origin, host) in &mut state.hosts {
                while host.taken < seats_max {
                    let Some(waiter) = host.waiting.pop_front() else { break };
                    host.taken += 1;
                    woken.push((origin.clone(), waiter));
                }
            }
            woken
        };
        for (origin, waiter) in woken {
            // A waiter that is gone drops the seat, which lets the next one in.
            let _ = waiter.send(self.make_seat(origin, None));
        }
    }

    /// Passes the seat on, or frees it.
    fn leave(self: &Arc<Self>, origin: &Origin) {
        let next = {
            let mut state = self.state();
            let seats_max = state.seats_max;
            let Some(host) = state.hosts.get_mut(origin) else { return };
            let next = if host.taken <= seats_max { host.waiting.pop_front() } else { None };
            if next.is_none() {
                host.taken -= 1;
                state.forget_if_unused(origin);
            }
            next
        };
        if let Some(waiter) = next {
            let _ = waiter.send(self.make_seat(origin.clone(), None));
        }
    }

    /// The youngest idle connection that is still good.
    pub(crate) fn take_idle(&self, origin: &Origin, route: &Route) -> Option<Stream> {
        let mut state = self.state();
        let state = &mut *state;
        let host = state.hosts.get_mut(origin)?;
        let mut index = host.idle.len();
        while index > 0 {
            index -= 1;
            let stream = &mut host.idle[index].stream;
            if !stream.is_quiet() {
                host.idle.swap_remove(index);
                state.idle_count -= 1;
            } else if route.allows(&stream.route, stream.remote.ip()) {
                state.idle_count -= 1;
                return Some(host.idle.swap_remove(index).stream);
            }
        }
        None
    }

    fn keep_idle(self: &Arc<Self>, origin: &Origin, stream: Stream) {
        let mut state = self.state();
        if state.idle_count >= IDLE_COUNT_MAX {
            return;
        }
        state.idle_count += 1;
        let host = state.hosts.entry(origin.clone()).or_default();
        host.idle.push(Idle { stream, since: Instant::now() });
        self.ensure_sweeping(&mut state);
    }

    /// An open HTTP/2 connection.
    pub(crate) fn http2(&self, origin: &Origin, route: &Route) -> Option<Http2Connection> {
        let mut state = self.state();
        let host = state.hosts.get_mut(origin)?;
        host.http2.retain(|shared| !shared.connection.sender.is_closed());
        host.http2
            .iter()
            .map(|shared| &shared.connection)
            .find(|known| route.allows(&known.route, known.remote.ip()) && known.sender.is_ready())
            .cloned()
    }

    pub(crate) fn share_http2(self: &Arc<Self>, origin: &Origin, connection: Http2Connection) {
        let mut state = self.state();
        let host = state.hosts.entry(origin.clone()).or_default();
        host.http2.push(Shared { connection, since: Instant::now() });
    }

    /// No further request goes over the origin's present HTTP/2 connections.
    pub(crate) fn retire_http2(&self, origin: &Origin) {
        if let Some(host) = self.state().hosts.get_mut(origin) {
            host.http2.clear();
        }
    }

    /// To be held while connecting to an origin whose protocol is not known yet.
    pub(crate) fn greeting(&self, origin: &Origin) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.state().hosts.entry(origin.clone()).or_default().greeting)
    }

    pub(crate) fn traits(&self, origin: &Origin) -> Traits {
        self.state().traits.get(origin).copied().unwrap_or_default()
    }

    pub(crate) fn learn(&self, origin: &Origin, lesson: impl FnOnce(&mut Traits)) {
        let mut state = self.state();
        if state.traits.len() >= TRAITS_MAX && !state.traits.contains_key(origin) {
            state.traits.clear();
        }
        lesson(state.traits.entry(origin.clone()).or_default());
    }

    pub(crate) fn note_lossy(&self, origin: &Origin) {
        self.learn(origin, |traits| traits.lossy = Some(Instant::now()));
    }

    pub(crate) fn is_lossy(&self, origin: &Origin) -> bool {
        self.traits(origin).lossy.is_some_and(|at| at.elapsed() < LOSSY_MAX)
    }

    /// Closes what is idle, shares nothing further of what is open and forgets what the paths were like.
    pub(crate) fn drop_idle(&self) {
        let mut state = self.state();
        state.traits.values_mut().for_each(|traits| traits.lossy = None);
        state.idle_count = 0;
        for host in state.hosts.values_mut() {
            host.idle.clear();
            host.http2.clear();
        }
        state.hosts.retain(|_, host| host.is_used());
    }

    /// One sleeping worker while anything is idle, none otherwise.
    fn ensure_sweeping(self: &Arc<Self>, state: &mut State) {
        if !std::mem::replace(&mut state.is_sweeping, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

async fn sweep(pool: Weak<Pool>) {
    let mut next = Instant::now() + IDLE_MAX;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.state();
        match state.close_idle(Instant::now()) {
            Some(oldest) => next = oldest + IDLE_MAX,
            None => {
                state.is_sweeping = false;
                return;
            }
        }
    }
}

impl State {
    /// Closes what has been idle for too long and tells since when the oldest of the rest is.
    fn close_idle(&mut self, now: Instant) -> Option<Instant> {
        let mut oldest: Option<Instant> = None;
        let mut count = 0;
        let mut note = |since: Instant| oldest = Some(oldest.map_or(since, |known| known.min(since)));
        self.hosts.retain(|_, host| {
            host.idle.retain(|idle| now - idle.since < IDLE_MAX);
            host.idle.iter().for_each(|idle| note(idle.since));
            count += host.idle.len();
            host.http2.retain(|shared| shared.is_used() || now - shared.since < IDLE_MAX);
            host.http2.iter().filter(|shared| !shared.is_used()).for_each(|shared| note(shared.since));
            host.is_used()
        });
        self.idle_count = count;
        oldest
    }

    fn forget_if_unused(&mut self, origin: &Origin) {
        if self.hosts.get(origin).is_some_and(|host| !host.is_used()) {
            self.hosts.remove(origin);
        }
    }
}

impl Host {
    fn is_used(&self) -> bool {
        self.taken > 0 || !self.waiting.is_empty() || !self.idle.is_empty() || !self.http2.is_empty()
    }
}

impl Shared {
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.connection.users) > 1
    }
}

impl Seat {
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Resolves when another worker waits for this seat; never for one that was waited for itself.
    pub(crate) fn recalled(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let recall = self.recall.clone();
        async move {
            match recall {
                Some(recall) => recall.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Counts the seat as a user of an HTTP/2 connection.
    pub(crate) fn use_shared(&mut self, connection: &Http2Connection) {
        self.shared = Some(Arc::clone(&connection.users));
    }

    /// Keeps a connection that can carry another request.
    pub(crate) fn keep(&self, stream: Stream) {
        self.pool.keep_idle(&self.origin, stream);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.shared.take().is_some() {
            let mut state = self.pool.state();
            if let Some(host) = state.hosts.get_mut(&self.origin) {
                let now = Instant::now();
                host.http2
                    .iter_mut()
                    .filter(|shared| !shared.is_used())
                    .for_each(|shared| shared.since = now);
                if !host.http2.is_empty() {
                    self.pool.ensure_sweeping(&mut state);
                }
            }
        }
        self.pool.leave(&self.origin);
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
