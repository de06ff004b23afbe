//! The form of a new upload: what its request may be like, and its parts. Pure.

use longhaul_contract::OperationKind::Upload;
use longhaul_contract::{CreateUpload, ErrorCode, Secret, UploadPart, UploadProtocol};

use super::client_certificate::check_client_certificate;
use super::form::{
    check_credential, check_headers_at, check_method_token, check_notifications, check_statuses, check_text,
    check_uri, invalid,
};
use super::interface::check_interface;
use super::proxy::check_proxy;
use crate::http::{Answer, Refused};

const PARTS_MAX: usize = 1000;
/// As many as S3 allows.
const PART_URIS_MAX: usize = 10_000;
const KEY_BYTES_MAX: usize = 255;
/// RFC 2046 section 5.1.1.
const BOUNDARY_BYTES_MAX: usize = 70;
/// What is sent as text is kept with the specification.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// Headers that the protocols of uploads are made of.
const RESERVED_HEADERS: [&str; 10] = [
    "idempotency-key",
    "tus-resumable",
    "upload-checksum",
    "upload-complete",
    "upload-concat",
    "upload-defer-length",
    "upload-draft-interop-version",
    "upload-length",
    "upload-offset",
    "want-repr-digest",
];

/// Checks all but the places of the files. Userinfo of the address moves into the credential; parts get the boundary
/// that all attempts use.
pub(crate) fn check_upload(spec: &mut CreateUpload) -> Answer<()> {
    spec.requested_uri =
        check_uri(&spec.requested_uri, &mut spec.server_credential, "/requestedUri", Upload)?;
    check_verb(spec.method())?;
    check_request_headers(spec)?;
    check_credential(spec.server_credential.as_ref(), "/serverCredential")?;
    check_client_certificate(spec.client_certificate.as_ref(), Some(&spec.requested_uri))?;
    check_proxy(&mut spec.proxy, &mut spec.proxy_credential, spec.no_proxy.as_deref())?;
    check_interface(&mut spec.interface)?;
    check_notifications(spec.success_notification.as_ref(), spec.failure_notification.as_ref())?;
    if let Some(label) = &spec.label {
        check_text(label, "/label")?;
    }
    if let Some(media_type) = &spec.content_type {
        check_content_type(media_type, "/contentType")?;
    }
    if let Some(key) = &spec.idempotency_key {
        check_key(key)?;
    }
    match (&spec.source_file, spec.parts.is_empty()) {
        (Some(_), true) => check_raw(spec)?,
        (None, false) => check_parts(spec)?,
        (Some(_), false) => {
            return Err(invalid("/parts", "the body is sourceFile or parts, not both".to_owned()));
        }
        (None, true) => {
            return Err(invalid(
                "/sourceFile",
                "there is nothing to send: name sourceFile or parts".to_owned(),
            ));
        }
    }
    check_statuses(spec.recoverable_web_error_statuses.len())
}

/// Addresses of pieces, as made or renewed.
pub(crate) fn check_part_uris(uris: &mut [Secret]) -> Answer<()> {
    if uris.len() > PART_URIS_MAX {
        return Err(invalid("/partUris", format!("more than {PART_URIS_MAX} pieces")));
    }
    for (index, uri) in uris.iter_mut().enumerate() {
        let field = format!("/partUris/{index}");
        let mut credential = None;
        *uri = Secret::new(check_uri(uri.reveal(), &mut credential, &field, Upload)?);
        if credential.is_some() {
            let detail = "the address of a piece cannot have a user name: it is signed itself";
            return Err(Refused::new(ErrorCode::InvalidUri, detail).with_field(field));
        }
    }
    Ok(())
}

fn check_verb(method: &str) -> Answer<()> {
    check_method_token(method)?;
    if matches!(method, "GET" | "HEAD" | "CONNECT" | "TRACE" | "OPTIONS") {
        return Err(invalid("/method", format!("{method} takes no file")));
    }
    Ok(())
}

fn check_request_headers(spec: &CreateUpload) -> Answer<()> {
    check_headers_at(&spec.request_headers, "/requestHeaders")?;
    let sets_type = !spec.parts.is_empty() || spec.content_type.is_some();
    for (index, header) in spec.request_headers.iter().enumerate() {
        let name = header.name.to_ascii_lowercase();
        let is_taken = RESERVED_HEADERS.contains(&name.as_str()) || (sets_type && name == "content-type");
        if is_taken {
            let detail = format!("{name} is set by the service itself");
            let field = format!("/requestHeaders/{index}/name");
            return Err(Refused::new(ErrorCode::InvalidHeader, detail).with_field(field));
        }
    }
    Ok(())
}

/// A media type with or without parameters.
fn check_content_type(text: &str, field: &str) -> Answer<()> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_type = essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    if is_type && text.len() <= 255 && text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Ok(());
    }
    Err(invalid(field, format!("{text:?} is no media type such as image/png")))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn check_key(key: &str) -> Answer<()> {
    let is_plain = key.bytes().all(|b| (0x21..0x7f).contains(&b) && !b"\"\\".contains(&b));
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !is_plain {
        let detail = format!(
            "1 to {KEY_BYTES_MAX} visible ASCII characters without quotes and backslashes, such as a UUID"
        );
        return Err(invalid("/idempotencyKey", detail));
    }
    Ok(())
}

fn check_raw(spec: &mut CreateUpload) -> Answer<()> {
    for (field, is_given) in [("/subType", spec.sub_type.is_some()), ("/boundary", spec.boundary.is_some())] {
        if is_given {
            return Err(invalid(field, "only a body of parts has it".to_owned()));
        }
    }
    if spec.part_uris.is_empty() {
        return match spec.part_size {
            Some(_) => Err(invalid("/partSize", "it goes with partUris".to_owned())),
            None => Ok(()),
        };
    }
    check_part_uris(&mut spec.part_uris)?;
    if spec.part_size.is_none_or(|size| size == 0) {
        return Err(invalid("/partSize", "partUris need the bytes of a piece, at least 1".to_owned()));
    }
    if !matches!(spec.protocol, UploadProtocol::Auto | UploadProtocol::Plain) {
        return Err(invalid("/protocol", "pieces with addresses of their own are sent plainly".to_owned()));
    }
    if spec.method() != "PUT" {
        return Err(invalid("/method", "pieces with addresses of their own are sent by PUT".to_owned()));
    }
    Ok(())
}

fn check_parts(spec: &mut CreateUpload) -> Answer<()> {
    if spec.parts.len() > PARTS_MAX {
        return Err(invalid("/parts", format!("more than {PARTS_MAX} parts")));
    }
    for (field, is_given) in [
        ("/contentType", spec.content_type.is_some()),
        ("/partUris", !spec.part_uris.is_empty()),
        ("/partSize", spec.part_size.is_some()),
    ] {
        if is_given {
            return Err(invalid(field, "only the upload of sourceFile has it".to_owned()));
        }
    }
    if spec.protocol == UploadProtocol::Tus {
        return Err(invalid("/protocol", "tus carries one file and no parts".to_owned()));
    }
    if spec.sub_type.as_deref().is_some_and(|word| !is_token(word)) {
        return Err(invalid("/subType", "a subtype is a token such as form-data".to_owned()));
    }
    for (index, part) in spec.parts.iter().enumerate() {
        check_part(part, &format!("/parts/{index}"))?;
    }
    let random = || hex::encode(rand::random::<[u8; 16]>());
    check_boundary(spec.boundary.get_or_insert_with(random))
}

/// `bcharsnospace` and spaces, no space at the end (RFC 2046 section 5.1.1).
fn check_boundary(boundary: &str) -> Answer<()> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let is_well = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary.bytes().all(is_allowed)
        && !boundary.ends_with(' ');
    if is_well {
        return Ok(());
    }
    let detail =
        format!("1 to {BOUNDARY_BYTES_MAX} of letters, digits and '()+_,-./:=? (RFC 2046 section 5.1.1)");
    Err(invalid("/boundary", detail))
}

fn check_part(part: &UploadPart, field: &str) -> Answer<()> {
    match (&part.file, &part.text) {
        (Some(_), None) => {}
        (None, Some(text)) if text.reveal().len() <= TEXT_BYTES_MAX => {}
        (None, Some(_)) => {
            return Err(invalid(&format!("{field}/text"), format!("longer than {TEXT_BYTES_MAX} bytes")));
        }
        (Some(_), Some(_)) => {
            return Err(invalid(field, "a part is of a file or of a text, not of both".to_owned()));
        }
        (None, None) => return Err(invalid(field, "a part needs a file or a text".to_owned())),
    }
    for (name, text) in [("name", &part.name), ("fileName", &part.file_name)] {
        if let Some(text) = text {
            check_text(text, &format!("{field}/{name}"))?;
        }
    }
    check_headers_at(&part.headers, &format!("{field}/headers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: &serde_json::Value) -> CreateUpload {
        let mut body = serde_json::json!({ "requestedUri": "http://example.org/" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    fn refusal(more: &serde_json::Value) -> (ErrorCode, String) {
        let refused = check_upload(&mut spec(more)).expect_err(&more.to_string());
        (refused.problem().code, refused.problem().field.clone().unwrap())
    }

    #[test]
    fn the_shortest_bodies_are_taken() {
        for more in &[
            serde_json::json!({ "sourceFile": "/a" }),
            serde_json::json!({ "sourceFile": "/a", "method": "PUT", "contentType": "text/plain; charset=utf-8" }),
            serde_json::json!({ "sourceFile": "/a", "protocol": "tus", "idempotencyKey": "8e03978e-40d5" }),
            serde_json::json!({ "parts": [{ "name": "a", "file": "/a" }, { "name": "b", "text": "b" }] }),
            serde_json::json!({ "parts": [{ "text": "b" }], "subType": "related", "boundary": "b" }),
            serde_json::json!({ "sourceFile": "/a", "partUris": ["http://a/1?s"], "partSize": 5 }),
        ] {
            check_upload(&mut spec(more)).unwrap_or_else(|refused| panic!("{more}: {}", refused.problem()));
        }
    }

    #[test]
    fn parts_get_one_boundary_for_all_attempts() {
        let mut made = spec(&serde_json::json!({ "parts": [{ "text": "b" }] }));
        check_upload(&mut made).unwrap();
        assert_eq!(made.boundary.unwrap().len(), 32);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_its_field() {
        let raw =
            |field: &str, value: serde_json::Value| serde_json::json!({ "sourceFile": "/a", field: value });
        let parts = |part: serde_json::Value| serde_json::json!({ "parts": [part] });
        for (more, field) in [
            (serde_json::json!({}), "/sourceFile"),
            (serde_json::json!({ "sourceFile": "/a", "parts": [{ "text": "b" }] }), "/parts"),
            (raw("method", "GET".into()), "/method"),
            (raw("method", "P UT".into()), "/method"),
            (raw("contentType", "picture".into()), "/contentType"),
            (raw("contentType", "text/plain\r\nx: y".into()), "/contentType"),
            (raw("idempotencyKey", "a\"b".into()), "/idempotencyKey"),
            (raw("idempotencyKey", String::new().into()), "/idempotencyKey"),
            (raw("boundary", "b".into()), "/boundary"),
            (raw("subType", "related".into()), "/subType"),
            (raw("partSize", 5.into()), "/partSize"),
            (raw("partUris", serde_json::json!(["http://a/"])), "/partSize"),
            (parts(serde_json::json!({})), "/parts/0"),
            (parts(serde_json::json!({ "text": "a", "file": "/a" })), "/parts/0"),
            (parts(serde_json::json!({ "text": "a", "name": "a\nb" })), "/parts/0/name"),
            (serde_json::json!({ "parts": [{ "text": "b" }], "boundary": "a b " }), "/boundary"),
            (serde_json::json!({ "parts": [{ "text": "b" }], "boundary": "a".repeat(71) }), "/boundary"),
            (serde_json::json!({ "parts": [{ "text": "b" }], "boundary": "a\"b" }), "/boundary"),
            (serde_json::json!({ "parts": [{ "text": "b" }], "subType": "form data" }), "/subType"),
            (serde_json::json!({ "parts": [{ "text": "b" }], "protocol": "tus" }), "/protocol"),
            (serde_json::json!({ "parts": [{ "text": "b" }], "contentType": "text/plain" }), "/contentType"),
        ] {
            assert_eq!(refusal(&more), (ErrorCode::InvalidField, field.to_owned()));
        }
    }

    #[test]
    fn headers_of_the_protocols_are_not_the_callers() {
        for (name, more) in [
            ("Content-Length", serde_json::json!({ "sourceFile": "/a" })),
            ("Upload-Offset", serde_json::json!({ "sourceFile": "/a" })),
            ("Idempotency-Key", serde_json::json!({ "sourceFile": "/a" })),
            ("Content-Type", serde_json::json!({ "parts": [{ "text": "b" }] })),
            ("Content-Type", serde_json::json!({ "sourceFile": "/a", "contentType": "text/plain" })),
        ] {
            let mut more = more;
            more["requestHeaders"] = serde_json::json!([{ "name": name, "value": "1" }]);
            assert_eq!(refusal(&more), (ErrorCode::InvalidHeader, "/requestHeaders/0/name".to_owned()));
        }
        let breaking = serde_json::json!({ "parts": [{ "text": "b", "headers": [{ "name": "X", "value": "a\r\nb" }] }] });
        assert_eq!(refusal(&breaking), (ErrorCode::InvalidHeader, "/parts/0/headers/0/value".to_owned()));
    }

    #[test]
    fn there_is_no_upload_by_ftp() {
        for address in ["ftp://example.org/a", "ftps://example.org/a", "FTPES://example.org/a"] {
            let mut made = spec(&serde_json::json!({ "sourceFile": "/a", "requestedUri": address }));
            let refused = check_upload(&mut made).unwrap_err();
            assert_eq!(refused.problem().code, ErrorCode::UnsupportedScheme);
            assert_eq!(refused.problem().field.as_deref(), Some("/requestedUri"));
            assert!(refused.problem().detail.contains("FTP"), "{}", refused.problem());
        }
    }
}
