//! Downloads: what a caller asks for, and what it gets to see.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    ClientCertificate, CompletionGroupId, CostPolicy, GroupName, InputCallback, Notification, Priority,
    Secret, Timestamp, WebErrorStatus,
};

/// Hash functions a caller may name. MD5 and SHA-1 are for old lists: they tell damage, not forgery.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumAlgorithm {
    Sha256,
    Sha512,
    Blake3,
    Md5,
    Sha1,
}

impl ChecksumAlgorithm {
    pub const ALL: &'static [Self] = &[Self::Sha256, Self::Sha512, Self::Blake3, Self::Md5, Self::Sha1];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
        }
    }

    /// Length of the digest in bytes.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
            Self::Sha1 => 20,
        }
    }
}

/// `ALGORITHM:HEX`, for example `sha256:9f86d0…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum {
    pub algorithm: ChecksumAlgorithm,
    /// Lower-case hexadecimal of the right length.
    pub hex: String,
}

impl utoipa::PartialSchema for Checksum {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("ALGORITHM:HEX with sha256, sha512, blake3, md5 or sha1"))
            .pattern(Some("^(sha256|sha512|blake3|md5|sha1):[0-9a-fA-F]+$"))
            .build()
            .into()
    }
}

impl utoipa::ToSchema for Checksum {}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (word, hex) = text
            .split_once(':')
            .ok_or_else(|| format!("checksum {text:?} lacks its algorithm: write it as sha256:HEX"))?;
        let algorithm = ChecksumAlgorithm::ALL
            .iter()
            .copied()
            .find(|known| known.word() == word.to_ascii_lowercase().replace('-', ""))
            .ok_or_else(|| {
                format!("checksum algorithm {word:?} is unknown: use sha256, sha512, blake3, md5 or sha1")
            })?;
        if hex.len() != algorithm.length() * 2 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("a {word} checksum has {} hexadecimal digits", algorithm.length() * 2));
        }
        Ok(Self { algorithm, hex: hex.to_ascii_lowercase() })
    }
}

impl TryFrom<String> for Checksum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        checksum.to_string()
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.word(), self.hex)
    }
}

/// What to do when a file of the final name is there at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IfExists {
    /// Refuse, at creation where possible; the other file is never touched.
    #[default]
    Fail,
    /// Publish as `name (1).ext` and so on.
    Rename,
    Replace,
}

/// User name and password for the server's origin, or for a proxy; never shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credential {
    pub user: String,
    pub password: Secret,
}

/// What the caller knows about the file beforehand; a response that disagrees is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Expectation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Media type without parameters, `image/*` allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// Body of `POST /background-transfers/downloads` (BackgroundDownloader.CreateDownload).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateDownload {
    /// `http`, `https`, `ftp`, `ftps` (TLS from the start) or `ftpes` (TLS by `AUTH TLS`). FTP knows neither methods nor
    /// headers.
    pub requested_uri: String,
    /// Further addresses of the same bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Absolute path of the file to make. A path that ends in `/` names a folder: the file is then named by the
    /// server (Content-Disposition, RFC 6266) or by the URL, sanitised.
    pub result_file: String,
    /// GET when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Request body, for methods that carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Secret>,
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
    /// The set whose common end fires a task; it must not be enabled yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_group: Option<CompletionGroupId>,
    /// Shown when this operation has completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_notification: Option<Notification>,
    /// Shown when this operation has failed or was canceled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_notification: Option<Notification>,
    /// Asked for a new address, header or credential when the operation needs one; its bytes are kept meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_callback: Option<InputCallback>,
    #[serde(default)]
    pub is_random_access_required: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recoverable_web_error_statuses: Vec<WebErrorStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
    /// Bytes per second; absent is unlimited, 0 stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    #[serde(default)]
    pub if_exists: IfExists,
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

impl CreateDownload {
    /// A download with every choice left at its default, started at once.
    #[must_use]
    pub fn new(requested_uri: impl Into<String>, result_file: impl Into<String>) -> Self {
        Self {
            requested_uri: requested_uri.into(),
            mirrors: Vec::new(),
            result_file: result_file.into(),
            method: None,
            body: None,
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
            input_callback: None,
            is_random_access_required: false,
            recoverable_web_error_statuses: Vec::new(),
            checksum: None,
            expect: None,
            rate_limit: None,
            not_before: None,
            if_exists: IfExists::default(),
            label: None,
            interface: None,
            public_addresses_only: false,
            start: yes(),
        }
    }

    /// Merges a patch: what the patch leaves out stays. Only uploads are sent in pieces.
    pub fn apply(&mut self, patch: PatchDownload) {
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

/// In place of an interface: the routes of the machine decide.
pub const ANY_INTERFACE: &str = "any";

/// What a patch may change of both kinds of operation.
pub(crate) struct Patched<'a> {
    pub(crate) requested_uri: &'a mut String,
    pub(crate) request_headers: &'a mut Vec<RequestHeader>,
    pub(crate) server_credential: &'a mut Option<Credential>,
    pub(crate) client_certificate: &'a mut Option<ClientCertificate>,
    pub(crate) proxy: &'a mut Option<String>,
    pub(crate) proxy_credential: &'a mut Option<Credential>,
    pub(crate) interface: &'a mut Option<String>,
    pub(crate) priority: &'a mut Priority,
    pub(crate) cost_policy: &'a mut CostPolicy,
    pub(crate) rate_limit: &'a mut Option<u64>,
    pub(crate) recoverable_web_error_statuses: &'a mut Vec<WebErrorStatus>,
}

impl PatchDownload {
    pub(crate) fn merge_into(self, kept: Patched<'_>) {
        let Patched {
            requested_uri,
            request_headers,
            server_credential,
            client_certificate,
            proxy,
            proxy_credential,
            interface,
            priority,
            cost_policy,
            rate_limit,
            recoverable_web_error_statuses,
        } = kept;
        replace(requested_uri, self.requested_uri);
        replace(request_headers, self.request_headers);
        replace(server_credential, self.server_credential.map(Some));
        replace(client_certificate, self.client_certificate.map(Some));
        if self.proxy.is_some() && self.proxy != *proxy {
            *proxy_credential = None;
        }
        replace(proxy, self.proxy.map(Some));
        replace(proxy_credential, self.proxy_credential.map(Some));
        replace(interface, self.interface.map(|interface| (interface != ANY_INTERFACE).then_some(interface)));
        replace(priority, self.priority);
        replace(cost_policy, self.cost_policy);
        replace(rate_limit, self.rate_limit);
        replace(recoverable_web_error_statuses, self.recoverable_web_error_statuses);
    }
}

fn replace<T>(kept: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *kept = given;
    }
}

/// One header of a request. Values are write-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestHeader {
    pub name: String,
    pub value: Secret,
}

pub(crate) const fn yes() -> bool {
    true
}

pub(crate) const fn default_cost_policy() -> CostPolicy {
    CostPolicy::Default
}

pub(crate) const fn default_priority() -> Priority {
    Priority::Default
}

/// Body of `PATCH /background-transfers/downloads/{id}` and `PATCH /background-transfers/uploads/{id}`: what is
/// absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PatchDownload {
    /// Allowed while PausedByApplication, PausedRecoverableWebErrorStatus or not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_uri: Option<String>,
    /// Replaces the addresses of all pieces, of an upload that has them; allowed when `requestedUri` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_uris: Option<Vec<Secret>>,
    /// Replaces all headers; used from the next request on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<Vec<RequestHeader>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_credential: Option<Credential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// `none` goes by no proxy. Another proxy does not get the credential of the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_credential: Option<Credential>,
    /// `any` leaves it to the routes of the machine. Used from the next attempt on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_policy: Option<CostPolicy>,
    /// `null` lifts the limit.
    #[serde(with = "absent_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub rate_limit: Option<Option<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recoverable_web_error_statuses: Option<Vec<WebErrorStatus>>,
}

mod absent_or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::option_option, clippy::ref_option, reason = "absent and null differ in a PATCH")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Option<u64>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.flatten().serialize(serializer)
    }

    #[expect(clippy::option_option, reason = "absent and null differ in a PATCH")]
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<u64>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_parse_and_print() {
        let text = format!("sha256:{}", "aB".repeat(32));
        let checksum: Checksum = text.parse().unwrap();
        assert_eq!(checksum.to_string(), text.to_lowercase());
        for bad in ["abc", "sha256:abc", "crc:00", "md5:zz"] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_patch_tells_null_from_absent() {
        let absent: PatchDownload = serde_json::from_str("{}").unwrap();
        let null: PatchDownload = serde_json::from_str(r#"{"rateLimit":null}"#).unwrap();
        let set: PatchDownload = serde_json::from_str(r#"{"rateLimit":5}"#).unwrap();
        assert_eq!((absent.rate_limit, null.rate_limit, set.rate_limit), (None, Some(None), Some(Some(5))));
    }

    #[test]
    fn another_proxy_does_not_get_the_credential_of_the_one_before() {
        let credential = |user: &str| Credential { user: user.to_owned(), password: Secret::new("p") };
        let mut kept = CreateDownload::new("http://a/", "/a");
        kept.proxy = Some("http://one.example:1080".to_owned());
        kept.proxy_credential = Some(credential("one"));
        let patched = |patch: PatchDownload| {
            let mut spec = kept.clone();
            spec.apply(patch);
            spec.proxy_credential.map(|credential| credential.user)
        };
        let to = |proxy: &str| PatchDownload { proxy: Some(proxy.to_owned()), ..PatchDownload::default() };
        assert_eq!(patched(PatchDownload::default()).as_deref(), Some("one"));
        assert_eq!(patched(to("http://one.example:1080")).as_deref(), Some("one"));
        assert_eq!(patched(to("http://two.example:1080")), None);
        let with =
            PatchDownload { proxy_credential: Some(credential("two")), ..to("http://two.example:1080") };
        assert_eq!(patched(with).as_deref(), Some("two"));
    }

    #[test]
    fn a_new_spec_is_what_the_shortest_body_means() {
        let short = r#"{"requestedUri":"http://a/","resultFile":"/a"}"#;
        assert_eq!(CreateDownload::new("http://a/", "/a"), serde_json::from_str(short).unwrap());
    }

    #[test]
    fn unknown_members_are_refused_by_name() {
        let error = serde_json::from_str::<CreateDownload>(
            r#"{"requestedUri":"http://a/","resultFile":"/a","colour":1}"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }
}
