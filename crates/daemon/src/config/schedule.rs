//! `[[limits.schedule]]`: rates for hours of the week.

use longhaul_contract::ScheduledRate;
use serde::Deserialize;

use super::value::{Form, Value};

/// `[[limits.schedule]]`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ScheduleEntry {
    #[serde(default)]
    weekdays: Vec<String>,
    from: String,
    to: String,
    time_zone: Option<String>,
    rate: toml::Value,
}

impl ScheduleEntry {
    /// # Errors
    /// The rate is none.
    pub(super) fn into_rate(self) -> Result<ScheduledRate, String> {
        let Value::Number(bytes_per_second) = Value::from_toml(Form::Rate, &self.rate)? else {
            return Err("rate must be a number of bytes per second".to_owned());
        };
        Ok(ScheduledRate {
            weekdays: self.weekdays,
            from: self.from,
            to: self.to,
            time_zone: self.time_zone,
            bytes_per_second,
        })
    }
}
