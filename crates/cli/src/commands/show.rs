//! `longhaul show`.

use longhaul_contract::{Operation, ResponseInformation};
use serde::Serialize;

use crate::commands::list::percent;
use crate::connect::Context;
use crate::console::View;
use crate::exit::Exit;
use crate::table::pairs;
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{describe, identifiers, measure};

/// Show everything about one download
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The download, by its id or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    operation: &'a Operation,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a ResponseInformation>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let download = identifiers::resolve(&client, &arguments.id).await?;
    let operation = download.get().await?;
    let response = download.response().await?;
    let shown = Shown { operation: &operation, response: response.as_ref() };
    context.console.data(&shown, |view| render(&operation, response.as_ref(), view))?;
    Ok(Exit::Success)
}

fn render(operation: &Operation, response: Option<&ResponseInformation>, view: &View) -> String {
    let (status, style) = describe::status(operation);
    let mut lines = vec![
        ("id", operation.id.to_string()),
        ("status", format!("{} ({})", view.paint.paint(style, status), operation.status)),
    ];
    let mut add = |name: &'static str, value: Option<String>| {
        lines.extend(value.map(|value| (name, value)));
    };
    add("waiting", describe::waiting(operation, view.now).filter(|_| !describe::needs_input(operation)));
    add("problem", operation.error.as_ref().map(|_| describe::failure(operation)));
    add("try", operation.error.as_ref().and_then(|_| describe::advice(operation)));
    add("address", Some(escape(&operation.requested_uri).into_owned()));
    for file in operation.result_file.iter().chain(&operation.source_file).chain(&operation.part_files) {
        add("file", Some(escape(file).into_owned()));
    }
    add("method", operation.method.as_deref().map(|method| escape(method).into_owned()));
    add("protocol", operation.protocol.map(|protocol| protocol.to_string()));
    add("progress", Some(progress(operation)));
    add("priority", Some(operation.priority.to_string()));
    add("cost policy", Some(operation.cost_policy.to_string()));
    add("group", operation.transfer_group.as_ref().map(|group| escape(group.as_str()).into_owned()));
    add("completion group", operation.completion_group.map(|group| group.to_string()));
    add("label", operation.label.as_deref().map(|label| escape(label).into_owned()));
    add("rate limit", operation.rate_limit.map(measure::rate));
    add("not before", operation.not_before.map(|time| view.instant(time)));
    add("checksum", operation.checksum.as_ref().map(ToString::to_string));
    add("random access", operation.is_random_access_required.then(|| "yes".to_owned()));
    add("created", Some(view.instant(operation.created_time)));
    add("started", operation.started_time.map(|time| view.instant(time)));
    add("completed", operation.completed_time.map(|time| view.instant(time)));
    add("result taken", operation.consumed_time.map(|time| view.instant(time)));
    if let Some(response) = response {
        let is_elsewhere = response.actual_uri != operation.requested_uri;
        add("came from", is_elsewhere.then(|| escape(&response.actual_uri).into_owned()));
        let resumable = if response.is_resumable { "resumable" } else { "not resumable" };
        add("response", Some(format!("{} ({resumable})", response.status_code)));
        for (name, value) in &response.headers {
            add("", Some(format!("{}: {}", escape(name), escape(value))));
        }
    }
    pairs(view, lines)
}

fn progress(operation: &Operation) -> String {
    let progress = &operation.progress;
    let mut text = match describe::moved(operation) {
        (moved, 0) => format!("{} of an unknown size", measure::bytes(moved)),
        (moved, total) => format!("{} of {}", measure::bytes(moved), measure::bytes(total)),
    };
    if let Some(percent) = percent(operation) {
        text.push_str(&format!(" ({percent}%)"));
    }
    if progress.bytes_per_second > 0 {
        text.push_str(&format!(", {}", measure::rate(progress.bytes_per_second)));
    }
    if let Some(left) = progress.seconds_left {
        text.push_str(&format!(", {} left", measure::words(left)));
    }
    if progress.has_restarted {
        text.push_str(", began again at byte 0");
    }
    text
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{Cause, TransferStatus};

    use super::*;
    use crate::sample::{self, failed, numbered, with_progress};

    #[test]
    fn a_download_under_way() {
        let operation = with_progress(numbered(1, "film.mkv"), 792_723_456, 50_541_363);
        let response = ResponseInformation {
            actual_uri: "https://mirror.example.org/film.mkv".to_owned(),
            status_code: 206,
            is_resumable: true,
            headers: vec![("server".to_owned(), "nginx\u{1b}[2J".to_owned())],
        };
        insta::assert_snapshot!(render(&operation, Some(&response), &sample::view(100)));
    }

    #[test]
    fn an_upload_under_way() {
        insta::assert_snapshot!(render(&sample::upload(2, "film.mkv"), None, &sample::view(100)));
    }

    #[test]
    fn a_download_that_needs_a_new_address() {
        let operation = failed(
            with_progress(numbered(1, "signed.bin"), 1 << 29, 0),
            TransferStatus::PausedRecoverableWebErrorStatus,
            Cause::HttpStatus,
            "server said 403 Forbidden",
        );
        insta::assert_snapshot!(render(&operation, None, &sample::view(100)));
    }
}
