//! Where the machine is, from GeoClue (org.freedesktop.GeoClue2), for those who want to be told of places they enter and
//! leave. GeoClue is asked, and started where it can be, only while somebody wants that.
//!
//! Deliberately absent: positions from network addresses of our own finding, and positions for anything but fences.

mod fence;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use longhaul_contract::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use zbus::{Message, OwnedObjectPath, Variant};

pub use fence::Fence;

use crate::bus::{BusSource, Owner, Rule, Signals};
use crate::facts::{Fact, Reports};
use crate::wants::{Fences, Want, WantId, Wants};
use crate::watch::HostChange;
use fence::{Outcome, Position, Tracker};

const NAME: &str = "org.freedesktop.GeoClue2";
const PATH: &str = "/org/freedesktop/GeoClue2/Manager";
const MANAGER: &str = "org.freedesktop.GeoClue2.Manager";
const CLIENT: &str = "org.freedesktop.GeoClue2.Client";
const LOCATION: &str = "org.freedesktop.GeoClue2.Location";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Name by which GeoClue's owner allows us (a section of geoclue.conf(5)).
const DESKTOP_ID: &str = "longhaul";
/// GClueAccuracyLevel: as exactly as can be.
const EXACT: u32 = 8;

/// After GeoClue gave no positions; twice as long each further time.
const PAUSE_MIN: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Longest time that is slept at once for a moment of the wall clock, which may be set meanwhile.
const LOOK_MAX: Duration = Duration::from_secs(3600);

/// What GeoClue can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Positions {
    /// Why it gives none although it was asked.
    pub(crate) trouble: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Location {
    wants: watch::Receiver<Wants>,
    /// Kept from one GeoClue to the next, so that its restart makes nobody come or go.
    trackers: BTreeMap<WantId, (Fences, Tracker)>,
}

impl Location {
    pub(crate) fn new(wants: watch::Receiver<Wants>) -> Self {
        Self { wants, trackers: BTreeMap::new() }
    }

    /// Takes over what is wanted now. What is kept is only for the beginning.
    fn renew(&mut self) {
        let wants = self.wants.borrow_and_update();
        let wanted = |id: &WantId| match wants.get(id) {
            Some(Want::Fences(fences)) => Some(fences),
            _ => None,
        };
        self.trackers.retain(|id, (known, _)| wanted(id).is_some_and(|now| now.fences == known.fences));
        for (id, want) in wants.iter() {
            if let Want::Fences(fences) = want {
                self.trackers.entry(*id).or_insert_with(|| {
                    let tracker = Tracker::new(&fences.fences, fences.since, fences.kept.as_ref());
                    (fences.clone(), tracker)
                });
            }
        }
    }

    fn needs_positions(&self) -> bool {
        let now = Timestamp::now();
        self.trackers.values().any(|(_, tracker)| tracker.needs_positions(now))
    }

    async fn run(&mut self, owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut pause = PAUSE_MIN;
        let mut trouble = None;
        loop {
            reports.fact(Fact::Location(Ok(Positions { trouble: trouble.take() })));
            self.renew();
            self.settle(reports);
            if !self.needs_positions() {
                self.rest(None).await;
                continue;
            }
            match Client::start(owner).await {
                Ok(client) => {
                    pause = PAUSE_MIN;
                    let ended = self.follow(&client, reports).await;
                    client.stop().await;
                    ended?;
                }
                Err(error) => {
                    tracing::info!(%error, "GeoClue gives no positions");
                    trouble = Some(explain(&error));
                    reports.fact(Fact::Location(Ok(Positions { trouble: trouble.clone() })));
                    self.rest(Some(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Waits until something else is wanted, some fence begins or ends, or time is up.
    async fn rest(&mut self, pause: Option<Duration>) {
        let now = Timestamp::now();
        let edge = self.trackers.values().filter_map(|(_, tracker)| tracker.next_edge(now)).min();
        let until_edge = edge.map(|edge| {
            Duration::from_micros(u64::try_from(edge.0.saturating_sub(now.0)).unwrap_or_default())
                .min(LOOK_MAX)
        });
        let rest = pause.into_iter().chain(until_edge).min();
        tokio::select! {
            changed = self.wants.changed() => if changed.is_err() { std::future::pending().await },
            () = sleep_for(rest) => {}
        }
    }

    /// Follows positions until none are needed or something else is wanted.
    async fn follow(&mut self, client: &Client<'_>, reports: &Reports) -> zbus::Result<()> {
        let mut signals = client.listen().await?;
        if let Some(position) = client.current().await? {
            self.take(position, reports);
        }
        loop {
            self.settle(reports);
            if !self.needs_positions() {
                return Ok(());
            }
            let settling = self.trackers.values().filter_map(|(_, tracker)| tracker.next_settling()).min();
            let now = Timestamp::now();
            let edge = self.trackers.values().filter_map(|(_, tracker)| tracker.next_edge(now)).min();
            let until_edge = edge.map(|edge| {
                let micros = u64::try_from(edge.0.saturating_sub(now.0)).unwrap_or_default();
                Duration::from_micros(micros).min(LOOK_MAX)
            });
            let until_settling = settling.map(|time| time.saturating_duration_since(Instant::now()));
            let rest = until_edge.into_iter().chain(until_settling).min();
            tokio::select! {
                signal = signals.next() => {
                    if let Some(position) = client.position(&signal?).await {
                        self.take(position, reports);
                    }
                }
                changed = self.wants.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    self.renew();
                }
                () = sleep_for(rest) => {}
            }
        }
    }

    fn take(&mut self, position: Position, reports: &Reports) {
        let (now, wall) = (Instant::now(), Timestamp::now());
        for (id, (_, tracker)) in &mut self.trackers {
            tell(*id, tracker.take(position, now, wall), reports);
        }
    }

    fn settle(&mut self, reports: &Reports) {
        let (now, wall) = (Instant::now(), Timestamp::now());
        for (id, (_, tracker)) in &mut self.trackers {
            tell(*id, tracker.settle(now, wall), reports);
        }
    }
}

/// The firing first: it is kept before what follows from it.
fn tell(id: WantId, outcome: Option<Outcome>, reports: &Reports) {
    let Some(Outcome { details, kept }) = outcome else { return };
    if let Some(details) = details {
        reports.change(HostChange::Wanted(id, details));
    }
    reports.change(HostChange::Kept(id, kept));
}

async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn explain(error: &zbus::Error) -> String {
    let is_silent =
        matches!(error, zbus::Error::InputOutput(error) if error.kind() == std::io::ErrorKind::TimedOut);
    if is_silent {
        return "GeoClue answers only where an agent decides for this user, such as that of a desktop, and \
                there is none"
            .to_owned();
    }
    format!("GeoClue gives no positions: {error}; allow it in a section [{DESKTOP_ID}] of geoclue.conf")
}

/// Our place at GeoClue: while it is started, GeoClue looks for positions.
struct Client<'a> {
    owner: &'a Owner,
    path: OwnedObjectPath,
}

impl<'a> Client<'a> {
    async fn start(owner: &'a Owner) -> zbus::Result<Self> {
        let reply = owner.call(PATH, MANAGER, "GetClient", &()).await?;
        let client = Self { owner, path: reply.body().deserialize()? };
        for (name, value) in
            [("DesktopId", Variant::from(DESKTOP_ID)), ("RequestedAccuracyLevel", Variant::from(EXACT))]
        {
            client.owner.call(client.path(), PROPERTIES, "Set", &(CLIENT, name, value)).await?;
        }
        Ok(client)
    }

    fn path(&self) -> &str {
        self.path.as_str()
    }

    /// Begins to be told; nothing that is told from the start on is missed.
    async fn listen(&self) -> zbus::Result<Signals> {
        let signals = self.owner.listen(&[Rule::signal(self.path(), CLIENT, "LocationUpdated")]).await?;
        self.owner.call(self.path(), CLIENT, "Start", &()).await?;
        Ok(signals)
    }

    async fn stop(&self) {
        // A client that is gone has stopped.
        let _ = self.owner.call(self.path(), CLIENT, "Stop", &()).await;
    }

    async fn current(&self) -> zbus::Result<Option<Position>> {
        let path = self.owner.properties(self.path(), CLIENT).await?.get::<OwnedObjectPath>("Location");
        match path.filter(|path| path.as_str() != "/") {
            Some(path) => Ok(self.read(path.as_str()).await),
            None => Ok(None),
        }
    }

    async fn position(&self, signal: &Message) -> Option<Position> {
        let (_, path): (OwnedObjectPath, OwnedObjectPath) = signal.body().deserialize().ok()?;
        self.read(path.as_str()).await
    }

    /// `None`: a newer one has taken its place.
    async fn read(&self, path: &str) -> Option<Position> {
        let properties = self.owner.properties(path, LOCATION).await.ok()?;
        Some(Position {
            latitude: properties.get("Latitude")?,
            longitude: properties.get("Longitude")?,
            accuracy: properties.get("Accuracy")?,
        })
    }
}

impl BusSource for Location {
    const NAME: &'static str = NAME;
    const DAEMON: &'static str = "GeoClue";

    fn absent(&self, reason: String) -> Fact {
        Fact::Location(Err(reason))
    }

    async fn needed(&mut self) {
        loop {
            self.renew();
            if self.needs_positions() {
                return;
            }
            self.rest(None).await;
        }
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = self.run(owner, reports).await;
        error
    }
}
