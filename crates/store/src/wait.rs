//! How reasons of waiting are written down.

use std::collections::BTreeMap;

use longhaul_contract::{ReasonCode, Timestamp};

use crate::contract_types::WaitHistory;

/// Stretches of waiting kept per operation; the totals go on without end.
pub(crate) const WAITS_MAX: usize = 100;

/// The word that stands for a reason in every store: its public one, which stays the same over releases.
pub(crate) fn reason_word(code: ReasonCode) -> String {
    code.word()
}

/// `None` for a word of a later release.
pub(crate) fn reason_from_word(word: &str) -> Option<ReasonCode> {
    serde_json::from_value(serde_json::Value::from(word)).ok()
}

/// The waiting of one operation or task, in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits {
    entries: BTreeMap<(Timestamp, Timestamp, String), ReasonCode>,
    /// Microseconds per reason.
    totals: BTreeMap<String, (ReasonCode, u64)>,
}

impl Waits {
    pub(crate) fn add(&mut self, code: ReasonCode, from: Timestamp, to: Timestamp) {
        let word = reason_word(code);
        if self.entries.insert((from, to, word.clone()), code).is_some() {
            return;
        }
        let micros = u64::try_from(to.micros().saturating_sub(from.micros())).unwrap_or(0);
        self.totals.entry(word).or_insert((code, 0)).1 += micros;
        while self.entries.len() > WAITS_MAX {
            self.entries.pop_first();
        }
    }

    pub(crate) fn history(&self) -> WaitHistory {
        WaitHistory {
            entries: self.entries.iter().map(|((from, to, _), code)| (*code, *from, *to)).collect(),
            totals: self.totals.values().map(|(code, micros)| (*code, micros / 1_000_000)).collect(),
        }
    }
}
