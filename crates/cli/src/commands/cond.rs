//! `longhaul cond`.

use longhaul_contract::{Condition, HostState};
use serde::Serialize;

use crate::condition;
use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::table::pairs;
use crate::text::escape;
use crate::trouble::Trouble;

/// Tell whether conditions hold now
///
/// Ends with 0 when all of them hold, with 1 when at least one does not, and with 12 when one is not known.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_name = "CONDITION", value_delimiter = ',', required = true, value_parser = condition::parse)]
    #[arg(help = format!("What is asked for, separated by commas. {}", condition::HELP))]
    conditions: Vec<Condition>,
    /// Print nothing: the exit code says it
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    condition: Condition,
    /// Absent when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<bool>,
    detail: String,
}

#[derive(Serialize)]
struct Items {
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<bool>,
    items: Vec<Item>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let host = context.client().await?.host().await?;
    let answer = answer(&arguments.conditions, &host);
    if !arguments.quiet {
        context.console.data(&answer, |view| render(&answer, view))?;
    }
    Ok(match answer.holds {
        Some(true) => Exit::Success,
        Some(false) => Exit::Internal,
        None => Exit::Unknown,
    })
}

fn answer(conditions: &[Condition], host: &HostState) -> Items {
    let items: Vec<Item> = conditions
        .iter()
        .map(|condition| {
            let standing = condition::standing(*condition, host);
            Item { condition: *condition, holds: standing.holds, detail: standing.detail }
        })
        .collect();
    let holds = if items.iter().any(|item| item.holds == Some(false)) {
        Some(false)
    } else if items.iter().any(|item| item.holds.is_none()) {
        None
    } else {
        Some(true)
    };
    Items { holds, items }
}

fn render(answer: &Items, view: &View) -> String {
    pairs(
        view,
        answer.items.iter().map(|item| {
            let verdict = match item.holds {
                Some(true) => "holds",
                Some(false) => "does not hold",
                None => "is not known",
            };
            (condition::word(item.condition), format!("{verdict}: {}", escape(&item.detail)))
        }),
    )
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{NetworkLevel, Signal};

    use super::*;
    use crate::sample::{self, NOW};

    #[test]
    fn one_that_does_not_hold_decides_and_then_one_that_is_not_known() {
        let mut host = HostState::unmeasured();
        host.network.level =
            Signal::Known { value: NetworkLevel::Internet, since: NOW, source: "kernel".to_owned() };
        let online = Condition::InternetAvailable;
        let holds = |conditions: &[Condition]| answer(conditions, &host).holds;
        assert_eq!(holds(&[online]), Some(true));
        assert_eq!(holds(&[online, Condition::ExternalPower]), None);
        assert_eq!(holds(&[Condition::ExternalPower, Condition::InternetNotAvailable]), Some(false));
        let answer = answer(&[online, Condition::InternetNotAvailable, Condition::ExternalPower], &host);
        insta::assert_snapshot!(render(&answer, &sample::view(100)));
    }
}
