//! Sizes, rates and durations, written and read.

use std::time::Duration;

/// `512 B`, `1.5 KiB`, `756 MiB`: binary units, three digits at most.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 999.95 would be written as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 99.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// `48.2 MiB/s`.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// `0:27`, `1:02:03`, `3d 04h`: for a column of times.
pub(crate) fn clock(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match seconds {
        8_640_000.. => format!("{days}d"),
        86_400.. => format!("{days}d {hours:02}h"),
        3_600.. => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
        _ => format!("{minutes}:{:02}", seconds % 60),
    }
}

/// `12 s`, `4 min`, `2 h 5 min`, `3 days`: for a sentence.
pub(crate) fn words(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        3_600.. if minutes > 0 => format!("{hours} h {minutes} min"),
        3_600.. => format!("{hours} h"),
        600.. => format!("{minutes} min"),
        60.. if !seconds.is_multiple_of(60) => format!("{minutes} min {} s", seconds % 60),
        60.. => format!("{minutes} min"),
        _ => format!("{seconds} s"),
    }
}

/// Reads `500k`, `2M`, `1.5GiB`, `4096`: units are binary, except `kB`, `MB`, `GB`, `TB`, which are decimal.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is not a size such as 4096, 500k, 2M or 1.5GiB");
    let text = text.trim();
    let digits = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        "g" | "G" | "GiB" => 1 << 30,
        "t" | "T" | "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(refuse()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(refuse);
    }
    let value = number.parse::<f64>().map_err(|_| refuse())? * factor as f64;
    if !value.is_finite() || value < 0.0 || value >= u64::MAX as f64 {
        return Err(refuse());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
    Ok(value as u64)
}

/// A rate limit: a size per second, or `none`.
pub(crate) fn parse_rate(text: &str) -> Result<Option<u64>, String> {
    if matches!(text, "none" | "unlimited") {
        return Ok(None);
    }
    let number = text.strip_suffix("/s").unwrap_or(text);
    parse_bytes(number)
        .map(Some)
        .map_err(|_| format!("{text:?} is not a rate such as 500k, 2M (bytes per second) or none"))
}

/// The average over a stretch of time; `None` where it is too short to tell.
pub(crate) fn average(count: u64, taken: Duration) -> Option<u64> {
    let milliseconds = u64::try_from(taken.as_millis()).ok().filter(|taken| *taken > 0)?;
    u64::try_from(u128::from(count) * 1_000 / u128::from(milliseconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_at_most() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (102_348, "99.9 KiB"),
            (102_400, "100 KiB"),
            (1_023_999, "1.0 MiB"),
            (792_723_456, "756 MiB"),
            (2 << 30, "2.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn durations_are_short_in_a_column_and_plain_in_a_sentence() {
        for (seconds, column, sentence) in [
            (0, "0:00", "0 s"),
            (27, "0:27", "27 s"),
            (120, "2:00", "2 min"),
            (245, "4:05", "4 min 5 s"),
            (754, "12:34", "12 min"),
            (3_723, "1:02:03", "1 h 2 min"),
            (7_200, "2:00:00", "2 h"),
            (273_600, "3d 04h", "3 days"),
            (8_640_000, "100d", "100 days"),
        ] {
            assert_eq!((clock(seconds).as_str(), words(seconds).as_str()), (column, sentence));
        }
    }

    #[test]
    fn sizes_and_rates_are_read() {
        for (text, count) in [
            ("0", 0),
            ("4096", 4096),
            ("500k", 512_000),
            ("2M", 2 << 20),
            ("1.5GiB", 3 << 29),
            ("1 kB", 1000),
            ("0.5k", 512),
        ] {
            assert_eq!(parse_bytes(text), Ok(count), "{text}");
        }
        for bad in ["", "k", "1.2.3", "-1", "2X", "1e9", "99999999999999999999", "20000000T", "NaN"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_rate("none"), Ok(None));
        assert_eq!(parse_rate("2M/s"), Ok(Some(2 << 20)));
        assert_eq!(parse_rate("0"), Ok(Some(0)));
        assert!(parse_rate("fast").is_err());
    }

    #[test]
    fn an_average_needs_time() {
        assert_eq!(average(1 << 40, Duration::from_secs(2)), Some(1 << 39));
        assert_eq!(average(5, Duration::ZERO), None);
    }
}
