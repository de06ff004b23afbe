//! Forms of settings: how a duration, a size or a list is written in the file, in the environment and by
//! `config show`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use longhaul_contract::AccessStatus;

/// How a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `"500ms"`, `"30s"`, `"5m"`, `"12h"`, `"30d"`, or a number of seconds. Kept in milliseconds.
    Duration,
    /// A duration of whole seconds.
    Seconds,
    /// `"8MiB"`, `"10MB"`, or a number of bytes.
    Bytes,
    /// Bytes per second, or `"unlimited"`.
    Rate,
    Count,
    Switch,
    /// A name of the IANA database, or `"machine"`.
    Zone,
    Text,
    /// A list; in the environment separated by commas.
    Texts,
}

impl Form {
    /// For the reference.
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Duration => "duration such as `\"500ms\"`, `\"30s\"`, `\"5m\"`",
            Self::Seconds => "duration of whole seconds such as `\"12h\"`, `\"30d\"`",
            Self::Bytes => "size such as `\"8MiB\"`",
            Self::Rate => "bytes per second such as `\"2MiB\"`, or `\"unlimited\"`",
            Self::Count => "number",
            Self::Switch => "`true` or `false`",
            Self::Zone => "name such as `\"Europe/Berlin\"`, or `\"machine\"`",
            Self::Text => "text",
            Self::Texts => "list of texts",
        }
    }
}

/// The zone of the machine, whatever it is.
const MACHINE: &str = "machine";

/// A setting read from somewhere, not yet put in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Milliseconds, seconds, bytes or a count, as the form says.
    Number(u64),
    Absent,
    Switch(bool),
    Text(String),
    Texts(Vec<String>),
}

impl Value {
    pub(super) fn from_toml(form: Form, value: &toml::Value) -> Result<Self, String> {
        match (form, value) {
            (Form::Switch, toml::Value::Boolean(switch)) => Ok(Self::Switch(*switch)),
            (Form::Texts, toml::Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts
                    .collect::<Option<_>>()
                    .map(Self::Texts)
                    .ok_or_else(|| "must be a list of texts".to_owned())
            }
            (Form::Count | Form::Bytes | Form::Rate, toml::Value::Integer(number)) => {
                u64::try_from(*number).map(Self::Number).map_err(|_| "must not be negative".to_owned())
            }
            (Form::Seconds, toml::Value::Integer(_)) => Self::from_text(form, &value.to_string()),
            (Form::Duration, toml::Value::Integer(_) | toml::Value::Float(_)) => {
                Self::from_text(form, &value.to_string())
            }
            (Form::Switch | Form::Texts | Form::Count, _) => Err(format!("must be a {}", form.description())),
            (_, toml::Value::String(text)) => Self::from_text(form, text),
            _ => Err(format!("must be a {}", form.description())),
        }
    }

    /// As the environment gives it.
    pub(super) fn from_text(form: Form, text: &str) -> Result<Self, String> {
        let text = text.trim();
        match form {
            Form::Duration => milliseconds(text).map(Self::Number),
            Form::Seconds => match milliseconds(text)? {
                whole if whole % 1000 == 0 => Ok(Self::Number(whole / 1000)),
                _ => Err(format!("{text:?} is not a whole number of seconds")),
            },
            Form::Rate if text == "unlimited" => Ok(Self::Absent),
            Form::Bytes | Form::Rate => bytes(text).map(Self::Number),
            Form::Count => text.parse().map(Self::Number).map_err(|_| format!("{text:?} is not a number")),
            Form::Switch => match text {
                "true" | "1" | "yes" => Ok(Self::Switch(true)),
                "false" | "0" | "no" => Ok(Self::Switch(false)),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
            Form::Zone if text == MACHINE => Ok(Self::Absent),
            Form::Zone if longhaul_engine::is_time_zone(text) => Ok(Self::Text(text.to_owned())),
            Form::Zone => Err(format!("{text:?} is not a zone of the IANA database")),
            Form::Text => Ok(Self::Text(text.to_owned())),
            Form::Texts => Ok(Self::Texts(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            )),
        }
    }

    /// As the file would say it.
    pub(super) fn show(&self, form: Form) -> String {
        match self {
            Self::Number(number) => match form {
                Form::Duration => quote(&show_milliseconds(*number)),
                Form::Seconds => quote(&show_milliseconds(number.saturating_mul(1000))),
                Form::Bytes | Form::Rate => show_bytes(*number),
                _ => number.to_string(),
            },
            Self::Absent if form == Form::Rate => quote("unlimited"),
            Self::Absent => quote(MACHINE),
            Self::Switch(switch) => switch.to_string(),
            Self::Text(text) => quote(text),
            Self::Texts(texts) => {
                format!("[{}]", texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn scale(text: &str, number: &str, unit: u64, what: &str) -> Result<u64, String> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(|| format!("{text:?} is too large"));
    }
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a {what}"))?;
    #[expect(clippy::cast_precision_loss, reason = "a fraction of a unit; 53 bits are plenty")]
    let scaled = value * unit as f64;
    if !(0.0..=1e18).contains(&scaled) {
        return Err(format!("{text:?} is too large"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked above"
    )]
    Ok(scaled.round() as u64)
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let unit = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} is not a duration: write 500ms, 30s, 5m, 12h or 30d")),
    };
    scale(text, number, unit, "duration")
}

fn show_milliseconds(milliseconds: u64) -> String {
    for (size, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
        if milliseconds >= size && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

const SIZES: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let unit = match unit.trim_end_matches("/s") {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        other => match SIZES.iter().find(|(_, word)| *word == other) {
            Some((size, _)) => *size,
            None => return Err(format!("{text:?} is not a size: write 8MiB, 10MB or a number of bytes")),
        },
    };
    scale(text, number, unit, "size")
}

fn show_bytes(bytes: u64) -> String {
    for (size, unit) in SIZES {
        if bytes >= size && bytes.is_multiple_of(size) {
            return quote(&format!("{}{unit}", bytes / size));
        }
    }
    bytes.to_string()
}

/// A place a setting is kept in.
pub(super) trait Field {
    fn show(&self) -> Value;

    /// # Errors
    /// The value does not fit; said in words that follow the key's name.
    fn set(&mut self, value: Value) -> Result<(), String>;
}

fn mismatch(value: &Value) -> String {
    format!("cannot be {value:?}")
}

macro_rules! number_fields {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn show(&self) -> Value {
                Value::Number(u64::try_from(*self).unwrap_or_default())
            }

            fn set(&mut self, value: Value) -> Result<(), String> {
                let Value::Number(number) = value else { return Err(mismatch(&value)) };
                *self = number.try_into().map_err(|_| format!("must be at most {}", Self::MAX))?;
                Ok(())
            }
        }
    )+};
}

number_fields!(u8, u32, u64, i64, usize);

impl Field for Option<u64> {
    fn show(&self) -> Value {
        self.map_or(Value::Absent, Value::Number)
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        *self = match value {
            Value::Number(number) => Some(number),
            Value::Absent => None,
            _ => return Err(mismatch(&value)),
        };
        Ok(())
    }
}

impl Field for Option<String> {
    fn show(&self) -> Value {
        self.clone().map_or(Value::Absent, Value::Text)
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        *self = match value {
            Value::Text(text) => Some(text),
            Value::Absent => None,
            _ => return Err(mismatch(&value)),
        };
        Ok(())
    }
}

impl Field for Duration {
    fn show(&self) -> Value {
        Value::Number(u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        let Value::Number(number) = value else { return Err(mismatch(&value)) };
        *self = Self::from_millis(number);
        Ok(())
    }
}

impl Field for bool {
    fn show(&self) -> Value {
        Value::Switch(*self)
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        let Value::Switch(switch) = value else { return Err(mismatch(&value)) };
        *self = switch;
        Ok(())
    }
}

impl Field for String {
    fn show(&self) -> Value {
        Value::Text(self.clone())
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        let Value::Text(text) = value else { return Err(mismatch(&value)) };
        *self = text;
        Ok(())
    }
}

impl Field for AccessStatus {
    fn show(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        let Value::Text(text) = value else { return Err(mismatch(&value)) };
        let found = Self::ALL.iter().copied().find(|status| status.to_string() == text);
        *self = found.ok_or_else(|| format!("{text:?} is no access status"))?;
        Ok(())
    }
}

macro_rules! list_fields {
    ($($item:ty, $what:literal, $show:expr;)+) => {$(
        impl Field for Vec<$item> {
            fn show(&self) -> Value {
                Value::Texts(self.iter().map($show).collect())
            }

            fn set(&mut self, value: Value) -> Result<(), String> {
                let Value::Texts(texts) = value else { return Err(mismatch(&value)) };
                *self = texts
                    .iter()
                    .map(|text| text.parse().map_err(|_| format!("{text:?} is not {}", $what)))
                    .collect::<Result<_, _>>()?;
                Ok(())
            }
        }
    )+};
}

list_fields! {
    String, "a text", Clone::clone;
    PathBuf, "a path", |path| path.display().to_string();
    SocketAddr, "an address with a port such as 127.0.0.1:8080", ToString::to_string;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_and_show() {
        for (form, text, number, shown) in [
            (Form::Duration, "500ms", 500, "\"500ms\""),
            (Form::Duration, "1.5s", 1500, "\"1500ms\""),
            (Form::Duration, "90", 90_000, "\"90s\""),
            (Form::Duration, "5m", 300_000, "\"5m\""),
            (Form::Seconds, "30d", 2_592_000, "\"30d\""),
            (Form::Bytes, "8MiB", 8 << 20, "\"8MiB\""),
            (Form::Bytes, "10 MB", 10_000_000, "10000000"),
            (Form::Rate, "1.5MiB/s", 3 << 19, "\"1536KiB\""),
            (Form::Rate, "0", 0, "0"),
        ] {
            let value = Value::from_text(form, text).unwrap();
            assert_eq!(value, Value::Number(number), "{text}");
            assert_eq!(value.show(form), shown, "{text}");
        }
        assert_eq!(Value::from_text(Form::Rate, "unlimited").unwrap(), Value::Absent);
        assert_eq!(Value::from_text(Form::Zone, "machine").unwrap(), Value::Absent);
        let zone = Value::from_text(Form::Zone, "Europe/Berlin").unwrap();
        assert_eq!(zone.show(Form::Zone), "\"Europe/Berlin\"");
        for (form, bad) in [
            (Form::Duration, "5 weeks"),
            (Form::Duration, "-1s"),
            (Form::Duration, ""),
            (Form::Seconds, "1500ms"),
            (Form::Bytes, "8MIB"),
            (Form::Bytes, "99999999999TiB"),
            (Form::Count, "many"),
            (Form::Switch, "maybe"),
            (Form::Zone, "Europe/Nowhere"),
            (Form::Zone, ""),
        ] {
            assert!(Value::from_text(form, bad).is_err(), "{bad}");
        }
    }
}
