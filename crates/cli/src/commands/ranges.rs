//! `longhaul ranges`.

use longhaul_contract::ByteRange;
use serde::Serialize;

use crate::connect::Context;
use crate::exit::Exit;
use crate::identifiers;
use crate::measure;
use crate::trouble::Trouble;

/// Show which bytes of a download are on disk
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The download, by its id or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Serialize)]
struct Items<'a> {
    items: &'a [ByteRange],
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let ranges = identifiers::resolve_download(&client, &arguments.id).await?.ranges().await?;
    context.console.data(&Items { items: &ranges }, |_| render(&ranges))?;
    if ranges.is_empty() && !context.console.is_json {
        context.console.say("No bytes yet.");
    }
    Ok(Exit::Success)
}

/// First and last offset, as in a Content-Range field (RFC 9110 section 14.4).
fn render(ranges: &[ByteRange]) -> String {
    ranges
        .iter()
        .map(|range| {
            let last = range.end().saturating_sub(1);
            format!("{}-{last}\t{}\n", range.offset, measure::bytes(range.length))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_shown_by_first_and_last_byte() {
        let ranges = [ByteRange::new(0, 1024), ByteRange::new(4096, 1)];
        assert_eq!(render(&ranges), "0-1023\t1.0 KiB\n4096-4096\t1 B\n");
    }
}
