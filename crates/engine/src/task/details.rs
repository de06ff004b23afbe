//! Trigger details of several firings that share one run: what they list is joined, so that nothing of it is lost while a
//! task waits; of everything else the newest counts.

use std::sync::Arc;

use serde_json::{Map, Value};

/// Entries of one list; the oldest go first.
const ENTRIES_MAX: usize = 256;
/// Bytes of the joined details; above, only the newest firing's are kept.
const BYTES_MAX: usize = 256 << 10;

/// The details for a run that both firings share.
pub(crate) fn joined(older: &str, newer: &Arc<str>) -> Arc<str> {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    // Most details list nothing and are not taken apart.
    if !older.contains('[') || !newer.contains('[') || older.len() + newer.len() > BYTES_MAX {
        return newer.clone();
    }
    let (Some(older), Some(mut joined)) = (read(older), read(newer)) else { return newer.clone() };
    let mut has_joined = false;
    for (name, older) in older {
        if let (Value::Array(mut entries), Some(Value::Array(newer))) = (older, joined.get_mut(&name)) {
            entries.append(newer);
            let surplus = entries.len().saturating_sub(ENTRIES_MAX);
            entries.drain(..surplus);
            *newer = entries;
            has_joined = true;
        }
    }
    if has_joined { Value::Object(joined).to_string().into() } else { newer.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_and_the_rest_is_the_newest() {
        for (older, newer, expected) in [
            (
                r#"{"reports":[1,2],"value":"a"}"#,
                r#"{"reports":[3],"value":"b"}"#,
                r#"{"reports":[1,2,3],"value":"b"}"#,
            ),
            (r#"{"reports":[1]}"#, r#"{"other":[3]}"#, r#"{"other":[3]}"#),
            (r#"{"content":"[a]"}"#, r#"{"content":"[b]"}"#, r#"{"content":"[b]"}"#),
            ("{}", r#"{"reports":[3]}"#, r#"{"reports":[3]}"#),
            ("[1]", "[2]", "[2]"),
        ] {
            assert_eq!(*joined(older, &newer.into()), *expected, "{older} {newer}");
        }
    }

    #[test]
    fn what_nobody_takes_does_not_grow_for_ever() {
        let mut details: Arc<str> = r#"{"reports":[]}"#.into();
        for number in 0..1000 {
            details = joined(&details, &format!(r#"{{"reports":[{number}]}}"#).into());
        }
        let kept: Value = serde_json::from_str(&details).unwrap();
        let kept = kept["reports"].as_array().unwrap().clone();
        assert_eq!((kept.len(), kept.first(), kept.last()), (256, Some(&744.into()), Some(&999.into())));
        let long: Arc<str> = format!(r#"{{"reports":["{}"]}}"#, "x".repeat(200 << 10)).into();
        assert_eq!(joined(&long, &long), long);
    }
}
