//! `[data-plan."CONNECTION"]`: what the owner's contract allows a connection.

use std::collections::BTreeMap;

use longhaul_host::data_plan::DataPlan;
use serde::Deserialize;

use super::value::{Form, Value};
use super::{ConfigValue, Origin};

/// The section.
pub(super) const SECTION: &str = "data-plan";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    limit: toml::Value,
    resets_on_day: Option<u8>,
    used: Option<toml::Value>,
}

/// Reads the section.
///
/// # Errors
/// Says what is wrong, behind the section's name.
pub(super) fn read(content: &toml::Value) -> Result<BTreeMap<String, DataPlan>, String> {
    let entries: BTreeMap<String, Entry> =
        content.clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
    entries.into_iter().map(|(connection, entry)| Ok((connection, plan(&entry)?))).collect()
}

fn plan(entry: &Entry) -> Result<DataPlan, String> {
    let bytes = |value: &toml::Value, name: &str| match Value::from_toml(Form::Bytes, value) {
        Ok(Value::Number(bytes)) => Ok(bytes),
        Ok(_) => Err(format!("{name} must be a size")),
        Err(problem) => Err(format!("{name} {problem}")),
    };
    let limit_bytes = bytes(&entry.limit, "limit")?;
    if limit_bytes == 0 {
        return Err("limit must be more than nothing".to_owned());
    }
    let resets_on_day = entry.resets_on_day.unwrap_or(1);
    if !(1..=31).contains(&resets_on_day) {
        return Err("resets-on-day must be a day of the month, 1 to 31".to_owned());
    }
    let used_bytes = entry.used.as_ref().map_or(Ok(0), |used| bytes(used, "used"))?;
    Ok(DataPlan { limit_bytes, resets_on_day, used_bytes })
}

/// For `config show`.
pub(super) fn values<'a>(
    plans: &'a BTreeMap<String, DataPlan>,
    origin: &'a Origin,
) -> impl Iterator<Item = ConfigValue> + 'a {
    plans.iter().flat_map(move |(connection, plan)| {
        let size = |bytes| Value::Number(bytes).show(Form::Bytes);
        [
            ("limit", size(plan.limit_bytes)),
            ("resets-on-day", plan.resets_on_day.to_string()),
            ("used", size(plan.used_bytes)),
        ]
        .map(|(name, value)| ConfigValue {
            key: format!("{SECTION}.{connection:?}.{name}"),
            value,
            origin: origin.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<BTreeMap<String, DataPlan>, String> {
        read(&toml::Value::Table(text.parse().unwrap()))
    }

    #[test]
    fn plans_are_read_and_shown() {
        let plans = read_text(
            "[wwan0]\nlimit = \"10GB\"\n[\"My phone\"]\nlimit = 1\nresets-on-day = 31\nused = \"1MiB\"",
        )
        .unwrap();
        let expected = DataPlan { limit_bytes: 10_000_000_000, resets_on_day: 1, used_bytes: 0 };
        assert_eq!(plans["wwan0"], expected);
        assert_eq!(plans["My phone"], DataPlan { limit_bytes: 1, resets_on_day: 31, used_bytes: 1 << 20 });
        let shown: Vec<_> = values(&plans, &Origin::Default).map(|value| value.key).collect();
        assert_eq!(shown[0], "data-plan.\"My phone\".limit");
        assert_eq!(shown.len(), 6);
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, problem) in [
            ("[a]\nresets-on-day = 1", "limit"),
            ("[a]\nlimit = 0", "more than nothing"),
            ("[a]\nlimit = \"10 pages\"", "is not a size"),
            ("[a]\nlimit = 1\nresets-on-day = 32", "1 to 31"),
            ("[a]\nlimit = 1\nresets-on-day = 0", "1 to 31"),
            ("[a]\nlimit = 1\nused = true", "used"),
            ("[a]\nlimit = 1\nunused = 1", "unused"),
            ("a = 1", "invalid type"),
        ] {
            let found = read_text(text).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
