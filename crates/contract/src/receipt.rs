//! What was fetched from where or sent where, and how it was checked.

use serde::{Deserialize, Serialize};

use crate::{ByteRange, ChecksumAlgorithm, Timestamp};

/// One step of the URL chain; userinfo is never shown and query strings are redacted by policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptHop {
    pub url: String,
    pub status: u16,
}

/// Bytes that came in one response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptPiece {
    pub range: ByteRange,
    pub url: String,
    /// Remote address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub from: Timestamp,
    pub to: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DigestVerdict {
    Equal,
    Different,
    /// Computed for the record; nothing was there to compare it with.
    Recorded,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptDigest {
    pub algorithm: ChecksumAlgorithm,
    /// Lower-case hexadecimal.
    pub value: String,
    /// `caller`, `Repr-Digest`, `Content-Digest` or `metalink`.
    pub source: String,
    pub verdict: DigestVerdict,
}

/// Answer of `…/receipt`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Receipt {
    pub chain: Vec<ReceiptHop>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Bytes of the published file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Absolute path of the published file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub pieces: Vec<ReceiptPiece>,
    pub digests: Vec<ReceiptDigest>,
    /// Body bytes received over all attempts, also those thrown away.
    pub bytes_fetched: u64,
    /// Restarts from byte 0.
    pub restarts: u32,
    /// Of an upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadReceipt>,
}

/// What only the receipt of an upload has. Its `size` is that of the body that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadReceipt {
    /// `plain`, `tus`, `resumable`, or `parts` for pieces with addresses of their own.
    pub protocol: String,
    /// Body bytes sent over all attempts, also those sent again.
    pub bytes_sent: u64,
    /// Requests that carried bytes of the body.
    pub requests: u32,
    /// Entity tags that the server gave the pieces, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub part_etags: Vec<String>,
}

/// Answer of `POST …/verify`: the published file, read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Absolute path of the file that was read.
    pub path: String,
    /// Bytes it has now.
    pub size: u64,
    /// Bytes it had when it was published.
    pub published_size: u64,
    /// What the file hashes to now, for each digest of the receipt; `verdict` compares with the receipt's value.
    pub digests: Vec<ReceiptDigest>,
    /// Whether size and every digest are those of the receipt.
    pub is_intact: bool,
}
