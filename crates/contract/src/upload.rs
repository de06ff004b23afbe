//! Uploads: what a caller asks for. What it gets to see is an [`crate::Operation`], as for downloads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::download::{Patched, RequestHeader, default_cost_policy, default_priority, yes};
use crate::{
    ClientCertificate, CompletionGroupId, CostPolicy, Credential, GroupName, Notification, PatchDownload,
    Priority, Secret, Timestamp, WebErrorStatus,
};

/// How the bytes of an upload travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UploadProtocol {
    /// One plain request that goes on where it stopped if the server offers that while it runs, or tus where the
    /// server announces tus. What was found is remembered.
    #[default]
    Auto,
    /// One plain request, always from byte 0.
    Plain,
    /// tus 1.0: made, filled from an offset, and asked for its offset after a break.
    Tus,
    /// Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload).
    Resumable,
}

impl UploadProtocol {
    pub const ALL: &'static [Self] = &[Self::Auto, Self::Plain, Self::Tus, Self::Resumable];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Tus => "tus",
            Self::Resumable => "resumable",
        }
    }
}

impl fmt::Display for UploadProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for UploadProtocol {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.word() == word)
            .ok_or_else(|| format!("{word:?} is not one of auto, plain, tus, resumable"))
    }
}

/// One part of a multipart upload (BackgroundTransferContentPart): of a file or of a text, never of both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UploadPart {
    /// `name` of the Content-Disposition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `filename` of the Content-Disposition; the name of `file` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Absolute path of the file to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The text to send; never shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Secret>,
    /// Further headers of the part; one of the same name replaces what is made of the other fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<RequestHeader>,
}

/// Body of `POST /background-transfers/uploads` (BackgroundUploader.CreateUpload).
///
/// The body of the request is `sourceFile` as it is, or `parts` as one multipart document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateUpload {
    /// `http` or `https`. There is no upload by FTP. With `partUris` it only names the upload: nothing is sent to it.
    pub requested_uri: String,
    /// Absolute path of the file to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_file: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<UploadPart>,
    /// `multipart/SUBTYPE` of the parts; `form-data` (RFC 7578) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_type: Option<String>,
    /// Between the parts (RFC 2046 section 5.1.1); a random one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
    /// Any verb; POST when absent, PUT with `partUris`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default)]
    pub protocol: UploadProtocol,
    /// Media type of `sourceFile`; none is sent when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Signed addresses for the pieces of `sourceFile`, in order, each piece sent by its own request; never shown again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part_uris: Vec<Secret>,
    /// Bytes of every piece but the last; needed with `partUris`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_size: Option<u64>,
    /// Sent as `Idempotency-Key`. The server promises to act once for one key, so a POST that got no answer is
    /// repeated instead of being given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Sent to the origin of `requestedUri` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<RequestHeader>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_credential: Option<Credential>,
    /// Shown to the origin of `requestedUri` alone, where it asks. For https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// Goes by this proxy: `[SCHEME://]HOST[:PORT]` with http (the default), https, socks5 (names are looked up here) or
    /// socks5h (by the proxy); `none` goes by no proxy. When absent, what the owner of the service has set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// For the proxy, whoever has named it; the server never gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_credential: Option<Credential>,
    /// Hosts that are reached without the proxy, as in `no_proxy`: `*`, a name with all below it, an address, a network
    /// such as `10.0.0.0/8`, each with `:PORT` behind it or without. Takes the place of the owner's list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<Vec<String>>,
    #[serde(default = "default_cost_policy")]
    pub cost_policy: CostPolicy,
    #[serde(default = "default_priority")]
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_group: Option<GroupName>,
    /// The completion group it joins (BackgroundTransferCompletionGroup); the group must not be enabled yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_group: Option<CompletionGroupId>,
    /// Shown when it is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_notification: Option<Notification>,
    /// Shown when it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_notification: Option<Notification>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recoverable_web_error_statuses: Vec<WebErrorStatus>,
    /// Bytes per second; absent is unlimited, 0 stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// By which of the machine's interfaces, by its name, or from which of its addresses connections are made; absent is as
    /// its routes have it. Waits (PausedNoNetwork) while the machine has none such. Names are looked up as ever, and cost
    /// policies go by the machine's default connection. Not for confined applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Refuse to connect to anything but public addresses, after every redirect. The service sets it for callers
    /// that are confined (sandboxed, or by token).
    #[serde(default)]
    pub public_addresses_only: bool,
    /// Start at once (the default), or stay Idle until `start` is called.
    #[serde(default = "yes")]
    pub start: bool,
}

impl CreateUpload {
    /// The upload of one file with every choice left at its default, started at once.
    #[must_use]
    pub fn new(requested_uri: impl Into<String>, source_file: impl Into<String>) -> Self {
        Self { source_file: Some(source_file.into()), ..Self::empty(requested_uri.into()) }
    }

    /// The upload of a multipart document.
    #[must_use]
    pub fn multipart(requested_uri: impl Into<String>, parts: Vec<UploadPart>) -> Self {
        Self { parts, ..Self::empty(requested_uri.into()) }
    }

    fn empty(requested_uri: String) -> Self {
        Self {
            requested_uri,
            source_file: None,
            parts: Vec::new(),
            sub_type: None,
            boundary: None,
            method: None,
            protocol: UploadProtocol::default(),
            content_type: None,
            part_uris: Vec::new(),
            part_size: None,
            idempotency_key: None,
            request_headers: Vec::new(),
            server_credential: None,
            client_certificate: None,
            proxy: None,
            proxy_credential: None,
            no_proxy: None,
            cost_policy: default_cost_policy(),
            priority: default_priority(),
            transfer_group: None,
            completion_group: None,
            success_notification: None,
            failure_notification: None,
            recoverable_web_error_statuses: Vec::new(),
            rate_limit: None,
            not_before: None,
            label: None,
            interface: None,
            public_addresses_only: false,
            start: yes(),
        }
    }

    /// The verb of the request.
    #[must_use]
    pub fn method(&self) -> &str {
        let default = if self.part_uris.is_empty() { "POST" } else { "PUT" };
        self.method.as_deref().unwrap_or(default)
    }

    /// The address that the first request goes to.
    #[must_use]
    pub fn first_address(&self) -> &str {
        self.part_uris.first().map_or(&self.requested_uri, Secret::reveal)
    }

    /// Every file that is sent, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.source_file
            .as_deref()
            .into_iter()
            .chain(self.parts.iter().filter_map(|part| part.file.as_deref()))
    }

    /// Merges a patch: what the patch leaves out stays.
    pub fn apply(&mut self, mut patch: PatchUpload) {
        if let Some(uris) = patch.part_uris.take() {
            self.part_uris = uris;
        }
        patch.merge_into(Patched {
            requested_uri: &mut self.requested_uri,
            request_headers: &mut self.request_headers,
            server_credential: &mut self.server_credential,
            client_certificate: &mut self.client_certificate,
            proxy: &mut self.proxy,
            proxy_credential: &mut self.proxy_credential,
            interface: &mut self.interface,
            priority: &mut self.priority,
            cost_policy: &mut self.cost_policy,
            rate_limit: &mut self.rate_limit,
            recoverable_web_error_statuses: &mut self.recoverable_web_error_statuses,
        });
    }
}

/// Body of `PATCH /background-transfers/uploads/{id}`: the same as for downloads.
pub type PatchUpload = PatchDownload;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_spec_is_what_the_shortest_body_means() {
        let short = r#"{"requestedUri":"http://a/","sourceFile":"/a"}"#;
        assert_eq!(CreateUpload::new("http://a/", "/a"), serde_json::from_str(short).unwrap());
    }

    #[test]
    fn protocols_are_worded_as_they_are_serialised() {
        for protocol in UploadProtocol::ALL {
            assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.word());
            assert_eq!(protocol.word().parse(), Ok(*protocol));
        }
    }

    #[test]
    fn the_verb_follows_the_way_of_sending() {
        let mut spec = CreateUpload::new("http://a/", "/a");
        assert_eq!(spec.method(), "POST");
        spec.part_uris = vec![Secret::new("http://a/1?signature=x")];
        assert_eq!(spec.method(), "PUT");
        spec.method = Some("PATCH".to_owned());
        assert_eq!(spec.method(), "PATCH");
    }

    #[test]
    fn unknown_members_are_refused_by_name() {
        let text = r#"{"requestedUri":"http://a/","sourceFile":"/a","resultFile":"/b"}"#;
        let error = serde_json::from_str::<CreateUpload>(text).unwrap_err();
        assert!(error.to_string().contains("resultFile"), "{error}");
    }
}
