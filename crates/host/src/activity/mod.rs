//! What the user's body does (ActivitySensor): from sensors of the kernel that tell it themselves, or from an accelerometer
//! (the kernel's industrial I/O, sysfs-bus-iio). They have to be asked, so they are, at the interval that somebody wants
//! it at, and only while somebody does.
//!
//! Deliberately absent: iio-sensor-proxy, which tells how a screen is held and not how its bearer moves.

mod classify;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longhaul_contract::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::facts::{Fact, Reports};
use crate::uevent::UeventWatch;
use crate::wants::{Want, WantId, Wants};
use crate::watch::HostChange;
use classify::{COUNT, RATE, classify};

/// Below the root.
const FOLDER: &str = "sys/bus/iio/devices";
const SUBSYSTEM: &str = "iio";

/// What a sensor says with less certainty (per cent) is not taken for a change.
const CERTAIN_MIN: u32 = 60;

const INTERVAL_MIN: Duration = Duration::from_secs(1);
const ACCELEROMETER_INTERVAL_MIN: Duration = Duration::from_secs(15);

/// Those of ActivityType that can be told by some sensor here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Activity {
    Stationary,
    Walking,
    Running,
}

impl Activity {
    pub const ALL: [Self; 3] = [Self::Stationary, Self::Walking, Self::Running];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stationary => "Stationary",
            Self::Walking => "Walking",
            Self::Running => "Running",
        }
    }
}

/// The kernel's words for what such sensors tell (`in_activity_*_input`).
const CHANNELS: [(&str, Activity); 4] = [
    ("still", Activity::Stationary),
    ("walking", Activity::Walking),
    ("jogging", Activity::Running),
    ("running", Activity::Running),
];

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sensor {
    /// Tells activities itself.
    Activity(PathBuf, Vec<(&'static str, Activity)>),
    Accelerometer(PathBuf),
}

/// What can be told, and from what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) activities: BTreeSet<Activity>,
    pub(crate) source: &'static str,
}

impl Sensor {
    /// The best of what there is: one that knows by itself, or an accelerometer.
    fn find(root: &Path) -> io::Result<Option<Self>> {
        let entries = match fs::read_dir(root.join(FOLDER)) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut accelerometer = None;
        for path in entries.into_iter().map(|entry| entry.path()) {
            let has = |word: &str| path.join(format!("in_activity_{word}_input")).exists();
            let channels: Vec<_> = CHANNELS.into_iter().filter(|(word, _)| has(word)).collect();
            if !channels.is_empty() {
                return Ok(Some(Self::Activity(path, channels)));
            }
            if path.join("in_accel_x_raw").exists() {
                accelerometer = Some(Self::Accelerometer(path));
            }
        }
        Ok(accelerometer)
    }

    fn told(&self) -> Told {
        match self {
            Self::Activity(_, channels) => Told {
                activities: channels.iter().map(|(_, activity)| *activity).collect(),
                source: "an activity sensor of the kernel",
            },
            Self::Accelerometer(_) => Told {
                activities: Activity::ALL.into(),
                source: "an accelerometer, from which it is inferred",
            },
        }
    }

    /// Measuring takes some seconds.
    fn interval_min(&self) -> Duration {
        match self {
            Self::Activity(..) => INTERVAL_MIN,
            Self::Accelerometer(_) => ACCELEROMETER_INTERVAL_MIN,
        }
    }

    /// What is done now and whether that is certain; `None` where it cannot be told.
    async fn read(&self) -> io::Result<Option<(Activity, bool)>> {
        match self {
            Self::Activity(folder, channels) => {
                let mut best: Option<(u32, Activity)> = None;
                for (word, activity) in channels {
                    let certainty = number(&folder.join(format!("in_activity_{word}_input")))?;
                    let certainty = if certainty.is_sign_negative() { 0 } else { certainty as u32 };
                    best = best.max(Some((certainty, *activity)));
                }
                Ok(best.filter(|(certainty, _)| *certainty >= CERTAIN_MIN).map(|(_, found)| (found, true)))
            }
            Self::Accelerometer(folder) => {
                let lengths = measure(folder).await?;
                Ok(classify(&lengths).map(|found| (found, false)))
            }
        }
    }
}

fn number(file: &Path) -> io::Result<f64> {
    let text = fs::read_to_string(file)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no number"))
}

/// Lengths of the vectors of some seconds, in metres per second squared.
async fn measure(folder: &Path) -> io::Result<Vec<f64>> {
    let scale = |axis: &str| {
        let own = number(&folder.join(format!("in_accel_{axis}_scale")));
        own.or_else(|_| number(&folder.join("in_accel_scale"))).unwrap_or(1.0)
    };
    let axes = ["x", "y", "z"].map(|axis| (folder.join(format!("in_accel_{axis}_raw")), scale(axis)));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lengths = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        ticks.tick().await;
        let mut square = 0.0;
        for (file, scale) in &axes {
            let value = number(file)? * scale;
            square += value * value;
        }
        lengths.push(square.sqrt());
    }
    Ok(lengths)
}

/// What somebody wants.
#[derive(Debug)]
struct Follower {
    activities: Vec<Activity>,
    interval: Duration,
    due: Instant,
    last: Option<Activity>,
}

/// What is kept of a want.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    activity: Activity,
}

#[derive(Debug)]
struct Activities {
    root: PathBuf,
    wants: watch::Receiver<Wants>,
    followers: BTreeMap<WantId, Follower>,
}

/// Tells activities for as long as they are wanted; never returns.
pub(crate) async fn follow_activity(root: PathBuf, wants: watch::Receiver<Wants>, reports: Reports) {
    let mut activities = Activities { root, wants, followers: BTreeMap::new() };
    let mut events = UeventWatch::open().ok();
    loop {
        let sensor = activities.look(&reports);
        activities.renew();
        tokio::select! {
            changed = activities.wants.changed() => if changed.is_err() { return },
            () = sensors_changed(events.as_mut()) => {}
            () = ask_in_turn(&mut activities.followers, sensor.as_ref(), &reports) => {}
        }
    }
}

async fn sensors_changed(events: Option<&mut UeventWatch>) {
    let Some(events) = events else { return std::future::pending().await };
    loop {
        match events.next().await {
            Ok(Some(event)) if event.subsystem != SUBSYSTEM => {}
            Ok(_) => return,
            Err(_) => return std::future::pending().await,
        }
    }
}

impl Activities {
    fn look(&self, reports: &Reports) -> Option<Sensor> {
        let found = Sensor::find(&self.root);
        reports.fact(Fact::Activity(match &found {
            Ok(Some(sensor)) => Ok(sensor.told()),
            Ok(None) => Err("the kernel knows no sensor of activity and no accelerometer".to_owned()),
            Err(error) => Err(format!("the kernel's sensors cannot be looked at: {error}")),
        }));
        found.ok().flatten()
    }

    fn renew(&mut self) {
        let wants = self.wants.borrow_and_update();
        self.followers.retain(|id, known| match wants.get(id) {
            Some(Want::Activity { activities, interval, .. }) => {
                *activities == known.activities && *interval == known.interval
            }
            _ => false,
        });
        for (id, want) in wants.iter() {
            let Want::Activity { activities, interval, kept } = want else { continue };
            self.followers.entry(*id).or_insert_with(|| {
                let kept = kept.clone().and_then(|kept| serde_json::from_value::<Kept>(kept).ok());
                Follower {
                    activities: activities.clone(),
                    interval: *interval,
                    due: Instant::now(),
                    last: kept.map(|kept| kept.activity),
                }
            });
        }
    }
}

/// Asks the sensor whenever somebody wants to know; returns when it fails.
async fn ask_in_turn(followers: &mut BTreeMap<WantId, Follower>, sensor: Option<&Sensor>, reports: &Reports) {
    let Some(sensor) = sensor else { return std::future::pending().await };
    loop {
        let Some(due) = followers.values().map(|follower| follower.due).min() else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(due).await;
        let found = match sensor.read().await {
            Ok(found) => found,
            Err(error) => {
                tracing::info!(%error, "a sensor of activity does not answer");
                tokio::time::sleep(Duration::from_secs(10)).await;
                return;
            }
        };
        let now = Instant::now();
        for (id, follower) in followers.iter_mut().filter(|(_, follower)| follower.due <= now) {
            follower.due = now + follower.interval.max(sensor.interval_min());
            if let Some((activity, is_certain)) = found {
                follower.tell(*id, activity, is_certain, reports);
            }
        }
    }
}

impl Follower {
    /// The first look is no change.
    fn tell(&mut self, id: WantId, activity: Activity, is_certain: bool, reports: &Reports) {
        let before = self.last.replace(activity);
        if before == Some(activity) {
            return;
        }
        let is_wanted = self.activities.is_empty() || self.activities.contains(&activity);
        if is_wanted && before.is_some() {
            let report = json!({
                "activity": activity.word(),
                "confidence": if is_certain { "High" } else { "Low" },
                "timestamp": Timestamp::now(),
            });
            reports.change(HostChange::Wanted(id, json!({ "reports": [report] })));
        }
        reports.change(HostChange::Kept(id, json!(Kept { activity })));
    }
}
