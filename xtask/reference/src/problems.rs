//! docs/reference/problems.md: every refusal of a request, from the table that makes the answers.

use longhaul_contract::ErrorCode;

const HEAD: &str = "\
# Problems

Every refusal of a request is an `application/problem+json` document (RFC 9457). Its `type` is
`urn:longhaul:problem:CODE`, its `code` the word below, `status` the HTTP status, `field` the JSON pointer or the
parameter that is wrong, `remedy` what to do about it, and `instance` names the occurrence in the log. The command line
ends with the exit code of the same row.

| Code | HTTP | Exit code | Meaning | Remedy |
|---|---|---|---|---|
";

pub(crate) fn markdown() -> String {
    let rows = ErrorCode::ALL.iter().map(|code| {
        format!(
            "| `{}` | {} | {} | {} | {} |\n",
            code.word(),
            code.http_status(),
            code.exit_code(),
            code.title(),
            code.remedy()
        )
    });
    std::iter::once(HEAD.to_owned()).chain(rows).collect()
}
