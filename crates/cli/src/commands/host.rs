//! `longhaul host`.

use longhaul_contract::{BatteryStatus, DataPlanUse, HostSignal, HostState, NetworkCost, Power, Signal};

use crate::connect::Context;
use crate::console::{FAINT, View};
use crate::exit::Exit;
use crate::measure;
use crate::table::pairs;
use crate::text::escape;
use crate::trouble::Trouble;

/// Show what the service knows of this machine, or set it by hand
///
/// What downloads and tasks wait for is decided by these signals. One that this machine has no source for is unknown: a
/// condition that needs to see something then waits. Setting a signal by hand stands in for its source until it is unset.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Set a signal by hand, for tests and for odd machines
    ///
    /// networkLevel None|Local|ConstrainedInternet|Internet, networkCost
    /// unmetered|metered|approaching|roaming|over|restricted, energySaver true|false, power external|battery|battery:40,
    /// sessionConnected true|false, userPresent true|false, workCost Low|Medium|High, timeZone NAME.
    Set {
        #[arg(value_name = "SIGNAL", value_parser = parse_signal, help = signals_help())]
        signal: HostSignal,
        /// What it is from now on
        #[arg(value_name = "VALUE")]
        value: String,
    },
    /// Give a signal back to its source
    Unset {
        #[arg(value_name = "SIGNAL", value_parser = parse_signal, help = signals_help())]
        signal: HostSignal,
    },
}

fn signals_help() -> String {
    let words: Vec<_> = HostSignal::ALL.iter().map(|signal| signal.word()).collect();
    format!("The signal: {}", words.join(", "))
}

/// Reads `networkLevel`, `network-level` or `networklevel`.
fn parse_signal(text: &str) -> Result<HostSignal, String> {
    HostSignal::from_word(&text.replace(['-', '_'], ""))
        .ok_or_else(|| format!("{text:?} is no signal. {}", signals_help()))
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    match &arguments.command {
        None => {}
        Some(Command::Set { signal, value }) => client.set_host_signal(*signal, value).await?,
        Some(Command::Unset { signal }) => client.unset_host_signal(*signal).await?,
    }
    let host = client.host().await?;
    context.console.data(&host, |view| match &arguments.command {
        None => render(&host, view),
        Some(Command::Set { signal, .. } | Command::Unset { signal }) => {
            pairs(view, lines(&host, view).into_iter().filter(|(known, ..)| known == signal).map(named))
        }
    })?;
    Ok(Exit::Success)
}

fn render(host: &HostState, view: &View) -> String {
    let plans = host.data_plans.iter().map(|plan| ("data plan", data_plan(plan, view)));
    pairs(view, lines(host, view).into_iter().map(named).chain(plans))
}

fn data_plan(plan: &DataPlanUse, view: &View) -> String {
    let verdict = match plan {
        DataPlanUse { is_over_limit: true, .. } => ", over its limit",
        DataPlanUse { is_approaching_limit: true, .. } => ", on track to exceed it",
        _ => "",
    };
    let connection = escape(&plan.connection);
    let (used, limit) = (measure::bytes(plan.used_bytes), measure::bytes(plan.limit_bytes));
    let unused = if plan.is_in_use { "" } else { "not in use now; " };
    let origin = format!(
        "({unused}since {}, resets {}, would reach {})",
        view.instant(plan.since),
        view.instant(plan.resets_time),
        measure::bytes(plan.projected_bytes)
    );
    format!("{connection}: {used} of {limit}{verdict} {}", view.paint.paint(FAINT, &origin))
}

fn named((_, name, value): (HostSignal, &'static str, String)) -> (&'static str, String) {
    (name, value)
}

fn lines(host: &HostState, view: &View) -> Vec<(HostSignal, &'static str, String)> {
    let either =
        |yes: &'static str, no: &'static str| move |is_so: &bool| if *is_so { yes } else { no }.to_owned();
    let level = signal(&host.network.level, view, |level| format!("{level:?}"));
    vec![
        (HostSignal::NetworkLevel, "network", level),
        (HostSignal::NetworkCost, "network cost", signal(&host.network.cost, view, cost)),
        (HostSignal::Power, "power", signal(&host.power, view, power)),
        (HostSignal::EnergySaver, "energy saver", signal(&host.energy_saver, view, either("on", "off"))),
        (
            HostSignal::SessionConnected,
            "session",
            signal(&host.session_connected, view, either("connected", "not connected")),
        ),
        (HostSignal::UserPresent, "user", signal(&host.user_present, view, either("present", "away"))),
        (HostSignal::WorkCost, "work cost", signal(&host.work_cost, view, ToString::to_string)),
        (HostSignal::TimeZone, "time zone", signal(&host.time_zone, view, |zone| escape(zone).into_owned())),
    ]
}

fn power(power: &Power) -> String {
    let source = if power.is_external { "external" } else { "battery" };
    let battery = match power.battery {
        BatteryStatus::NotPresent => return format!("{source}, no battery"),
        BatteryStatus::Discharging => "discharging",
        BatteryStatus::Idle => "idle",
        BatteryStatus::Charging => "charging",
    };
    let percent = power.percent.map(|percent| format!(" at {percent}%")).unwrap_or_default();
    format!("{source}, battery {battery}{percent}")
}

fn signal<T>(signal: &Signal<T>, view: &View, word: impl Fn(&T) -> String) -> String {
    match signal {
        Signal::Known { value, since, source } => {
            let origin = format!("(since {}, from {})", view.instant(*since), escape(source));
            format!("{} {}", word(value), view.paint.paint(FAINT, &origin))
        }
        Signal::Unknown { reason } => {
            format!("unknown {}", view.paint.paint(FAINT, &format!("({})", escape(reason))))
        }
    }
}

fn cost(cost: &NetworkCost) -> String {
    let words: Vec<_> = [
        (cost.is_metered, "metered"),
        (cost.is_roaming, "roaming"),
        (cost.is_approaching_data_limit, "near its data limit"),
        (cost.is_over_data_limit, "over its data limit"),
        (cost.is_background_data_restricted, "background data restricted"),
    ]
    .into_iter()
    .filter_map(|(holds, word)| holds.then_some(word))
    .collect();
    if words.is_empty() { "unrestricted".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{Network, NetworkLevel};

    use super::*;
    use crate::sample::{self, NOW};

    #[test]
    fn known_and_unknown_signals() {
        let known = |source: &str| (NOW, source.to_owned());
        let (since, source) = known("NetworkManager");
        let host = HostState {
            network: Network {
                level: Signal::Known { value: NetworkLevel::Internet, since, source: source.clone() },
                cost: Signal::Known {
                    value: NetworkCost { is_metered: true, is_roaming: true, ..NetworkCost::default() },
                    since,
                    source,
                },
            },
            energy_saver: Signal::unknown("no source of energy saver on this host"),
            power: Signal::Known {
                value: Power { is_external: false, battery: BatteryStatus::Discharging, percent: Some(40) },
                since: NOW,
                source: "UPower".to_owned(),
            },
            user_present: Signal::Known { value: false, since: NOW, source: "set by hand".to_owned() },
            data_plans: vec![DataPlanUse {
                connection: "My phone".to_owned(),
                is_in_use: true,
                limit_bytes: 10 << 30,
                used_bytes: 9 << 30,
                projected_bytes: 18 << 30,
                since: NOW,
                resets_time: NOW,
                is_approaching_limit: true,
                is_over_limit: false,
            }],
            ..HostState::unmeasured()
        };
        insta::assert_snapshot!(render(&host, &sample::view(100)));
    }

    #[test]
    fn signals_may_be_written_with_hyphens() {
        for signal in HostSignal::ALL {
            assert_eq!(parse_signal(signal.word()), Ok(*signal));
        }
        assert_eq!(parse_signal("network-level"), Ok(HostSignal::NetworkLevel));
        assert!(parse_signal("weather").unwrap_err().contains("workCost"));
    }

    #[test]
    fn a_network_without_cost_is_unrestricted() {
        assert_eq!(cost(&NetworkCost::default()), "unrestricted");
    }
}
