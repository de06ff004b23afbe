//! How reasons of waiting are written down.

use longhaul_contract::ReasonCode;

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
