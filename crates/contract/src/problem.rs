//! Refusals of requests: one public table of code, HTTP status and remedy (RFC 9457).

use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($variant:ident, $word:literal, $status:literal, $exit:literal, $title:literal, $remedy:literal;)+) => {
        /// Why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode { $(#[serde(rename = $word)] $variant),+ }

        impl ErrorCode {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in `code` and at the end of `type`.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// Exit code of the command line for this refusal.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit),+ }
            }

            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            /// What the caller can do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }
        }
    };
}

error_codes! {
    MalformedJson, "malformed-json", 400, 2, "The body is not valid JSON", "Send one JSON document with Content-Type: application/json.";
    InvalidField, "invalid-field", 400, 2, "A field has a value that is not allowed", "Correct the named field.";
    UnknownField, "unknown-field", 400, 2, "The body has a field that does not exist", "Remove the field or correct its name.";
    InvalidParameter, "invalid-parameter", 400, 2, "A query or path parameter has a value that is not allowed", "Correct the named parameter.";
    InvalidUri, "invalid-uri", 400, 2, "The URI cannot be used", "Give an absolute http, https, ftp, ftps or ftpes URI with a host.";
    UnsupportedScheme, "unsupported-scheme", 400, 2, "The URI has a scheme that is not supported", "Use http or https; downloads can use ftp, ftps and ftpes too.";
    InvalidHeader, "invalid-header", 400, 2, "A request header cannot be sent", "Header names are tokens; values have no CR, LF or NUL (RFC 9110 section 5.5).";
    InvalidPath, "invalid-path", 400, 2, "The result file cannot be used", "Give an absolute path without '..' in a folder that exists.";
    FolderNotWritable, "folder-not-writable", 400, 5, "The folder cannot be written", "Choose another folder or change its permissions.";
    InvalidSource, "invalid-source", 400, 2, "A file to send cannot be used", "Give the absolute path of a regular file that exists.";
    SourceNotReadable, "source-not-readable", 400, 5, "A file to send cannot be read", "Change its permissions, or choose another file.";
    FileExists, "file-exists", 409, 5, "The result file exists", "Choose another name, or set ifExists to rename or replace.";
    TargetInUse, "target-in-use", 409, 5, "Another operation makes this file", "Choose another name, or wait for or cancel the other operation.";
    InvalidState, "invalid-state", 409, 6, "The operation is in a state that does not allow this", "Look at the status named in detail; pause or resume it first.";
    Quota, "quota", 409, 7, "The application has as many live operations as its quota allows", "Finish, attach or remove operations, or ask the owner to raise the quota.";
    GroupQuota, "group-quota", 409, 7, "The application has as many groups as its quota allows", "Use fewer group names.";
    CompletionGroupEnabled, "completion-group-enabled", 409, 6, "The completion group is enabled", "Make a new completion group: an enabled one takes nothing in and is not enabled twice.";
    CompletionGroupTaken, "completion-group-taken", 409, 5, "Another task waits for this completion group", "Delete the other task, or make a new completion group.";
    CompletionGroupQuota, "completion-group-quota", 409, 7, "The application has as many completion groups as its quota allows", "Enable the groups there are, so that they come to their end.";
    InvalidTrigger, "invalid-trigger", 400, 2, "The trigger says something that its type does not allow", "Correct the named field of the trigger; `longhaul triggers` lists what each type takes.";
    TriggerUnsupported, "trigger-unsupported", 400, 2, "This host can never fire this trigger", "See `longhaul doctor` for what is missing, or use another trigger.";
    InvalidCondition, "invalid-condition", 400, 2, "The conditions are not allowed with this trigger", "Leave the conditions out.";
    UnknownEntryPoint, "unknown-entry-point", 400, 2, "The application's manifest declares no such entry point", "Install a manifest that declares it with `longhaul app install FILE`, or correct the name.";
    TaskNameTaken, "task-name-taken", 409, 5, "The application has a task with this name", "Choose another name, delete the other task, or say onConflict=replace or onConflict=allow.";
    TaskQuota, "task-quota", 409, 7, "The application has as many tasks of this kind as it may have", "Delete one first, or ask the owner to raise the quota.";
    AccessDenied, "access-denied", 403, 8, "The application may not run in the background", "Ask for access first, or ask the owner: `longhaul access grant APP`.";
    InstanceOver, "instance-over", 409, 6, "The instance is over", "Only a running instance can be told anything.";
    Unauthorized, "unauthorized", 401, 8, "The token is missing or wrong", "Send Authorization: Bearer TOKEN with a token from `longhaul app token`.";
    Forbidden, "forbidden", 403, 8, "The caller may not do this", "Use a token with the scope named in detail, or the Unix socket of the owner.";
    NotFound, "not-found", 404, 4, "There is nothing here for this application", "Check the id with `longhaul ls`; operations of other applications are not visible.";
    MethodNotAllowed, "method-not-allowed", 405, 2, "The path does not have this method", "See /openapi.json for the methods of each path.";
    NotAcceptable, "not-acceptable", 406, 2, "The answer cannot be given in an accepted type", "Accept application/json.";
    LengthRequired, "length-required", 411, 2, "The body needs a length", "Send Content-Length.";
    PayloadTooLarge, "payload-too-large", 413, 2, "The body is too large", "Send less in one request; the limit is in detail.";
    UnsupportedMediaType, "unsupported-media-type", 415, 2, "The body has another media type than JSON", "Send Content-Type: application/json.";
    RangeNotSatisfiable, "range-not-satisfiable", 416, 2, "The range lies behind the end of the file", "Ask for a range inside the file (RFC 9110 section 14.4).";
    Misdirected, "misdirected-request", 421, 2, "The Host or Origin is not on the list of this service", "Call the service by the address it listens on; browsers of other origins are refused.";
    TooManyRequests, "too-many-requests", 429, 7, "Too many requests at one time", "Wait for answers before sending more.";
    Internal, "internal", 500, 1, "The service failed", "Look into the log of the service with the id given in instance.";
    StoreUnavailable, "store-unavailable", 503, 1, "The service cannot write its records", "Free space on the disk that holds the state folder; nothing was changed.";
    ShuttingDown, "shutting-down", 503, 3, "The service is stopping", "Try again once it runs.";
}

/// Written by hand: the words are those of the table.
impl utoipa::PartialSchema for ErrorCode {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("Why a request was refused."))
            .enum_values(Some(Self::ALL.iter().map(|code| code.word())))
            .into()
    }
}

impl utoipa::ToSchema for ErrorCode {
    fn name() -> std::borrow::Cow<'static, str> {
        "ErrorCode".into()
    }
}

/// `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:longhaul:problem:CODE`; docs/reference/problems.md describes each.
    #[serde(rename = "type")]
    pub problem_type: String,
    pub title: String,
    pub status: u16,
    /// This case, for a person.
    pub detail: String,
    pub code: ErrorCode,
    /// What to do about it.
    pub remedy: String,
    /// JSON pointer or parameter name of what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Names this occurrence in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl Problem {
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            problem_type: format!("urn:longhaul:problem:{}", code.word()),
            title: code.title().to_owned(),
            status: code.http_status(),
            detail: detail.into(),
            code,
            remedy: code.remedy().to_owned(),
            field: None,
            instance: None,
        }
    }

    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl std::error::Error for Problem {}
