//! What is known of the operations that are followed.

use std::collections::HashMap;

use longhaul_contract::{Operation, OperationId, OperationKind, Progress, ReasonCode, TransferStatus};

use crate::describe;
use crate::exit::Exit;

/// One followed operation.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Escaped.
    pub(crate) name: String,
    pub(crate) kind: OperationKind,
    pub(crate) state: State,
    /// The reason that was last told, so that it is told once.
    told: Option<ReasonCode>,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Created, and nothing heard of it yet.
    Expected,
    Live(Box<Operation>),
    Ended(Box<Operation>),
    /// Forgotten by the service before its end was seen.
    Gone,
}

impl Item {
    /// Unless it is gone or nothing has been heard of it.
    pub(crate) fn operation(&self) -> Option<&Operation> {
        match &self.state {
            State::Live(operation) | State::Ended(operation) => Some(operation),
            State::Expected | State::Gone => None,
        }
    }

    /// Nothing more will happen without its caller.
    fn is_settled(&self) -> bool {
        match &self.state {
            State::Expected => false,
            State::Live(operation) => describe::needs_input(operation),
            State::Ended(_) | State::Gone => true,
        }
    }
}

/// What a person wants to be told when it happens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News {
    Ended(Box<Operation>),
    NeedsInput(Box<Operation>),
    /// It waits for something new.
    Waits(Box<Operation>),
    /// The name of one that was forgotten.
    Gone(String),
}

/// Sums over all followed operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) operations: usize,
    pub(crate) completed: usize,
    pub(crate) failed: usize,
    pub(crate) needing_input: usize,
    pub(crate) bytes_moved: u64,
    /// `None` while any size is unknown.
    pub(crate) bytes_total: Option<u64>,
    pub(crate) bytes_per_second: u64,
}

/// The followed operations in the order they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    order: Vec<OperationId>,
    items: HashMap<OperationId, Item>,
    /// Operations that were not asked for by id are taken up as they come.
    takes_all: bool,
}

impl Picture {
    /// Of operations that are named with [`Picture::expect`].
    pub(crate) fn of_expected() -> Self {
        Self::default()
    }

    /// Of all operations there are.
    pub(crate) fn of_all() -> Self {
        Self { takes_all: true, ..Self::default() }
    }

    pub(crate) fn expect(&mut self, id: OperationId, name: String) {
        self.expect_one_of(OperationKind::Download, id, name);
    }

    pub(crate) fn expect_one_of(&mut self, kind: OperationKind, id: OperationId, name: String) {
        self.order.push(id);
        self.items.insert(id, Item { name, kind, state: State::Expected, told: None });
    }

    /// What it is, as far as that is known.
    pub(crate) fn kind(&self, id: OperationId) -> OperationKind {
        self.items.get(&id).map_or(OperationKind::Download, |item| item.kind)
    }

    pub(crate) fn follows_all(&self) -> bool {
        self.takes_all
    }

    pub(crate) fn follows(&self, id: OperationId) -> bool {
        self.takes_all || self.items.contains_key(&id)
    }

    /// Takes the operation as it is now.
    pub(crate) fn take(&mut self, operation: Operation) -> Option<News> {
        let id = operation.id;
        let name = describe::short_name(&operation);
        if !self.items.contains_key(&id) {
            if !self.takes_all || operation.status.is_final() {
                return None;
            }
            self.expect_one_of(operation.kind, id, String::new());
        }
        let item = self.items.get_mut(&id)?;
        if matches!(item.state, State::Ended(_) | State::Gone) {
            return None;
        }
        item.name = name;
        let operation = Box::new(operation);
        if operation.status.is_final() {
            item.state = State::Ended(operation.clone());
            return Some(News::Ended(operation));
        }
        item.state = State::Live(operation.clone());
        let reason = if describe::needs_input(&operation) {
            Some(ReasonCode::NeedsInput)
        } else {
            operation.waiting.iter().map(|reason| reason.code).find(|code| *code != ReasonCode::Stopping)
        };
        if std::mem::replace(&mut item.told, reason) == reason {
            return None;
        }
        match reason {
            None => None,
            Some(ReasonCode::NeedsInput) => Some(News::NeedsInput(operation)),
            Some(_) => Some(News::Waits(operation)),
        }
    }

    pub(crate) fn progress(&mut self, id: OperationId, progress: Progress) {
        if let Some(Item { state: State::Live(operation), .. }) = self.items.get_mut(&id) {
            operation.progress = progress;
        }
    }

    /// The service has forgotten it.
    pub(crate) fn remove(&mut self, id: OperationId) -> Option<News> {
        let item = self.items.get_mut(&id)?;
        if matches!(item.state, State::Ended(_) | State::Gone) {
            return None;
        }
        item.state = State::Gone;
        Some(News::Gone(item.name.clone()))
    }

    /// Those whose end has not been seen.
    pub(crate) fn unfinished(&self) -> Vec<OperationId> {
        let is_unfinished = |id: &&OperationId| {
            self.items.get(id).is_some_and(|item| matches!(item.state, State::Expected | State::Live(_)))
        };
        self.order.iter().filter(is_unfinished).copied().collect()
    }

    /// Whether every one has ended or waits for its caller.
    pub(crate) fn is_settled(&self) -> bool {
        !self.takes_all && self.items.values().all(Item::is_settled)
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = (OperationId, &Item)> {
        self.order.iter().filter_map(|id| Some((*id, self.items.get(id)?)))
    }

    pub(crate) fn get(&self, id: OperationId) -> Option<&Item> {
        self.items.get(&id)
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals { operations: self.order.len(), bytes_total: Some(0), ..Totals::default() };
        for item in self.items.values() {
            let operation = match &item.state {
                State::Expected => {
                    totals.bytes_total = None;
                    continue;
                }
                State::Gone => {
                    totals.failed += 1;
                    continue;
                }
                State::Live(operation) | State::Ended(operation) => operation,
            };
            let (moved, all) = describe::moved(operation);
            match operation.status {
                TransferStatus::Completed => totals.completed += 1,
                TransferStatus::Canceled | TransferStatus::Error => {
                    totals.failed += 1;
                    continue;
                }
                _ => {
                    totals.needing_input += usize::from(describe::needs_input(operation));
                    totals.bytes_per_second += operation.progress.bytes_per_second;
                }
            }
            totals.bytes_moved += moved;
            let size = match all {
                0 if operation.status == TransferStatus::Completed => Some(moved),
                0 => None,
                size => Some(size),
            };
            totals.bytes_total = totals.bytes_total.zip(size).map(|(sum, size)| sum + size);
        }
        totals
    }

    /// How a command that followed all of these ends.
    pub(crate) fn exit(&self) -> Exit {
        let totals = self.totals();
        if totals.failed > 0 {
            Exit::TransferFailed
        } else if totals.needing_input > 0 {
            Exit::NeedsInput
        } else {
            Exit::Success
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::Cause;

    use super::*;
    use crate::sample::{failed, numbered, waiting, with_progress, with_status};

    fn picture(count: u32) -> Picture {
        let mut picture = Picture::of_expected();
        for number in 1..=count {
            picture.expect(numbered(number, "a").id, format!("{number}"));
        }
        picture
    }

    #[test]
    fn an_end_is_news_once() {
        let mut picture = picture(1);
        let done = with_status(numbered(1, "a"), TransferStatus::Completed);
        assert!(!picture.is_settled());
        assert_eq!(picture.take(done.clone()), Some(News::Ended(Box::new(done.clone()))));
        assert_eq!(picture.take(done.clone()), None);
        assert_eq!(picture.remove(done.id), None, "forgetting a finished one is no news");
        assert!(picture.is_settled());
        assert_eq!(picture.exit(), Exit::Success);
    }

    #[test]
    fn a_wait_is_news_when_its_reason_is_new() {
        let mut picture = picture(1);
        let first = waiting(numbered(1, "a"), ReasonCode::Backoff, "503", Some(1));
        let again = waiting(numbered(1, "a"), ReasonCode::Backoff, "503", Some(2));
        let other = waiting(numbered(1, "a"), ReasonCode::DiskSpace, "full", None);
        assert!(matches!(picture.take(first), Some(News::Waits(_))));
        assert_eq!(picture.take(again), None);
        assert!(matches!(picture.take(other.clone()), Some(News::Waits(_))));
        assert_eq!(picture.take(numbered(1, "a")), None);
        assert!(matches!(picture.take(other), Some(News::Waits(_))));
    }

    #[test]
    fn what_waits_for_its_caller_settles_the_picture() {
        let mut picture = picture(2);
        picture.take(with_status(numbered(1, "a"), TransferStatus::Completed));
        let stuck = failed(
            numbered(2, "b"),
            TransferStatus::PausedRecoverableWebErrorStatus,
            Cause::HttpStatus,
            "403",
        );
        assert!(matches!(picture.take(stuck), Some(News::NeedsInput(_))));
        assert!(picture.is_settled());
        assert_eq!(picture.exit(), Exit::NeedsInput);
        assert_eq!(picture.unfinished(), [numbered(2, "b").id]);
    }

    #[test]
    fn failures_and_forgotten_ones_decide_the_exit_code() {
        let mut forgotten = picture(1);
        assert_eq!(forgotten.remove(numbered(1, "a").id), Some(News::Gone("1".to_owned())));
        assert_eq!((forgotten.is_settled(), forgotten.exit()), (true, Exit::TransferFailed));
        let mut canceled = picture(1);
        canceled.take(with_status(numbered(1, "a"), TransferStatus::Canceled));
        assert_eq!(canceled.exit(), Exit::TransferFailed);
    }

    #[test]
    fn the_sum_of_sizes_is_known_when_every_size_is() {
        let mut picture = picture(2);
        picture.take(with_progress(numbered(1, "a"), 1 << 30, 7));
        assert_eq!(picture.totals().bytes_total, None);
        picture.take(with_progress(numbered(2, "b"), 5, 8));
        let totals = picture.totals();
        assert_eq!(totals.bytes_total, Some(4 << 30));
        assert_eq!((totals.bytes_moved, totals.bytes_per_second), ((1 << 30) + 5, 15));
    }

    #[test]
    fn a_picture_of_all_takes_up_what_lives_and_never_settles() {
        let mut picture = Picture::of_all();
        assert_eq!(picture.take(with_status(numbered(1, "old"), TransferStatus::Completed)), None);
        picture.take(numbered(2, "new"));
        assert_eq!(picture.items().count(), 1);
        assert!(!picture.is_settled());
        assert!(picture.follows(numbered(3, "later").id));
    }
}
