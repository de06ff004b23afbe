//! Ids as a person types and reads them: shortened to a prefix that no other operation has.

use longhaul_client::{Client, Download, DownloadQuery, Transfer};
use longhaul_contract::{Operation, OperationKind};

use crate::describe;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// Up to this many operations are named when a prefix fits several.
const CANDIDATES: u32 = 5;
/// The shortest prefix that is shown: the milliseconds of a UUIDv7 (RFC 9562 section 5.7).
const SHOWN_MIN: usize = 13;

/// Finds the one download whose id begins with `text`.
pub(crate) async fn resolve_download(client: &Client, text: &str) -> Result<Download, Trouble> {
    let found = resolve(client, text).await?;
    match found.kind() {
        OperationKind::Download => Ok(client.download(found.id())),
        OperationKind::Upload => Err(Trouble::usage(format!("{} is an upload", found.id()))
            .advise("This is for downloads; see `longhaul show ID`.")),
    }
}

/// Finds the one operation whose id begins with `text`.
pub(crate) async fn resolve(client: &Client, text: &str) -> Result<Transfer, Trouble> {
    let is_prefix = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if !is_prefix {
        return Err(Trouble::usage(format!("{text:?} is not an id or the beginning of one"))
            .advise("See the ids with `longhaul ls --all`."));
    }
    let query = DownloadQuery {
        id_prefix: Some(text.to_ascii_lowercase()),
        include_consumed: true,
        limit: Some(CANDIDATES),
        ..DownloadQuery::default()
    };
    let found = client.operations(query).next().await?.unwrap_or_default();
    match found.as_slice() {
        [only] => Ok(client.transfer(only.kind, only.id)),
        [] => Err(Trouble::new(Exit::NotFound, format!("no operation has an id that begins with {text}"))
            .advise("See the ids with `longhaul ls --all`.")),
        several => {
            let named: Vec<_> = several
                .iter()
                .map(|operation| format!("{} ({})", operation.id, describe::name(operation, None)))
                .collect();
            Err(Trouble::new(Exit::NotFound, format!("{text} fits several: {}", named.join(", ")))
                .advise("Give more of the id."))
        }
    }
}

/// For each operation the shortest beginning of its id that tells it from the others, at least 13 characters.
pub(crate) fn short(operations: &[Operation]) -> Vec<String> {
    shortened(&operations.iter().map(|operation| operation.id.to_string()).collect::<Vec<_>>())
}

/// As [`short`], for ids of whatever kind.
pub(crate) fn shortened(ids: &[String]) -> Vec<String> {
    let mut sorted: Vec<&str> = ids.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let in_common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    ids.iter()
        .map(|id| {
            let place = sorted.partition_point(|other| *other < id.as_str());
            let before = place.checked_sub(1).map_or(0, |before| in_common(id, sorted[before]));
            let after = sorted.get(place + 1).map_or(0, |after| in_common(id, after));
            let length = (before.max(after) + 1).max(SHOWN_MIN).min(id.len());
            id[..length].to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn shown_ids_tell_the_operations_apart() {
        let ids = [
            "019c8a3b-7f2e-7000-8000-000000000001",
            "019c8a3b-7f2e-7000-8000-000000000002",
            "019c8a3b-7f2f-7000-8000-000000000000",
        ];
        let operations: Vec<_> = ids.iter().map(|id| sample::operation(id)).collect();
        assert_eq!(short(&operations), [ids[0], ids[1], "019c8a3b-7f2f"]);
        assert_eq!(short(&operations[1..]), ["019c8a3b-7f2e", "019c8a3b-7f2f"]);
    }
}
