//! `longhaul triggers`.

use longhaul_contract::trigger::TriggerType;
use serde::Serialize;

use crate::connect::Context;
use crate::console::{BAD, FAINT, GOOD, View};
use crate::exit::Exit;
use crate::input::trigger;
use crate::table::{Align, Cell, Table};
use crate::text::escape;
use crate::trouble::Trouble;

/// List what can start a task, how it is written, and whether this machine can fire it
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [TriggerType],
}

pub(crate) async fn run(_: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let types = context.client().await?.trigger_types().await?;
    context.console.data(&Items { items: &types }, |view| render(&types, view))?;
    Ok(Exit::Success)
}

fn render(types: &[TriggerType], view: &View) -> String {
    let mut table = Table::new(&[("WRITTEN", Align::Left), ("HERE", Align::Left), ("FIRES ON", Align::Left)]);
    for kind in types {
        table.row([
            Cell::from(trigger::syntax(kind.kind)),
            here(kind.supported),
            Cell::from(remarked(&kind.description, kind.reason.as_deref().or(kind.source.as_deref()))),
        ]);
        for system in &kind.system_trigger_types {
            let remark = system.reason.as_deref().or(system.source.as_deref());
            table.row([
                Cell::from(format!("  system:{}", system.system_trigger_type)),
                here(system.supported),
                Cell::styled(escape(remark.unwrap_or_default()), FAINT),
            ]);
        }
    }
    table.render(view)
}

fn here(is_supported: bool) -> Cell {
    if is_supported { Cell::styled("yes", GOOD) } else { Cell::styled("no", BAD) }
}

/// `what fires it (why it cannot, or what would)`.
fn remarked(description: &str, remark: Option<&str>) -> String {
    let remark = remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
    escape(&(description.to_owned() + &remark)).into_owned()
}

#[cfg(test)]
mod tests {
    use longhaul_contract::trigger::SystemTriggerSupport;
    use longhaul_contract::{SystemTriggerType, TriggerKind};

    use super::*;
    use crate::sample;

    #[test]
    fn what_this_machine_can_and_cannot_fire() {
        let kind = |kind: TriggerKind, supported, source: Option<&str>, reason: Option<&str>| TriggerType {
            kind,
            description: kind.description().to_owned(),
            requires_lock_screen: false,
            supports_one_shot: kind.supports_one_shot(),
            supported,
            source: source.map(str::to_owned),
            reason: reason.map(str::to_owned),
            system_trigger_types: Vec::new(),
        };
        let system = |system_trigger_type, supported, reason: Option<&str>| SystemTriggerSupport {
            system_trigger_type,
            supported,
            source: None,
            reason: reason.map(str::to_owned),
        };
        let types = [
            TriggerType {
                system_trigger_types: vec![
                    system(SystemTriggerType::TimeZoneChange, true, None),
                    system(SystemTriggerType::SmsReceived, false, Some("no modem\u{1b}[2J")),
                ],
                ..kind(TriggerKind::SystemTrigger, true, None, None)
            },
            kind(TriggerKind::TimeTrigger, true, Some("the clock"), None),
            kind(TriggerKind::LocationTrigger, false, None, Some("GeoClue is not there")),
        ];
        insta::assert_snapshot!(render(&types, &sample::view(160)));
    }
}
