//! Conditions in a person's words.

use longhaul_contract::Condition;

/// Words of the command line for conditions; the words of Windows are understood as well.
pub(crate) const WORDS: &[(&str, Condition)] = &[
    ("ac", Condition::ExternalPower),
    ("battery", Condition::BatteryPower),
    ("unmetered", Condition::FreeNetworkAvailable),
    ("online", Condition::InternetAvailable),
    ("offline", Condition::InternetNotAvailable),
    ("present", Condition::UserPresent),
    ("away", Condition::UserNotPresent),
    ("session", Condition::SessionConnected),
    ("nosession", Condition::SessionDisconnected),
    ("cheap", Condition::BackgroundWorkCostNotHigh),
    ("idle", Condition::BackgroundWorkCostNotHigh),
];

/// The table of words, for `--help` and the reference.
pub(crate) const HELP: &str = "Conditions: ac (mains, or no battery), battery, unmetered (a network that costs nothing \
    extra), online, offline, present (the user is active), away, session (somebody is logged in and connected), \
    nosession, cheap or idle (work in the background does not cost much now: BackgroundWorkCostNotHigh). The words of \
    the API, such as FreeNetworkAvailable, are understood as well.";

/// Reads `ac` or `ExternalPower`.
pub(crate) fn parse(text: &str) -> Result<Condition, String> {
    if let Some((_, condition)) = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        return Ok(*condition);
    }
    text.parse().map_err(|_| {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is not one of {}", words.join(", "))
    })
}

/// The shortest word for it.
pub(crate) fn word(condition: Condition) -> &'static str {
    WORDS.iter().find(|(_, known)| *known == condition).map_or(condition.word(), |(word, _)| word)
}

/// `ac and unmetered`.
pub(crate) fn sentence(conditions: &[Condition]) -> String {
    let words: Vec<_> = conditions.iter().map(|condition| word(*condition)).collect();
    words.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_a_word_that_is_read_back() {
        for condition in Condition::ALL {
            assert_eq!(parse(word(*condition)), Ok(*condition));
            assert_eq!(parse(condition.word()), Ok(*condition));
        }
        assert_eq!(parse("AC"), Ok(Condition::ExternalPower));
        assert!(parse("sunny").unwrap_err().contains("unmetered"));
    }
}
