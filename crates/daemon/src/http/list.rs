//! The lists of operations: filters, cursor, and a bound on what one call looks through.

use std::sync::Arc;

use axum::extract::State;
use longhaul_contract::{
    AppId, ErrorCode, GroupName, Operation, OperationId, OperationKind, Page, TransferStatus,
};
use longhaul_store::ListQuery;
use serde::Deserialize;

use super::extract::Parameters;
use super::json::Json;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Records read at one time.
const CHUNK: usize = 500;

/// Chunks looked through for one page; a rare status may then give a short page that has a cursor.
const CHUNKS_MAX: usize = 40;

const TEXT_BYTES_MAX: usize = 1024;

/// What to list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Status words, separated by commas.
    status: Option<String>,
    /// Only members of this group.
    group: Option<String>,
    /// Only those of exactly this label.
    label: Option<String>,
    /// Only those that have this in their URI, file name or label, without regard to ASCII case.
    q: Option<String>,
    /// `created` (the default) or `-created`, newest first.
    sort: Option<String>,
    /// At most so many, 1 to 1000; 100 when absent.
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Only those whose id begins with these hexadecimal digits; finds consumed ones as well.
    id_prefix: Option<String>,
    /// Also those whose result was taken (attach).
    #[serde(default)]
    consumed: bool,
    /// `*` lists all applications; only for the owner on the Unix socket.
    app: Option<String>,
}

/// A filter in terms of the store.
struct Search {
    query: ListQuery,
    statuses: Vec<TransferStatus>,
    limit: usize,
}

/// Downloads of the application: those that are not final, and final ones whose result nobody has taken
/// (GetCurrentDownloadsAsync).
#[utoipa::path(
    get,
    path = "/background-transfers/downloads",
    tag = "downloads",
    operation_id = "listDownloads",
    params(Filter),
    responses((status = 200, description = "One page", body = Page<Operation>), Problems)
)]
pub(crate) async fn list(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Parameters(filter): Parameters<Filter>,
) -> Answer<Json<Page<Operation>>> {
    page(&rooms, &caller, filter, Some(OperationKind::Download)).await
}

/// Operations of the application of both kinds: those that are not final, and final ones whose result nobody has taken.
#[utoipa::path(
    get,
    path = "/background-transfers/operations",
    tag = "operations",
    operation_id = "listOperations",
    params(Filter),
    responses((status = 200, description = "One page", body = Page<Operation>), Problems)
)]
pub(crate) async fn list_all(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Parameters(filter): Parameters<Filter>,
) -> Answer<Json<Page<Operation>>> {
    page(&rooms, &caller, filter, None).await
}

/// One page of a list; of all kinds when none is named.
pub(super) async fn page(
    rooms: &Rooms,
    caller: &Caller,
    filter: Filter,
    kind: Option<OperationKind>,
) -> Answer<Json<Page<Operation>>> {
    let prefix = filter.id_prefix.clone();
    let mut search = search(caller, filter)?;
    search.query.kind = kind;
    match prefix {
        Some(prefix) => with_prefix(rooms, search, &prefix).await,
        None => pages(rooms, search).await,
    }
    .map(Json)
}

/// The first page of what `app` has now, in the order of creation; the cursor goes on behind it.
pub(crate) async fn snapshot_page(
    rooms: &Rooms,
    app: Option<AppId>,
    kind: Option<OperationKind>,
    after: Option<OperationId>,
) -> Answer<(Vec<Operation>, Option<OperationId>)> {
    let query = ListQuery { after, kind, ..everything(app) };
    let records = rooms.read(move |reader| reader.list(&query)).await?;
    let next = (records.len() == CHUNK).then(|| records.last().map(|record| record.row.id)).flatten();
    Ok((rooms.views(records).await?, next))
}

fn everything(app: Option<AppId>) -> ListQuery {
    ListQuery {
        app,
        kind: None,
        group: None,
        only_ungrouped: false,
        label: None,
        text: None,
        is_final: None,
        include_consumed: false,
        descending: false,
        after: None,
        limit: CHUNK,
    }
}

fn search(caller: &Caller, filter: Filter) -> Answer<Search> {
    let refuse =
        |field: &str, detail: String| Refused::new(ErrorCode::InvalidParameter, detail).with_field(field);
    for (field, text) in [("label", &filter.label), ("q", &filter.q)] {
        if text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(refuse(field, format!("longer than {TEXT_BYTES_MAX} bytes")));
        }
    }
    let app = match filter.app.as_deref() {
        None => Some(caller.app.clone()),
        Some("*") if caller.is_owner => None,
        Some("*") => caller.need_owner().map(|()| None)?,
        Some(_) => return Err(refuse("app", "only * is known here; Longhaul-App names one".to_owned())),
    };
    let words = filter.status.as_deref().unwrap_or_default().split(',').map(str::trim);
    let statuses = words
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_err(|error| refuse("status", error)))
        .collect::<Answer<Vec<TransferStatus>>>()?;
    let are_final = statuses.iter().filter(|status| status.is_final()).count();
    let limit = filter.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(refuse("limit", format!("must be 1 to {LIMIT_MAX}")));
    }
    let group = filter.group.as_deref().map(GroupName::new).transpose();
    let cursor = filter.cursor.as_deref().map(str::parse::<OperationId>).transpose();
    let query = ListQuery {
        group: group.map_err(|error| refuse("group", error.to_string()))?,
        label: filter.label,
        text: filter.q.filter(|text| !text.is_empty()),
        is_final: match are_final {
            _ if statuses.is_empty() => None,
            0 => Some(false),
            _ if are_final == statuses.len() => Some(true),
            _ => None,
        },
        include_consumed: filter.consumed,
        descending: match filter.sort.as_deref() {
            None | Some("created") => false,
            Some("-created") => true,
            Some(_) => return Err(refuse("sort", "must be created or -created".to_owned())),
        },
        after: cursor.map_err(|_| refuse("cursor", "is not one of ours".to_owned()))?,
        ..everything(app)
    };
    Ok(Search { query, statuses, limit })
}

async fn pages(rooms: &Rooms, search: Search) -> Answer<Page<Operation>> {
    let Search { mut query, statuses, limit } = search;
    let mut items = Vec::new();
    // One more than asked for tells whether there is another page.
    query.limit = if statuses.is_empty() { limit + 1 } else { CHUNK };
    for _ in 0..CHUNKS_MAX {
        let asked = query.clone();
        let records = rooms.read(move |reader| reader.list(&asked)).await?;
        let is_last = records.len() < query.limit;
        query.after = records.last().map(|record| record.row.id).or(query.after);
        let views = rooms.views(records).await?;
        items.extend(views.into_iter().filter(|view| statuses.is_empty() || statuses.contains(&view.status)));
        if items.len() > limit {
            items.truncate(limit);
            let next_cursor = items.last().map(|view| view.id.to_string());
            return Ok(Page { items, next_cursor });
        }
        if is_last {
            return Ok(Page { items, next_cursor: None });
        }
    }
    Ok(Page { items, next_cursor: query.after.map(|id| id.to_string()) })
}

async fn with_prefix(rooms: &Rooms, search: Search, prefix: &str) -> Answer<Page<Operation>> {
    let digits = prefix.chars().filter(|c| *c != '-').count();
    if digits == 0 || digits > 32 || !prefix.chars().all(|c| c == '-' || c.is_ascii_hexdigit()) {
        let detail = "must be 1 to 32 hexadecimal digits, with or without dashes";
        return Err(Refused::new(ErrorCode::InvalidParameter, detail).with_field("idPrefix"));
    }
    let Search { query, statuses, limit } = search;
    let Some(app) = query.app.clone() else {
        let detail = "cannot be combined with app=*";
        return Err(Refused::new(ErrorCode::InvalidParameter, detail).with_field("idPrefix"));
    };
    let prefix = prefix.to_owned();
    let records = rooms
        .read(move |reader| {
            let ids = reader.ids_with_prefix(&app, &prefix, limit)?;
            let mut records = reader.operations(&ids)?;
            records.retain(|record| query.kind.is_none_or(|kind| record.row.kind == kind));
            Ok(records)
        })
        .await?;
    let mut items = rooms.views(records).await?;
    items.retain(|view| statuses.is_empty() || statuses.contains(&view.status));
    Ok(Page { items, next_cursor: None })
}
