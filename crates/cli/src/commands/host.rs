//! `longhaul host`.

use longhaul_contract::{HostState, NetworkCost, Signal};

use crate::connect::Context;
use crate::console::{FAINT, View};
use crate::exit::Exit;
use crate::table::pairs;
use crate::text::escape;
use crate::trouble::Trouble;

/// Show what the service knows of this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let host = context.client().await?.host().await?;
    context.console.data(&host, |view| render(&host, view))?;
    Ok(Exit::Success)
}

fn render(host: &HostState, view: &View) -> String {
    pairs(
        view,
        [
            ("network", signal(&host.network.level, view, |level| format!("{level:?}"))),
            ("network cost", signal(&host.network.cost, view, cost)),
            (
                "energy saver",
                signal(&host.energy_saver, view, |is_on| if *is_on { "on" } else { "off" }.to_owned()),
            ),
        ],
    )
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
            ..HostState::unmeasured()
        };
        insta::assert_snapshot!(render(&host, &sample::view(100)));
    }

    #[test]
    fn a_network_without_cost_is_unrestricted() {
        assert_eq!(cost(&NetworkCost::default()), "unrestricted");
    }
}
