//! `longhaul limits`.

use longhaul_contract::{Limits, ScheduledRate};

use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::measure::{self, parse_rate};
use crate::table::pairs;
use crate::text::escape;
use crate::trouble::Trouble;

/// Limits for all downloads of this machine together
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the limits (as `longhaul limits` does)
    Show,
    /// Change limits; what is not named stays
    Set(Set),
}

#[derive(Debug, Default, clap::Args)]
#[group(required = true, multiple = true)]
struct Set {
    /// Bytes per second of everything together: 500k, 2M, none; 0 stops all
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    rate: Option<Rate>,
    /// A rate for a part of the week (any number; replaces the old ones): "[DAYS] FROM-TO RATE [ZONE]", for example
    /// "Mon-Fri 08:00-18:00 500k" or "22:00-06:00 0 Europe/Berlin"
    #[arg(long, value_name = "WINDOW", value_parser = parse_window, conflicts_with = "no_schedule")]
    schedule: Vec<ScheduledRate>,
    /// Drop all windows
    #[arg(long)]
    no_schedule: bool,
    /// Downloads that run at one time
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// Downloads of one application that run at one time
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    at_once_per_app: Option<u32>,
    /// Connections to one server
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    per_host: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Rate(Option<u64>);

impl Rate {
    fn parse(text: &str) -> Result<Self, String> {
        parse_rate(text).map(Self)
    }
}

impl Set {
    fn apply(self, limits: &mut Limits) {
        if let Some(Rate(rate)) = self.rate {
            limits.bytes_per_second = rate;
        }
        if self.no_schedule || !self.schedule.is_empty() {
            limits.schedule = self.schedule;
        }
        limits.running_at_once = self.at_once.unwrap_or(limits.running_at_once);
        limits.running_at_once_per_application =
            self.at_once_per_app.unwrap_or(limits.running_at_once_per_application);
        limits.connections_per_host = self.per_host.unwrap_or(limits.connections_per_host);
    }
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let mut limits = client.limits().await?;
    if let Some(Command::Set(set)) = arguments.command {
        set.apply(&mut limits);
        limits = client.put_limits(&limits).await?;
    }
    context.console.data(&limits, |view| render(&limits, view))?;
    Ok(Exit::Success)
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

fn parse_window(text: &str) -> Result<ScheduledRate, String> {
    let mut words = text.split_whitespace().peekable();
    let weekdays = match words.next_if(|word| word.starts_with(|letter: char| letter.is_ascii_alphabetic())) {
        Some(days) => parse_days(days)?,
        None => Vec::new(),
    };
    let (Some(window), Some(rate)) = (words.next(), words.next()) else {
        return Err(format!("{text:?} is not \"[DAYS] FROM-TO RATE [ZONE]\""));
    };
    let (from, to) =
        window.split_once('-').ok_or_else(|| format!("{window:?} is not a window such as 08:00-18:00"))?;
    for time in [from, to] {
        let is_time = time.len() == 5 && time.parse::<jiff::civil::Time>().is_ok();
        if !is_time {
            return Err(format!("{time:?} is not a time such as 08:00"));
        }
    }
    let bytes_per_second =
        parse_rate(rate)?.ok_or("a window needs a rate; leave it out where there is no limit")?;
    let time_zone = words.next().map(str::to_owned);
    if let Some(more) = words.next() {
        return Err(format!("{more:?} is one word too many"));
    }
    if let Some(zone) = &time_zone {
        jiff::tz::TimeZone::get(zone).map_err(|error| error.to_string())?;
    }
    Ok(ScheduledRate { weekdays, from: from.to_owned(), to: to.to_owned(), time_zone, bytes_per_second })
}

/// `Mon-Fri`, `Sat,Sun` or both kinds together.
fn parse_days(text: &str) -> Result<Vec<String>, String> {
    let place = |word: &str| {
        DAYS.iter()
            .position(|day| day.eq_ignore_ascii_case(word))
            .ok_or_else(|| format!("{word:?} is not a day: use {}", DAYS.join(", ")))
    };
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (place(first)?, place(last)?);
        let count = (last + DAYS.len() - first) % DAYS.len() + 1;
        for day in (first..first + count).map(|day| DAYS[day % DAYS.len()].to_owned()) {
            if !days.contains(&day) {
                days.push(day);
            }
        }
    }
    Ok(days)
}

fn render(limits: &Limits, view: &View) -> String {
    let rate = |rate: u64| if rate == 0 { "stopped".to_owned() } else { measure::rate(rate) };
    let mut lines = vec![("rate", limits.bytes_per_second.map_or_else(|| "no limit".to_owned(), rate))];
    for window in &limits.schedule {
        let days =
            if window.weekdays.is_empty() { "every day".to_owned() } else { window.weekdays.join(",") };
        let zone = window.time_zone.as_deref().map(|zone| format!(" {zone}")).unwrap_or_default();
        let line = format!("{days} {}-{}{zone}: {}", window.from, window.to, rate(window.bytes_per_second));
        lines.push(("", escape(&line).into_owned()));
    }
    lines.push(("at once", limits.running_at_once.to_string()));
    lines.push(("at once per app", limits.running_at_once_per_application.to_string()));
    lines.push(("connections per host", limits.connections_per_host.to_string()));
    pairs(view, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn windows_are_read() {
        let window = parse_window("Fri-Mon,Wed 22:00-06:00 500k Europe/Berlin").unwrap();
        assert_eq!(window.weekdays, ["Fri", "Sat", "Sun", "Mon", "Wed"]);
        assert_eq!((window.from.as_str(), window.to.as_str()), ("22:00", "06:00"));
        assert_eq!(window.bytes_per_second, 512_000);
        assert_eq!(window.time_zone.as_deref(), Some("Europe/Berlin"));
        let daily = parse_window("08:00-18:00 0").unwrap();
        assert_eq!((daily.weekdays.len(), daily.bytes_per_second, daily.time_zone), (0, 0, None));
        for bad in [
            "",
            "08:00-18:00",
            "8-18 1M",
            "Mo 08:00-18:00 1M",
            "08:00 1M",
            "08:00-18:00 none",
            "08:00-18:00 1M Mars/Base",
            "08:00-18:00 1M UTC more",
        ] {
            assert!(parse_window(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let mut limits = Limits { bytes_per_second: Some(5), ..Limits::default() };
        Set { at_once: Some(3), ..Set::default() }.apply(&mut limits);
        assert_eq!((limits.bytes_per_second, limits.running_at_once), (Some(5), 3));
        Set { rate: Some(Rate(None)), ..Set::default() }.apply(&mut limits);
        assert_eq!((limits.bytes_per_second, limits.running_at_once), (None, 3));
    }

    #[test]
    fn limits_are_shown() {
        let limits = Limits {
            bytes_per_second: Some(2 << 20),
            schedule: vec![
                parse_window("Mon-Fri 08:00-18:00 500k").unwrap(),
                parse_window("22:00-23:00 0 Europe/Berlin").unwrap(),
            ],
            ..Limits::default()
        };
        insta::assert_snapshot!(render(&limits, &sample::view(80)));
    }
}
