//! `longhaul cond`.

use longhaul_contract::Condition;
use longhaul_contract::trigger::ConditionStanding;
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
struct Items {
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<bool>,
    items: Vec<ConditionStanding>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let standings = context.client().await?.conditions().await?;
    let answer = answer(&arguments.conditions, &standings)?;
    if !arguments.quiet {
        context.console.data(&answer, |view| render(&answer, view))?;
    }
    Ok(match answer.holds {
        Some(true) => Exit::Success,
        Some(false) => Exit::Internal,
        None => Exit::Unknown,
    })
}

/// The service judges; here it is only put together.
fn answer(conditions: &[Condition], standings: &[ConditionStanding]) -> Result<Items, Trouble> {
    let mut items = Vec::with_capacity(conditions.len());
    for condition in conditions {
        let found = standings.iter().find(|standing| standing.condition == *condition);
        let unknown = || Trouble::new(Exit::Unknown, format!("the service does not know of {condition}"));
        items.push(found.ok_or_else(unknown)?.clone());
    }
    let holds = if items.iter().any(|item| item.holds == Some(false)) {
        Some(false)
    } else if items.iter().any(|item| item.holds.is_none()) {
        None
    } else {
        Some(true)
    };
    Ok(Items { holds, items })
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
            let source = item.source.as_ref().map(|source| format!(", from {}", escape(source)));
            let detail = escape(&item.detail);
            (condition::word(item.condition), format!("{verdict}: {detail}{}", source.unwrap_or_default()))
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn standing(condition: Condition, holds: Option<bool>, detail: &str) -> ConditionStanding {
        ConditionStanding {
            condition,
            holds,
            lets_start: holds == Some(true),
            detail: detail.to_owned(),
            value: None,
            since: None,
            source: holds.map(|_| "kernel\u{1b}[1m".to_owned()),
        }
    }

    #[test]
    fn one_that_does_not_hold_decides_and_then_one_that_is_not_known() {
        let standings = [
            standing(Condition::InternetAvailable, Some(true), "the Internet is reachable"),
            standing(Condition::InternetNotAvailable, Some(false), "the Internet is reachable"),
            standing(Condition::ExternalPower, None, "nobody has measured it"),
        ];
        let online = Condition::InternetAvailable;
        let holds = |conditions: &[Condition]| answer(conditions, &standings).unwrap().holds;
        assert_eq!(holds(&[online]), Some(true));
        assert_eq!(holds(&[online, Condition::ExternalPower]), None);
        assert_eq!(holds(&[Condition::ExternalPower, Condition::InternetNotAvailable]), Some(false));
        let all = [online, Condition::InternetNotAvailable, Condition::ExternalPower];
        insta::assert_snapshot!(render(&answer(&all, &standings).unwrap(), &sample::view(100)));
        assert_eq!(answer(&[Condition::UserPresent], &standings).err().unwrap().exit, Exit::Unknown);
    }
}
