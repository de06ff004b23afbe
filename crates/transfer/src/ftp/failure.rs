//! What a refusal of an FTP server means in the terms of the contract.

use longhaul_contract::{Cause, Failure, Remedy, WebErrorStatus};

use super::reply::{Nonsense, Reply};
use crate::http::failure::{failure, permanent, transient};

/// Words by which servers tell that a place is taken from a wrong password, for which some use the same code.
const CROWDED: [&str; 4] = ["too many", "maximum", "limit", "try again"];
/// Words by which servers tell a file that may not be read from one that is not there.
const FORBIDDEN: [&str; 4] = ["permission", "denied", "not allowed", "access"];

/// `doing` is what was refused, as in "the login".
pub(super) fn refused(reply: &Reply, doing: &str, host: &str) -> Failure {
    if !matches!(reply.code, 400..600) && reply.code != 332 {
        return unexpected(reply, doing, host);
    }
    let text = reply.lines.join(" ").to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let (remedy, web_error_status) = match reply.code {
        421 => (Remedy::Transient, WebErrorStatus::ServiceUnavailable),
        430 | 530 if has(&CROWDED) => (Remedy::Transient, WebErrorStatus::ServiceUnavailable),
        332 | 430 | 530 | 532 => (Remedy::NeedsInput, WebErrorStatus::Unauthorized),
        550 | 553 if has(&FORBIDDEN) => (Remedy::NeedsInput, WebErrorStatus::Forbidden),
        550 | 553 => (Remedy::NeedsInput, WebErrorStatus::NotFound),
        425 => (Remedy::Transient, WebErrorStatus::CannotConnect),
        426 => (Remedy::Transient, WebErrorStatus::ConnectionAborted),
        451 => (Remedy::Transient, WebErrorStatus::InternalServerError),
        code if code < 500 => (Remedy::Transient, WebErrorStatus::ServiceUnavailable),
        500..505 => (Remedy::Permanent, WebErrorStatus::NotImplemented),
        522 | 534..538 => (Remedy::NeedsInput, WebErrorStatus::CannotConnect),
        _ => (Remedy::Permanent, WebErrorStatus::UnexpectedServerError),
    };
    let detail = format!("{host} refused {doing}: {}", reply.said());
    Failure { web_error_status, ..failure(remedy, Cause::FtpReply, detail) }
}

/// Neither yes nor no.
pub(super) fn unexpected(reply: &Reply, doing: &str, host: &str) -> Failure {
    transient(Cause::InvalidResponse, format!("{host} answered {doing} with {}", reply.said()))
}

pub(super) fn nonsense(what: &Nonsense, host: &str) -> Failure {
    permanent(Cause::InvalidResponse, format!("{host} does not speak FTP: it sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_windows_numbers() {
        use Remedy::{NeedsInput, Permanent, Transient};
        for (code, text, number, remedy) in [
            (421, "Too many users", 503, Transient),
            (530, "Login incorrect.", 401, NeedsInput),
            (530, "Sorry, the maximum number of clients is reached", 503, Transient),
            (532, "Need account", 401, NeedsInput),
            (550, "Failed to open file.", 404, NeedsInput),
            (550, "Permission denied.", 403, NeedsInput),
            (425, "Cannot open data connection", 14, Transient),
            (426, "Failure writing", 9, Transient),
            (451, "Local error", 500, Transient),
            (450, "Busy", 503, Transient),
            (502, "Not implemented", 501, Permanent),
            (522, "No session reuse", 14, NeedsInput),
            (552, "Quota", 21, Permanent),
            (226, "Done", 8, Transient),
        ] {
            let failure = refused(&Reply { code, lines: vec![text.to_owned()] }, "the file", "h");
            assert_eq!(
                (failure.web_error_status.number(), failure.remedy),
                (number, remedy),
                "{code} {text}"
            );
            assert!(failure.detail.contains(&format!("{code} {text}")), "{}", failure.detail);
            assert_eq!(failure.http_status, None);
        }
    }
}
