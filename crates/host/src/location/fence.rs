//! Whether somebody is inside a place (Windows.Devices.Geolocation.Geofencing): decided only by positions that are exact
//! enough to tell, and only after it has been so for the dwell time. Deliberately absent: clocks; times are arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_contract::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Mean radius of the Earth in metres (IUGG).
const EARTH: f64 = 6_371_008.8;

/// One place.
#[derive(Debug, Clone, PartialEq)]
pub struct Fence {
    pub id: String,
    /// Degrees (WGS 84).
    pub latitude: f64,
    pub longitude: f64,
    /// Metres.
    pub radius: f64,
    pub tells_entered: bool,
    pub tells_exited: bool,
    /// For both directions.
    pub dwell: Duration,
    /// It is over once all that it tells has happened.
    pub is_single_use: bool,
    pub starts: Option<Timestamp>,
    /// Absent is for ever.
    pub duration: Option<Duration>,
}

/// Where the machine is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Position {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    /// Metres that it may be off.
    pub(crate) accuracy: f64,
}

impl Position {
    /// Metres over the ground (haversine formula).
    fn distance(&self, latitude: f64, longitude: f64) -> f64 {
        let (one, other) = (self.latitude.to_radians(), latitude.to_radians());
        let across = (other - one) / 2.0;
        let along = (longitude - self.longitude).to_radians() / 2.0;
        let square = across.sin().powi(2) + one.cos() * other.cos() * along.sin().powi(2);
        2.0 * EARTH * square.sqrt().min(1.0).asin()
    }
}

/// The words are those of GeofenceState.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum State {
    #[default]
    None,
    Entered,
    Exited,
}

/// What outlives a restart, of one fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    state: State,
    has_entered: bool,
    has_exited: bool,
    is_removed: bool,
}

#[derive(Debug)]
struct Tracked {
    fence: Fence,
    kept: Kept,
    /// What the positions say, and since when, where it is not what holds.
    leans: Option<(State, Instant)>,
}

/// All fences of one registration.
#[derive(Debug)]
pub(crate) struct Tracker {
    since: Timestamp,
    fences: Vec<Tracked>,
    position: Option<Position>,
}

/// What has happened, for the task and to be kept.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Absent when nothing of it starts a task.
    pub(crate) details: Option<Value>,
    pub(crate) kept: Value,
}

impl Tracker {
    pub(crate) fn new(fences: &[Fence], since: Timestamp, kept: Option<&Value>) -> Self {
        let kept: BTreeMap<String, Kept> =
            kept.and_then(|kept| serde_json::from_value(kept.clone()).ok()).unwrap_or_default();
        let fences = fences.iter().map(|fence| Tracked {
            kept: kept.get(&fence.id).copied().unwrap_or_default(),
            fence: fence.clone(),
            leans: None,
        });
        Self { since, fences: fences.collect(), position: None }
    }

    /// Whether positions are needed: some fence is neither over nor still to begin.
    pub(crate) fn needs_positions(&self, now: Timestamp) -> bool {
        self.fences.iter().any(|tracked| tracked.is_active(self.since, now))
    }

    /// The machine is here.
    pub(crate) fn take(&mut self, position: Position, now: Instant, wall: Timestamp) -> Option<Outcome> {
        self.position = Some(position);
        let since = self.since;
        for tracked in self.fences.iter_mut().filter(|tracked| tracked.is_active(since, wall)) {
            tracked.lean(position, now);
        }
        self.settle(now, wall)
    }

    /// What time alone has brought about.
    pub(crate) fn settle(&mut self, now: Instant, wall: Timestamp) -> Option<Outcome> {
        let mut reports = Vec::new();
        let mut starts_task = false;
        let mut is_news = false;
        let (since, position) = (self.since, self.position);
        for tracked in &mut self.fences {
            let before = tracked.kept;
            if !before.is_removed && tracked.is_over(since, wall) {
                tracked.kept.is_removed = true;
                tracked.leans = None;
                reports.push(tracked.report("Removed", Some("Expired"), position, wall));
            } else if let Some(state) = tracked.settled(now) {
                if tracked.turn(state) {
                    starts_task = true;
                    let word = if state == State::Entered { "Entered" } else { "Exited" };
                    reports.push(tracked.report(word, None, position, wall));
                }
                if tracked.is_used_up() {
                    tracked.kept.is_removed = true;
                    reports.push(tracked.report("Removed", Some("Used"), position, wall));
                }
            }
            is_news |= before != tracked.kept;
        }
        let details = starts_task.then(|| json!({ "reports": reports }));
        is_news.then(|| Outcome { details, kept: self.kept() })
    }

    fn kept(&self) -> Value {
        let all: BTreeMap<&str, Kept> =
            self.fences.iter().map(|tracked| (tracked.fence.id.as_str(), tracked.kept)).collect();
        json!(all)
    }

    /// When the next dwell time is over.
    pub(crate) fn next_settling(&self) -> Option<Instant> {
        self.fences.iter().filter_map(|tracked| Some(tracked.leans?.1 + tracked.fence.dwell)).min()
    }

    /// When the next fence begins or ends.
    pub(crate) fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        let living = self.fences.iter().filter(|tracked| !tracked.kept.is_removed);
        let edges = living.flat_map(|tracked| [tracked.fence.starts, tracked.end(self.since)]);
        edges.flatten().filter(|edge| *edge > now).min()
    }
}

impl Tracked {
    fn end(&self, since: Timestamp) -> Option<Timestamp> {
        let begin = self.fence.starts.unwrap_or(since);
        let micros = i64::try_from(self.fence.duration?.as_micros()).unwrap_or(i64::MAX);
        Some(Timestamp(begin.0.saturating_add(micros)))
    }

    fn is_over(&self, since: Timestamp, now: Timestamp) -> bool {
        self.end(since).is_some_and(|end| end <= now)
    }

    fn is_active(&self, since: Timestamp, now: Timestamp) -> bool {
        !self.kept.is_removed
            && !self.is_over(since, now)
            && self.fence.starts.is_none_or(|starts| starts <= now)
    }

    /// A position that could be on either side of the border changes nothing.
    fn lean(&mut self, position: Position, now: Instant) {
        let distance = position.distance(self.fence.latitude, self.fence.longitude);
        let state = if distance + position.accuracy <= self.fence.radius {
            State::Entered
        } else if distance - position.accuracy >= self.fence.radius {
            State::Exited
        } else {
            return;
        };
        if state == self.kept.state {
            self.leans = None;
        } else if self.leans.is_none_or(|(leans, _)| leans != state) {
            self.leans = Some((state, now));
        }
    }

    fn settled(&self, now: Instant) -> Option<State> {
        self.leans.filter(|(_, since)| now >= *since + self.fence.dwell).map(|(state, _)| state)
    }

    /// It is so from now on; answers whether that is to be told. Whoever was outside from the beginning has not left.
    fn turn(&mut self, state: State) -> bool {
        let before = std::mem::replace(&mut self.kept.state, state);
        self.leans = None;
        match state {
            State::Entered => {
                self.kept.has_entered = true;
                self.fence.tells_entered
            }
            State::Exited if before == State::Entered => {
                self.kept.has_exited = true;
                self.fence.tells_exited
            }
            State::Exited | State::None => false,
        }
    }

    fn is_used_up(&self) -> bool {
        let Kept { has_entered, has_exited, .. } = self.kept;
        let Fence { tells_entered, tells_exited, is_single_use, .. } = &self.fence;
        *is_single_use && (has_entered || !tells_entered) && (has_exited || !tells_exited)
    }

    fn report(&self, state: &str, removal: Option<&str>, at: Option<Position>, now: Timestamp) -> Value {
        let mut report = json!({
            "geofenceId": self.fence.id,
            "newState": state,
            "timestamp": now,
        });
        if let Some(reason) = removal {
            report["removalReason"] = reason.into();
        }
        if let Some(Position { latitude, longitude, accuracy }) = at {
            report["geoposition"] =
                json!({ "latitude": latitude, "longitude": longitude, "accuracy": accuracy });
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metres of one degree of latitude.
    const DEGREE: f64 = EARTH * std::f64::consts::PI / 180.0;

    fn fence() -> Fence {
        Fence {
            id: "home".to_owned(),
            latitude: 52.5,
            longitude: 13.4,
            radius: 100.0,
            tells_entered: true,
            tells_exited: true,
            dwell: Duration::from_secs(10),
            is_single_use: false,
            starts: None,
            duration: None,
        }
    }

    /// So many metres north of the fence's centre.
    fn north(metres: f64, accuracy: f64) -> Position {
        Position { latitude: 52.5 + metres / DEGREE, longitude: 13.4, accuracy }
    }

    struct Walk {
        tracker: Tracker,
        start: Instant,
    }

    impl Walk {
        fn with(fence: Fence) -> Self {
            Self { tracker: Tracker::new(&[fence], Timestamp(0), None), start: Instant::now() }
        }

        fn at(&mut self, second: u64, position: Position) -> Vec<String> {
            let now = self.start + Duration::from_secs(second);
            told(self.tracker.take(position, now, Timestamp(i64::try_from(second).unwrap() * 1_000_000)))
        }

        fn wait(&mut self, second: u64) -> Vec<String> {
            let now = self.start + Duration::from_secs(second);
            told(self.tracker.settle(now, Timestamp(i64::try_from(second).unwrap() * 1_000_000)))
        }
    }

    fn told(outcome: Option<Outcome>) -> Vec<String> {
        let details = outcome.and_then(|outcome| outcome.details).unwrap_or_default();
        let reports = details["reports"].as_array().cloned().unwrap_or_default();
        reports.iter().map(|report| report["newState"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn distances_are_those_of_the_globe() {
        let berlin = Position { latitude: 52.52, longitude: 13.405, accuracy: 0.0 };
        let paris = berlin.distance(48.8566, 2.3522);
        assert!((877_000.0..879_000.0).contains(&paris), "{paris}");
        let over_the_edge = Position { latitude: 0.0, longitude: 179.9, accuracy: 0.0 }.distance(0.0, -179.9);
        assert!((over_the_edge - 0.2 * DEGREE).abs() < 1.0, "{over_the_edge}");
    }

    #[test]
    fn entering_and_leaving_take_the_dwell_time() {
        let mut walk = Walk::with(fence());
        assert!(walk.at(0, north(0.0, 5.0)).is_empty());
        assert!(walk.wait(9).is_empty());
        assert_eq!(walk.wait(10), ["Entered"], "no further position is needed");
        assert!(walk.at(20, north(300.0, 5.0)).is_empty());
        assert!(walk.at(25, north(0.0, 5.0)).is_empty(), "a short way out");
        assert!(walk.wait(40).is_empty());
        assert!(walk.at(50, north(300.0, 5.0)).is_empty());
        assert_eq!(walk.at(61, north(310.0, 5.0)), ["Exited"]);
    }

    #[test]
    fn whoever_begins_outside_has_not_left() {
        let mut walk = Walk::with(fence());
        assert!(walk.at(0, north(500.0, 5.0)).is_empty());
        assert!(walk.wait(60).is_empty());
        assert!(walk.at(70, north(0.0, 5.0)).is_empty());
        assert_eq!(walk.wait(80), ["Entered"]);
    }

    #[test]
    fn a_position_that_may_be_on_either_side_says_nothing() {
        let mut walk = Walk::with(fence());
        walk.at(0, north(0.0, 5.0));
        assert_eq!(walk.wait(10), ["Entered"]);
        // On the border, in its noise, for an hour.
        for second in 11..3600 {
            let metres = if second % 2 == 0 { 95.0 } else { 105.0 };
            assert!(walk.at(second, north(metres, 20.0)).is_empty());
        }
        assert!(walk.at(3600, north(5000.0, 10_000.0)).is_empty(), "far away, but it may be here");
        assert!(walk.wait(3700).is_empty());
    }

    #[test]
    fn a_fence_for_one_use_is_over_when_all_has_happened() {
        let mut walk = Walk::with(Fence { is_single_use: true, ..fence() });
        walk.at(0, north(0.0, 5.0));
        assert_eq!(walk.wait(10), ["Entered"]);
        walk.at(20, north(300.0, 5.0));
        assert_eq!(walk.wait(30), ["Exited", "Removed"]);
        assert!(!walk.tracker.needs_positions(Timestamp(31_000_000)));
        walk.at(40, north(0.0, 5.0));
        assert!(walk.wait(60).is_empty());
    }

    #[test]
    fn a_fence_holds_from_its_start_for_its_duration() {
        let timed = Fence {
            starts: Some(Timestamp(100_000_000)),
            duration: Some(Duration::from_secs(100)),
            ..fence()
        };
        let mut walk = Walk::with(timed);
        assert!(!walk.tracker.needs_positions(Timestamp(0)));
        assert_eq!(walk.tracker.next_edge(Timestamp(0)), Some(Timestamp(100_000_000)));
        walk.at(50, north(0.0, 5.0));
        assert!(walk.wait(99).is_empty());
        walk.at(100, north(0.0, 5.0));
        assert_eq!(walk.wait(110), ["Entered"]);
        assert_eq!(walk.tracker.next_edge(Timestamp(110_000_000)), Some(Timestamp(200_000_000)));
        assert!(walk.wait(200).is_empty(), "that it is over starts no task");
        assert!(!walk.tracker.needs_positions(Timestamp(200_000_000)));
    }

    #[test]
    fn what_is_kept_goes_on_after_a_restart() {
        let mut walk = Walk::with(fence());
        walk.at(0, north(0.0, 5.0));
        let start = walk.start;
        let outcome = walk.tracker.settle(start + Duration::from_secs(10), Timestamp(0)).unwrap();
        let mut tracker = Tracker::new(&[fence()], Timestamp(0), Some(&outcome.kept));
        assert_eq!(tracker.take(north(0.0, 5.0), start, Timestamp(0)), None, "it was inside before");
        assert_eq!(tracker.settle(start + Duration::from_secs(60), Timestamp(0)), None);
        tracker.take(north(300.0, 5.0), start, Timestamp(0));
        assert_eq!(told(tracker.settle(start + Duration::from_secs(10), Timestamp(0))), ["Exited"]);
    }
}
