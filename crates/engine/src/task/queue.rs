//! Who starts next: firings that nothing holds back but the number of instances at one time. First come, first served,
//! runs by hand before all others, and an application that has as many instances as it may does not stand in the way.

use std::collections::{BTreeMap, BTreeSet};

use longhaul_contract::{AppId, TaskId};

/// Where a firing stands: by hand or not, then in the order they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) is_automatic: bool,
    pub(crate) order: u64,
    pub(crate) id: TaskId,
}

#[derive(Debug, Default)]
struct Lane {
    running: u32,
    ready: BTreeSet<Place>,
    /// What of it stands among the heads.
    head: Option<Place>,
}

#[derive(Debug)]
pub(crate) struct TaskQueue {
    lanes: BTreeMap<AppId, Lane>,
    /// The first of each application that may have one more.
    heads: BTreeMap<Place, AppId>,
    running: u32,
    at_once: u32,
    at_once_per_application: u32,
}

impl TaskQueue {
    pub(crate) fn new(at_once: u32, at_once_per_application: u32) -> Self {
        Self { lanes: BTreeMap::new(), heads: BTreeMap::new(), running: 0, at_once, at_once_per_application }
    }

    pub(crate) fn enter(&mut self, app: &AppId, place: Place) {
        self.change(app, |lane| {
            lane.ready.insert(place);
        });
    }

    pub(crate) fn leave(&mut self, app: &AppId, place: Place) {
        self.change(app, |lane| {
            lane.ready.remove(&place);
        });
    }

    pub(crate) fn started(&mut self, app: &AppId) {
        self.running += 1;
        self.change(app, |lane| lane.running += 1);
    }

    pub(crate) fn ended(&mut self, app: &AppId) {
        self.running = self.running.saturating_sub(1);
        self.change(app, |lane| lane.running = lane.running.saturating_sub(1));
    }

    /// The registration whose turn it is, if an instance more may run.
    pub(crate) fn next(&self) -> Option<TaskId> {
        if self.is_full() {
            return None;
        }
        self.heads.first_key_value().map(|(place, _)| place.id)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.running >= self.at_once
    }

    pub(crate) fn is_full_for(&self, app: &AppId) -> bool {
        self.running_of(app) >= self.at_once_per_application
    }

    pub(crate) fn running(&self) -> u32 {
        self.running
    }

    pub(crate) fn running_of(&self, app: &AppId) -> u32 {
        self.lanes.get(app).map_or(0, |lane| lane.running)
    }

    fn change(&mut self, app: &AppId, change: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(app.clone()).or_default();
        change(lane);
        let head = lane.ready.first().copied().filter(|_| lane.running < self.at_once_per_application);
        if head != lane.head {
            if let Some(before) = std::mem::replace(&mut lane.head, head) {
                self.heads.remove(&before);
            }
            if let Some(head) = head {
                self.heads.insert(head, app.clone());
            }
        }
        if lane.running == 0 && lane.ready.is_empty() {
            self.lanes.remove(app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppId {
        AppId::new(&format!("org.example.{name}")).unwrap()
    }

    fn place(order: u64) -> Place {
        Place { is_automatic: true, order, id: TaskId::from_parts(order, &[0; 10]) }
    }

    #[test]
    fn first_come_first_served_within_both_limits() {
        let mut queue = TaskQueue::new(3, 2);
        let (one, other) = (app("One"), app("Other"));
        for order in 0..4 {
            queue.enter(&one, place(order));
        }
        queue.enter(&other, place(9));
        let mut started = Vec::new();
        while let Some(id) = queue.next() {
            let (app, place) =
                if id == place(9).id { (&other, place(9)) } else { (&one, place(started.len() as u64)) };
            queue.leave(app, place);
            queue.started(app);
            started.push(place.order);
        }
        assert_eq!(started, [0, 1, 9], "the third of one application lets the other pass");
        assert!(queue.is_full());
        queue.ended(&other);
        assert_eq!(queue.next(), None, "one application has its two");
        queue.ended(&one);
        assert_eq!(queue.next(), Some(place(2).id));
        queue.enter(&one, Place { is_automatic: false, ..place(50) });
        assert_eq!(queue.next(), Some(place(50).id), "a run by hand goes first");
    }

    #[test]
    fn nothing_is_kept_of_applications_at_rest() {
        let mut queue = TaskQueue::new(1, 1);
        queue.enter(&app("One"), place(1));
        queue.started(&app("One"));
        queue.leave(&app("One"), place(1));
        queue.ended(&app("One"));
        assert!(queue.lanes.is_empty() && queue.heads.is_empty());
    }
}
