//! Operations in a person's words: what they are called, how they are doing, and what can be done about it.

use std::path::Path;

use longhaul_contract::{
    Cause, Operation, OperationError, OperationKind, ReasonCode, Remedy, Timestamp, TransferStatus,
    WaitingReason, WebErrorStatus,
};
use url::Url;

use crate::console::{BAD, FAINT, GOOD, WARNING};
use crate::measure;
use crate::text::{escape, fit_end, width};

/// The file as a person would name it here: relative to `folder` where it lies below. Escaped.
pub(crate) fn name(operation: &Operation, folder: Option<&Path>) -> String {
    let named = name_of(&operation.requested_uri, file(operation), folder);
    match operation.kind {
        OperationKind::Download => named,
        OperationKind::Upload => format!("{named} to {}", host(&operation.requested_uri)),
    }
}

/// The file that is made or sent; the first one of several parts, and the folder of the unnamed for none.
pub(crate) fn file(operation: &Operation) -> &str {
    let files = [operation.result_file.as_deref(), operation.source_file.as_deref()];
    let part = operation.part_files.first().map(String::as_str);
    files.into_iter().flatten().next().or(part).unwrap_or("/")
}

/// Escaped.
fn host(uri: &str) -> String {
    let url = Url::parse(uri).ok();
    escape(url.as_ref().and_then(Url::host_str).unwrap_or(uri)).into_owned()
}

/// Bytes that have come or gone, and all of them; 0 is unknown.
pub(crate) fn moved(operation: &Operation) -> (u64, u64) {
    let progress = &operation.progress;
    match operation.kind {
        OperationKind::Download => (progress.bytes_received, progress.total_bytes_to_receive),
        OperationKind::Upload => (progress.bytes_sent, progress.total_bytes_to_send),
    }
}

/// As [`name`], before there is an operation.
pub(crate) fn name_of(requested_uri: &str, result_file: &str, folder: Option<&Path>) -> String {
    let path = Path::new(result_file);
    let shown = folder.and_then(|folder| path.strip_prefix(folder).ok()).unwrap_or(path);
    if !result_file.ends_with('/') {
        return escape(&shown.to_string_lossy()).into_owned();
    }
    // The server has not named the file yet: the address does meanwhile.
    let url = Url::parse(requested_uri).ok();
    let segment = url.as_ref().and_then(|url| url.path_segments()?.rfind(|segment| !segment.is_empty()));
    let name = segment.or_else(|| url.as_ref()?.host_str()).unwrap_or(requested_uri);
    escape(&shown.join(name).to_string_lossy()).into_owned()
}

/// The file's name alone, for a narrow column. Escaped.
pub(crate) fn short_name(operation: &Operation) -> String {
    let file = file(operation);
    let folder = file.rfind('/').map(|end| Path::new(&file[..=end]));
    name(operation, folder)
}

/// As [`short_name`], before there is an operation.
pub(crate) fn short_name_of(requested_uri: &str, result_file: &str) -> String {
    let folder = result_file.rfind('/').map(|end| Path::new(&result_file[..=end]));
    name_of(requested_uri, result_file, folder)
}

/// One or two words for a list, and how they are coloured.
pub(crate) fn status(operation: &Operation) -> (&'static str, anstyle::Style) {
    match operation.status {
        TransferStatus::Idle if has_reason(operation, ReasonCode::NotStarted) => ("not started", FAINT),
        TransferStatus::Idle => ("queued", FAINT),
        TransferStatus::Running if has_reason(operation, ReasonCode::Backoff) => ("retrying", WARNING),
        TransferStatus::Running => ("running", GOOD),
        TransferStatus::PausedByApplication => ("paused", WARNING),
        TransferStatus::PausedCostedNetwork => ("costed network", WARNING),
        TransferStatus::PausedNoNetwork => ("no network", WARNING),
        TransferStatus::Completed => ("done", GOOD),
        TransferStatus::Canceled => ("canceled", FAINT),
        TransferStatus::Error => ("failed", BAD),
        TransferStatus::PausedRecoverableWebErrorStatus => ("needs input", BAD),
        TransferStatus::PausedSystemPolicy => ("blocked", WARNING),
    }
}

fn has_reason(operation: &Operation, code: ReasonCode) -> bool {
    operation.waiting.iter().any(|reason| reason.code == code)
}

/// Whether it merely waits for its turn.
pub(crate) fn is_queued(operation: &Operation) -> bool {
    operation.waiting.first().is_some_and(|reason| {
        matches!(
            reason.code,
            ReasonCode::RunningAtOnce
                | ReasonCode::RunningAtOncePerApplication
                | ReasonCode::ConnectionsPerHost
                | ReasonCode::GroupSerialized
        )
    })
}

/// Whether it waits for its caller and nothing else will move it.
pub(crate) fn needs_input(operation: &Operation) -> bool {
    operation.status == TransferStatus::PausedRecoverableWebErrorStatus
        || has_reason(operation, ReasonCode::NeedsInput)
}

/// Why it is not moving bytes, in one sentence; `None` while it does. Escaped.
pub(crate) fn waiting(operation: &Operation, now: Timestamp) -> Option<String> {
    waiting_within(operation, now, usize::MAX)
}

/// As [`waiting`], cut to so many columns where that is possible without losing when it ends.
pub(crate) fn waiting_within(operation: &Operation, now: Timestamp, columns: usize) -> Option<String> {
    if operation.status.is_final() {
        return None;
    }
    if needs_input(operation) {
        return Some(fit_end(&failure(operation), columns).into_owned());
    }
    // That a worker lets go takes moments, and is of interest only where it is all there is.
    let lasting = operation.waiting.iter().find(|reason| reason.code != ReasonCode::Stopping);
    let Some(reason) = lasting.or(operation.waiting.first()) else {
        return match operation.status {
            TransferStatus::Running => None,
            _ => Some(status(operation).0.to_owned()),
        };
    };
    // Who waits after a failure knows that it waits: the failure is what is new.
    let detail = match (&operation.error, reason.code) {
        (Some(error), ReasonCode::Backoff) => &error.detail,
        _ => &reason.detail,
    };
    let end = reason.until.map(|until| end_of(reason, until, now)).unwrap_or_default();
    let room = columns.saturating_sub(width(&end));
    Some(fit_end(&escape(detail), room).into_owned() + &end)
}

fn end_of(reason: &WaitingReason, until: Timestamp, now: Timestamp) -> String {
    match u64::try_from(until.seconds_since(now)).ok().filter(|left| *left > 0) {
        None => ", trying again now".to_owned(),
        Some(left) if reason.code == ReasonCode::Backoff => format!(", next try in {}", measure::words(left)),
        Some(left) => format!(", {} to go", measure::words(left)),
    }
}

/// Why it failed or what it needs, in one sentence. Escaped.
pub(crate) fn failure(operation: &Operation) -> String {
    match (&operation.error, operation.status) {
        (Some(error), _) => escape(&error.detail).into_owned(),
        (None, TransferStatus::Canceled) => "canceled".to_owned(),
        (None, _) => "failed without telling why".to_owned(),
    }
}

/// What a person can do about an operation that failed or waits for input.
pub(crate) fn advice(operation: &Operation) -> Option<String> {
    let id = operation.id;
    let error = operation.error.as_ref()?;
    if !operation.status.is_final() {
        if !needs_input(operation) {
            return None;
        }
        // Of an upload, what the server has kept is the server's.
        let kept = match operation.kind {
            OperationKind::Download => ", the bytes are kept",
            OperationKind::Upload => "",
        };
        return Some(match error.cause {
            Cause::Unconfirmed => {
                format!(
                    "look whether the server has it; then longhaul cancel {id}, or longhaul resume {id} to send it again"
                )
            }
            _ if wants_proxy_credential(error) => {
                format!(
                    "give the proxy's credential anew{kept}: longhaul set {id} --proxy-user NAME --resume"
                )
            }
            _ if wants_a_name(error) => {
                format!("give the credential anew{kept}: longhaul set {id} --user NAME --resume")
            }
            _ => format!("give a new address{kept}: longhaul set {id} requestedUri=URL --resume"),
        });
    }
    failed_advice(operation, error)
}

/// Whether the server, of whatever protocol, wants to know who asks.
fn wants_a_name(error: &OperationError) -> bool {
    error.http_status == Some(401) || error.web_error_status == WebErrorStatus::Unauthorized
}

fn wants_proxy_credential(error: &OperationError) -> bool {
    error.web_error_status == WebErrorStatus::ProxyAuthenticationRequired
}

fn failed_advice(operation: &Operation, error: &OperationError) -> Option<String> {
    let id = operation.id;
    let command = match operation.kind {
        OperationKind::Download => "get",
        OperationKind::Upload => "put",
    };
    Some(match error.cause {
        Cause::SourceUnreadable => "look whether the file is there and may be read".to_owned(),
        Cause::NameExists => "choose another name with -o, or say --if-exists rename or replace".to_owned(),
        Cause::DigestMismatch | Cause::SizeMismatch | Cause::ContentTypeMismatch => {
            "nothing was published; make sure that the checksum belongs to this very file".to_owned()
        }
        Cause::TlsCertificate => {
            "if this certificate is to be trusted, name it in the service's configuration or with longhaul daemon \
             --ca-certificate FILE"
                .to_owned()
        }
        Cause::RangesUnsupported | Cause::LengthMissing => {
            "this server cannot serve --random-access; leave it out".to_owned()
        }
        Cause::FolderMissing | Cause::FolderNotWritable | Cause::InvalidName => {
            "choose another folder with -d".to_owned()
        }
        Cause::FileTooLarge => "choose a folder on another file system with -d".to_owned(),
        Cause::Canceled => return None,
        _ if wants_proxy_credential(error) => {
            "the proxy wants to know who asks: give --proxy-user NAME, or go by another one with --proxy".to_owned()
        }
        _ if wants_a_name(error) || error.http_status == Some(403) => {
            "the server wants to know who asks: give --user NAME, or a --header with a token".to_owned()
        }
        _ if matches!(error.remedy, Remedy::Permanent | Remedy::NeedsInput)
            && (error.http_status.is_some() || error.cause == Cause::FtpReply) =>
        {
            "check the address".to_owned()
        }
        _ => format!("see what happened with longhaul why {id}, and try again with longhaul {command}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, NOW};

    #[test]
    fn a_file_is_named_by_its_path_or_by_its_address() {
        let uri = "https://example.org/films/film.mkv?key=1";
        let folder = Some(Path::new("/home/ann"));
        assert_eq!(name_of(uri, "/home/ann/a/b.bin", folder), "a/b.bin");
        assert_eq!(name_of(uri, "/elsewhere/b.bin", folder), "/elsewhere/b.bin");
        assert_eq!(name_of(uri, "/home/ann/a/", folder), "a/film.mkv");
        assert_eq!(name_of("https://example.org/", "/home/ann/", folder), "example.org");
        assert_eq!(short_name_of(uri, "/home/ann/a/"), "film.mkv");
        assert_eq!(short_name_of(uri, "/home/ann/a/b.bin"), "b.bin");
        assert_eq!(short_name_of(uri, "/home/ann/e\u{202e}vil"), "e\\u{202e}vil");
    }

    #[test]
    fn a_wait_says_how_long() {
        let sentence = |code, seconds| {
            let operation = sample::waiting(sample::numbered(1, "a"), code, "server said 503", seconds);
            waiting(&operation, NOW).unwrap()
        };
        assert_eq!(sentence(ReasonCode::Backoff, Some(12)), "server said 503, next try in 12 s");
        assert_eq!(sentence(ReasonCode::Backoff, Some(0)), "server said 503, trying again now");
        assert_eq!(sentence(ReasonCode::NotBefore, Some(7_200)), "server said 503, 2 h to go");
        assert_eq!(sentence(ReasonCode::DiskSpace, None), "server said 503");
        let operation =
            sample::waiting(sample::numbered(1, "a"), ReasonCode::Backoff, "server said 503", Some(12));
        assert_eq!(waiting_within(&operation, NOW, 30).unwrap(), "server said…, next try in 12 s");
        assert_eq!(waiting(&sample::numbered(1, "a"), NOW), None, "it runs");
    }
}
