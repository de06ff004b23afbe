//! `longhaul ls`.

use longhaul_client::DownloadQuery;
use longhaul_contract::{GroupName, Operation, TransferStatus};
use serde::Serialize;

use crate::connect::Context;
use crate::console::{FAINT, View};
use crate::exit::Exit;
use crate::table::{Align, Cell, Table};
use crate::trouble::Trouble;
use crate::{describe, identifiers, measure};

/// List downloads
///
/// Without --all: those under way and those whose result nobody has taken yet. `get` and `follow ID` take the result
/// when they end.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also those whose result was taken and that are not forgotten yet
    #[arg(short, long)]
    all: bool,
    /// Only these statuses: Idle, Running, PausedByApplication, Completed, Error …
    #[arg(short, long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<TransferStatus>,
    /// Only members of this group
    #[arg(short, long, value_name = "NAME")]
    group: Option<GroupName>,
    /// Only those with this label
    #[arg(short, long, value_name = "LABEL")]
    label: Option<String>,
    /// Only those with this text in address, file name or label
    #[arg(short, long = "query", value_name = "TEXT")]
    query: Option<String>,
    /// Show no more than this many
    #[arg(short = 'n', long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [Operation],
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let query = DownloadQuery {
        status: arguments.status,
        group: arguments.group,
        label: arguments.label,
        text: arguments.query,
        include_consumed: arguments.all,
        limit: u32::try_from(limit).ok().filter(|limit| *limit < 1_000),
        ..DownloadQuery::default()
    };
    let client = context.client().await?;
    let mut pages = client.operations(query);
    let mut operations: Vec<Operation> = Vec::new();
    while operations.len() < limit
        && let Some(page) = pages.next().await?
    {
        operations.extend(page);
    }
    let has_more = operations.len() > limit;
    operations.truncate(limit);
    context.console.data(&Items { items: &operations }, |view| render(&operations, view))?;
    if !context.console.is_json {
        if operations.is_empty() {
            let more = if arguments.all { "" } else { " (longhaul ls --all shows older ones)" };
            context.console.say(&format!("Nothing{more}."));
        } else if has_more {
            context.console.say("… and more.");
        }
    }
    Ok(Exit::Success)
}

fn render(operations: &[Operation], view: &View) -> String {
    if operations.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("STATUS", Align::Left),
        ("", Align::Right),
        ("SIZE", Align::Right),
        ("RATE", Align::Right),
        ("LEFT", Align::Right),
        ("NAME", Align::Left),
        ("WHY", Align::Left),
    ]);
    for (operation, id) in operations.iter().zip(identifiers::short(operations)) {
        let (status, style) = describe::status(operation);
        let progress = &operation.progress;
        let moving = progress.bytes_per_second > 0 && !operation.status.is_final();
        let reason = if operation.status.is_final() || describe::needs_input(operation) {
            operation.error.as_ref().map(|_| describe::failure(operation))
        } else {
            describe::waiting(operation, view.now)
        };
        table.row([
            Cell::from(id),
            Cell::styled(status, style),
            Cell::from(percent(operation).map(|percent| format!("{percent}%")).unwrap_or_default()),
            Cell::from(size(operation)),
            Cell::from(if moving { measure::rate(progress.bytes_per_second) } else { String::new() }),
            Cell::from(progress.seconds_left.filter(|_| moving).map(measure::clock).unwrap_or_default()),
            Cell::from(describe::short_name(operation)),
            Cell::styled(reason.unwrap_or_default(), FAINT),
        ]);
    }
    table.render(view)
}

/// Of an operation that is under way and whose size is known; 100 only when every byte is there.
pub(crate) fn percent(operation: &Operation) -> Option<u64> {
    let (moved, total) = describe::moved(operation);
    if operation.status.is_final() || total == 0 {
        return None;
    }
    let percent = u128::from(moved) * 100 / u128::from(total);
    u64::try_from(percent.min(100)).ok()
}

fn size(operation: &Operation) -> String {
    match describe::moved(operation) {
        (0, 0) => String::new(),
        (received, 0) => measure::bytes(received),
        (received, total) if received == total => measure::bytes(total),
        (received, total) => format!("{} / {}", measure::bytes(received), measure::bytes(total)),
    }
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{Cause, ReasonCode};

    use super::*;
    use crate::sample::{self, failed, numbered, waiting, with_progress, with_status};

    fn operations() -> Vec<Operation> {
        vec![
            with_progress(numbered(1, "film.mkv"), 792_723_456, 50_541_363),
            waiting(
                with_progress(
                    numbered(2, "a much longer name than fits into any column of a table.tar.gz"),
                    9,
                    0,
                ),
                ReasonCode::Backoff,
                "server said 503 Service Unavailable",
                Some(12),
            ),
            waiting(
                with_status(numbered(3, "queued.iso"), TransferStatus::Idle),
                ReasonCode::RunningAtOnce,
                "16 others are running, which is the limit",
                None,
            ),
            with_status(with_progress(numbered(4, "done.iso"), 2 << 30, 0), TransferStatus::Completed),
            failed(
                numbered(5, "gone\u{1b}[2J.iso"),
                TransferStatus::Error,
                Cause::HttpStatus,
                "server said 404 Not Found",
            ),
            failed(
                with_progress(numbered(6, "signed.bin"), 1 << 29, 0),
                TransferStatus::PausedRecoverableWebErrorStatus,
                Cause::HttpStatus,
                "server said 403 Forbidden: the link may have expired",
            ),
        ]
    }

    #[test]
    fn a_list_on_a_wide_terminal() {
        insta::assert_snapshot!(render(&operations(), &sample::view(200)));
    }

    #[test]
    fn a_list_on_a_usual_terminal() {
        insta::assert_snapshot!(render(&operations(), &sample::view(120)));
    }

    #[test]
    fn percent_is_hundred_only_at_the_end() {
        let operation = numbered(1, "a");
        assert_eq!(percent(&with_progress(operation.clone(), (2 << 30) - 1, 1)), Some(99));
        assert_eq!(percent(&with_progress(operation, 2 << 30, 1)), Some(100));
    }
}
