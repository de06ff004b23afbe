//! Instants as a person writes them.

use jiff::civil::{DateTime, Time};
use jiff::{SignedDuration, Zoned};
use longhaul_contract::Timestamp;

/// Reads an RFC 3339 instant, a local `2026-01-31T18:00`, a local `18:00` (the next one) or `+2h30m` from now.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let refuse =
        || format!("{text:?} is not a time such as 18:00, 2026-01-31T18:00, 2026-01-31T18:00:00Z or +2h30m");
    if let Some(after) = text.strip_prefix('+') {
        let duration: SignedDuration = after.parse().map_err(|_| refuse())?;
        return stamp(&now.checked_add(duration).map_err(|_| refuse())?);
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    if let Ok(time) = text.parse::<Time>()
        && !text.contains('-')
    {
        let today = now.date().to_datetime(time).to_zoned(now.time_zone().clone()).map_err(|_| refuse())?;
        if today > *now {
            return stamp(&today);
        }
        let tomorrow = now.date().tomorrow().map_err(|_| refuse())?;
        return stamp(&tomorrow.to_datetime(time).to_zoned(now.time_zone().clone()).map_err(|_| refuse())?);
    }
    let local: DateTime = text.parse().map_err(|_| refuse())?;
    stamp(&local.to_zoned(now.time_zone().clone()).map_err(|_| refuse())?)
}

fn stamp(time: &Zoned) -> Result<Timestamp, String> {
    Ok(Timestamp(time.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_local_and_lie_ahead() {
        let now: Zoned = "2026-01-31T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, utc) in [
            ("2026-02-01T08:30:00Z", "2026-02-01T08:30:00Z"),
            ("2026-02-01T08:30:00+02:00", "2026-02-01T06:30:00Z"),
            ("2026-07-01T08:30", "2026-07-01T06:30:00Z"),
            ("18:00", "2026-01-31T17:00:00Z"),
            ("11:59", "2026-02-01T10:59:00Z"),
            ("+2h30m", "2026-01-31T13:30:00Z"),
            ("+90s", "2026-01-31T11:01:30Z"),
        ] {
            assert_eq!(parse(text, &now).unwrap().to_string(), utc, "{text}");
        }
        for bad in ["", "soon", "25:00", "+", "2026-13-01T00:00"] {
            assert!(parse(bad, &now).is_err(), "{bad}");
        }
    }
}
