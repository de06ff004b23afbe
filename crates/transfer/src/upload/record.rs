//! What a worker keeps of an upload between attempts. What is recorded is true, always: an upload URL is recorded
//! before bytes go to it, an offset only after the server has acknowledged it.

use bytes::Bytes;
use longhaul_contract::{ReceiptHop, ResponseInformation, Secret, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Tells a source file, in the version that is being sent, from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    pub device: u64,
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub modified: i128,
}

/// By which protocol the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UsedProtocol {
    #[default]
    Plain,
    Tus,
    Resumable,
    /// Parts with addresses of their own.
    Parts,
}

/// What the server allows (Upload-Limit of the draft, Tus-Max-Size).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UploadLimits {
    /// Bytes of the whole.
    pub max_size: Option<u64>,
    pub min_size: Option<u64>,
    /// Bytes of one request.
    pub max_append_size: Option<u64>,
    pub min_append_size: Option<u64>,
}

/// A part that the server has, or that is on its way (tus concatenation, presigned parts).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UploadPartRecord {
    /// Place in the order of the parts, from 0.
    pub index: u32,
    /// Where the part's bytes go, if the server named it.
    pub url: Option<Secret>,
    /// Bytes of the part that the server has acknowledged.
    pub offset: u64,
    /// Bytes of the part.
    pub size: u64,
    /// As the server sent it, with quotes.
    pub etag: Option<String>,
}

/// What was sent where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UploadReceipt {
    /// The way of the last request with a final response. Upload URLs are left out: they are capabilities.
    pub chain: Vec<ReceiptHop>,
    pub protocol: UsedProtocol,
    /// Bytes of the body.
    pub size: u64,
    /// Body bytes sent over all attempts, also those that had to be sent again.
    pub bytes_sent: u64,
    /// Requests with bytes of the body.
    pub requests: u32,
    /// Starts from byte 0 after the first one.
    pub restarts: u32,
    /// ETags of presigned parts, in their order.
    pub part_etags: Vec<String>,
    /// ETag of the final response.
    pub etag: Option<String>,
}

/// The body of the final response, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseBody {
    #[serde(serialize_with = "as_base64", deserialize_with = "from_base64")]
    pub bytes: Bytes,
    /// There was more than `response_body_max`, or it broke off.
    pub is_truncated: bool,
}

/// The upload is over; only the telling is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedUpload {
    pub response: Option<ResponseInformation>,
    pub body: ResponseBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UploadJournalRecord {
    /// One for each file, in the order of the parts.
    pub source: Vec<SourceIdentity>,
    /// Chosen protocol; `None` before the server has shown what it speaks.
    pub protocol: Option<UsedProtocol>,
    /// Where the rest of the bytes goes. A secret: whoever knows it may write there.
    pub upload_url: Option<Secret>,
    /// Bytes of the body the server has acknowledged, without a gap from 0.
    pub offset: u64,
    /// Bytes of the body.
    pub total: u64,
    /// A request whose body is not resumable may have reached the server, and no answer has come.
    pub is_unanswered: bool,
    pub parts: Vec<UploadPartRecord>,
    pub limits: UploadLimits,
    /// When the server forgets the partial upload.
    pub expires: Option<Timestamp>,
    /// The newest final response.
    pub response: Option<ResponseInformation>,
    pub finished: Option<FinishedUpload>,
    /// What has happened so far, for the receipt.
    pub receipt: UploadReceipt,
}

fn as_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine as _;
    serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    use base64::Engine as _;
    let text = String::deserialize(deserializer)?;
    base64::engine::general_purpose::STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_and_hides_its_upload_url() {
        let record = UploadJournalRecord {
            source: vec![SourceIdentity {
                device: 1,
                inode: 2,
                size: 3,
                modified: 1_700_000_000_123_456_789,
            }],
            protocol: Some(UsedProtocol::Tus),
            upload_url: Some(Secret::new("https://a.example/files/capability")),
            offset: 7,
            finished: Some(FinishedUpload {
                response: None,
                body: ResponseBody { bytes: Bytes::from_static(b"\0\xff"), is_truncated: true },
            }),
            ..UploadJournalRecord::default()
        };
        let kept = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<UploadJournalRecord>(&kept).unwrap(), record);
        assert!(!format!("{record:?}").contains("capability"));
    }

    #[test]
    fn a_record_of_an_older_release_is_read() {
        let record: UploadJournalRecord = serde_json::from_str(r#"{"offset": 5}"#).unwrap();
        assert_eq!(record.offset, 5);
    }
}
