//! What a task is told of what fired it. The engine keeps which completion group it was; its members come from the
//! store, as they are when the task starts: all over.

use longhaul_contract::{
    CompletionDetails, CompletionGroupId, OperationKind, RegisterTaskRequest, TriggerKind,
};
use longhaul_store::Reader;
use serde::Deserialize;

use crate::view;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fired {
    completion_group: CompletionGroupId,
}

/// The document for the task.
///
/// # Errors
/// In words for people: why it cannot be made.
pub(super) fn whole(
    reader: &dyn Reader,
    spec: &RegisterTaskRequest,
    details: &str,
) -> Result<String, String> {
    // A run by hand names no group.
    let fired = match spec.trigger.kind {
        TriggerKind::CompletionGroupTrigger => serde_json::from_str::<Fired>(details).ok(),
        _ => None,
    };
    let Some(Fired { completion_group }) = fired else { return Ok(details.to_owned()) };
    let members = reader.completion_members(completion_group).map_err(|error| error.to_string())?;
    let ended = members.into_iter().filter_map(|record| {
        let state = view::final_state(&record.row.phase)?;
        Some(view::of_record(record, state, None))
    });
    let (downloads, uploads) = ended.partition(|operation| operation.kind == OperationKind::Download);
    serde_json::to_string(&CompletionDetails { completion_group, downloads, uploads })
        .map_err(|error| error.to_string())
}
