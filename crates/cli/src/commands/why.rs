//! `longhaul why`.

use longhaul_client::Supposition;
use longhaul_contract::{Decision, Explanation, Reason};

use crate::connect::Context;
use crate::console::{BAD, FAINT, GOOD, STRONG, View, WARNING};
use crate::exit::Exit;
use crate::input::time;
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{identifiers, measure};
use anstyle::Style;

/// Tell why a download is or is not running
///
/// The answer is made by the very decision that runs it or holds it back.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The download, by its id or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    supposing: Supposing,
}

/// What the question supposes.
#[derive(Debug, clap::Args)]
pub(crate) struct Supposing {
    /// Ask what would be if this held, separated by commas: online, offline, unmetered, metered, roaming, ac, battery,
    /// present, away, session, nosession, cheap, costly
    #[arg(long = "if", value_name = "COND", value_delimiter = ',')]
    conditions: Vec<String>,
    /// Ask what would be at this time, such as 18:00, 2026-01-31T18:00 or +2h30m
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

impl Supposing {
    pub(crate) fn read(self) -> Result<Supposition, Trouble> {
        let now = jiff::Zoned::now();
        let at = self.at.map(|text| time::parse(&text, &now)).transpose();
        Ok(Supposition { conditions: self.conditions, at: at.map_err(Trouble::usage)? })
    }
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let supposed = arguments.supposing.read()?;
    let explanation = identifiers::resolve(&client, &arguments.id).await?.explain_if(&supposed).await?;
    context.console.data(&explanation, |view| render(&explanation, &supposed, view))?;
    Ok(Exit::Success)
}

/// Stretches of waiting that are shown, newest last.
const HISTORY_SHOWN: usize = 10;

pub(crate) fn render(explanation: &Explanation, supposed: &Supposition, view: &View) -> String {
    let (verdict, style) = match (explanation.decision, supposed.is_empty()) {
        (Decision::Run, true) => ("It runs.", GOOD),
        (Decision::Run, false) => ("It would run.", GOOD),
        (Decision::Wait, true) => ("It waits.", WARNING),
        (Decision::Wait, false) => ("It would wait.", WARNING),
        (Decision::Done, _) => ("It is finished.", STRONG),
    };
    let mut text = view.paint.paint(style, verdict) + "\n";
    section(&mut text, view, "Blocked by", BAD, &explanation.blocking);
    section(&mut text, view, "Unknown", WARNING, &explanation.unknown);
    section(&mut text, view, "Fulfilled", GOOD, &explanation.satisfied);
    if !explanation.history.is_empty() {
        text.push_str(&format!("\n{}\n", view.paint.paint(STRONG, "Waited before")));
        let skipped = explanation.history.len().saturating_sub(HISTORY_SHOWN);
        for entry in &explanation.history[skipped..] {
            let taken = entry.to.unwrap_or(view.now).seconds_since(entry.from);
            let taken = measure::words(u64::try_from(taken).unwrap_or(0));
            let until = if entry.to.is_some() { "for" } else { "still," };
            text.push_str(&format!(
                "  {}  {until} {taken}  {}\n",
                view.instant(entry.from),
                entry.code.word()
            ));
        }
    }
    if !explanation.totals.is_empty() {
        text.push_str(&format!("\n{}\n", view.paint.paint(STRONG, "Waited in all")));
        for total in &explanation.totals {
            text.push_str(&format!("  {:>12}  {}\n", measure::words(total.seconds), total.code.word()));
        }
    }
    if let Some(call) = &explanation.override_with {
        text.push_str(&format!("\n{} {}\n", view.paint.paint(STRONG, "To start it now:"), escape(call)));
    }
    text
}

fn section(text: &mut String, view: &View, title: &str, style: Style, reasons: &[Reason]) {
    if reasons.is_empty() {
        return;
    }
    text.push_str(&format!("\n{}\n", view.paint.paint(STRONG, title)));
    for reason in reasons {
        let code = view.paint.paint(style, &reason.code.word());
        text.push_str(&format!("  {code}: {}\n", escape(&reason.detail)));
        let mut facts = Vec::new();
        facts.extend(reason.value.as_ref().map(|value| format!("value {}", escape(value))));
        facts.extend(reason.since.map(|since| format!("since {}", view.instant(since))));
        facts.extend(reason.set_by.as_ref().map(|source| format!("set by {}", escape(source))));
        facts.extend(reason.ends_when.as_ref().map(|end| format!("ends {}", escape(end))));
        if !facts.is_empty() {
            text.push_str(&format!("    {}\n", view.paint.paint(FAINT, &facts.join(", "))));
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::ReasonCode;
    use longhaul_contract::explain::{HistoryEntry, ReasonTotal};

    use super::*;
    use crate::sample::{self, NOW};

    fn reason(code: ReasonCode, detail: &str) -> Reason {
        Reason { code, detail: detail.to_owned(), value: None, since: None, set_by: None, ends_when: None }
    }

    #[test]
    fn everything_that_an_explanation_can_say() {
        let explanation = Explanation {
            decision: Decision::Wait,
            blocking: vec![Reason {
                value: Some("metered".to_owned()),
                since: Some(NOW.plus_seconds(-90)),
                set_by: Some("NetworkManager".to_owned()),
                ends_when: Some("when an unmetered network is there".to_owned()),
                ..reason(ReasonCode::NetworkCost, "the network is metered\u{1b}[31m")
            }],
            satisfied: vec![reason(ReasonCode::RunningAtOnce, "3 of 16 are running")],
            unknown: vec![reason(ReasonCode::EnergySaver, "no source of energy saver on this host")],
            history: vec![
                HistoryEntry {
                    code: ReasonCode::Backoff,
                    from: NOW.plus_seconds(-600),
                    to: Some(NOW.plus_seconds(-588)),
                },
                HistoryEntry { code: ReasonCode::NetworkCost, from: NOW.plus_seconds(-90), to: None },
            ],
            totals: vec![ReasonTotal { code: ReasonCode::Backoff, seconds: 12 }],
            override_with: Some("longhaul set 019c8a3b-7f2e costPolicy=Always".to_owned()),
        };
        insta::assert_snapshot!(render(&explanation, &Supposition::default(), &sample::view(100)));
    }

    #[test]
    fn a_finished_one_has_little_to_say() {
        let explanation = Explanation::of(Decision::Done);
        let text = render(&explanation, &Supposition::default(), &sample::view(100));
        assert_eq!(text, "It is finished.\n");
    }

    #[test]
    fn what_is_only_supposed_is_told_so() {
        let supposed = Supposition { conditions: vec!["ac".to_owned()], at: None };
        let told = |decision| render(&Explanation::of(decision), &supposed, &sample::view(100));
        assert_eq!(told(Decision::Run), "It would run.\n");
        assert_eq!(told(Decision::Wait), "It would wait.\n");
    }
}
