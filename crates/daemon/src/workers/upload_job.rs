//! One attempt of an upload, put together from the stored specification and the journal of the attempts before.

use longhaul_contract::{CreateUpload, OperationId, RequestHeader, UploadPart, UploadProtocol};
use longhaul_transfer::{ProxyRules, UploadContent, UploadJob, UploadJournalRecord, UploadSource};
use url::Url;

/// Bytes of the server's answer that are kept.
const RESPONSE_BODY_MAX: u64 = 1 << 20;

/// RFC 7578.
const FORM_DATA: &str = "form-data";

/// The form was checked when the operation was made, so an error means that the record is not what was kept.
pub(super) fn upload_job(
    id: OperationId,
    attempt: u32,
    spec: CreateUpload,
    proxy: ProxyRules,
    journal: Option<UploadJournalRecord>,
) -> Result<UploadJob, String> {
    let parse = |uri: &str| Url::parse(uri).map_err(|error| format!("a kept address is damaged: {error}"));
    let method = spec.method();
    let method = http::Method::from_bytes(method.as_bytes());
    let method = method.map_err(|error| format!("the kept method is damaged: {error}"))?;
    let headers = spec.request_headers.iter().map(|header| {
        let name = http::HeaderName::from_bytes(header.name.as_bytes());
        Ok((name.map_err(|error| format!("a kept header is damaged: {error}"))?, header.value.clone()))
    });
    let headers = headers.collect::<Result<_, String>>()?;
    let part_urls = spec.part_uris.iter().map(|uri| parse(uri.reveal())).collect::<Result<_, _>>()?;
    Ok(UploadJob {
        id,
        attempt,
        url: parse(&spec.requested_uri)?,
        method,
        headers,
        credential: spec.server_credential,
        identity: super::job::identity(spec.client_certificate.as_ref())?,
        protocol: protocol(spec.protocol),
        part_urls,
        part_size: spec.part_size.unwrap_or_default(),
        content_type: spec.content_type,
        idempotency_key: spec.idempotency_key,
        rate_limit: spec.rate_limit,
        journal,
        public_addresses_only: spec.public_addresses_only,
        interface: super::job::interface(spec.interface.as_deref())?,
        proxy,
        response_body_max: RESPONSE_BODY_MAX,
        source: match spec.source_file {
            Some(file) => UploadSource::File(file.into()),
            None => multipart(spec.parts, spec.sub_type, spec.boundary)?,
        },
    })
}

const fn protocol(asked: UploadProtocol) -> longhaul_transfer::UploadProtocol {
    match asked {
        UploadProtocol::Auto => longhaul_transfer::UploadProtocol::Auto,
        UploadProtocol::Plain => longhaul_transfer::UploadProtocol::Plain,
        UploadProtocol::Tus => longhaul_transfer::UploadProtocol::Tus,
        UploadProtocol::Resumable => longhaul_transfer::UploadProtocol::Resumable,
    }
}

fn multipart(
    parts: Vec<UploadPart>,
    sub_type: Option<String>,
    boundary: Option<String>,
) -> Result<UploadSource, String> {
    let boundary = boundary.ok_or("the kept parts have no boundary")?;
    let sub_type = sub_type.unwrap_or_else(|| FORM_DATA.to_owned());
    let parts = parts.into_iter().enumerate().map(|(index, part)| part_of(index, part, &sub_type));
    let parts = parts.collect::<Result<_, String>>()?;
    Ok(UploadSource::Multipart { sub_type, boundary, parts })
}

fn part_of(index: usize, part: UploadPart, sub_type: &str) -> Result<longhaul_transfer::UploadPart, String> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        let is_named = part.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
        headers.extend(value.filter(|_| !is_named).map(|value| (name.to_owned(), value)));
    };
    add("Content-Disposition", disposition(index, &part, sub_type));
    add("Content-Type", part.file.as_ref().map(|_| "application/octet-stream".to_owned()));
    headers.extend(
        part.headers.into_iter().map(|RequestHeader { name, value }| (name, value.reveal().to_owned())),
    );
    let content = match (part.file, part.text) {
        (Some(file), _) => UploadContent::File(file.into()),
        (None, Some(text)) => UploadContent::Text(text.reveal().to_owned()),
        (None, None) => return Err("a kept part has neither file nor text".to_owned()),
    };
    Ok(longhaul_transfer::UploadPart { headers, content })
}

/// RFC 7578 section 4.2. A form asks for a name: without one it is that of the Windows sample, `File0` and so on.
fn disposition(index: usize, part: &UploadPart, sub_type: &str) -> Option<String> {
    let is_form = sub_type.eq_ignore_ascii_case(FORM_DATA);
    let name = part.name.clone().or_else(|| is_form.then(|| format!("File{index}")));
    let own_name = part.file.as_deref().and_then(|file| file.rsplit('/').next());
    let file_name = part.file_name.as_deref().or(own_name);
    if name.is_none() && file_name.is_none() {
        return None;
    }
    let mut value = if is_form { FORM_DATA } else { "attachment" }.to_owned();
    for (parameter, text) in [("name", name.as_deref()), ("filename", file_name)] {
        if let Some(text) = text {
            value.push_str(&format!("; {parameter}=\"{}\"", quoted(text)));
        }
    }
    Some(value)
}

/// As browsers do (HTML Living Standard, "multipart form data").
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(part: UploadPart, sub_type: &str) -> Vec<(String, String)> {
        part_of(2, part, sub_type).unwrap().headers
    }

    #[test]
    fn parts_of_a_form_are_named() {
        let file = UploadPart { file: Some("/a/pic\"ture.png".to_owned()), ..UploadPart::default() };
        assert_eq!(
            headers(file.clone(), "form-data"),
            [
                (
                    "Content-Disposition".to_owned(),
                    "form-data; name=\"File2\"; filename=\"pic%22ture.png\"".to_owned()
                ),
                ("Content-Type".to_owned(), "application/octet-stream".to_owned()),
            ]
        );
        let named = UploadPart {
            name: Some("photo".to_owned()),
            file_name: Some("p.png".to_owned()),
            headers: vec![RequestHeader {
                name: "content-type".to_owned(),
                value: longhaul_contract::Secret::new("image/png"),
            }],
            ..file
        };
        assert_eq!(
            headers(named, "form-data"),
            [
                (
                    "Content-Disposition".to_owned(),
                    "form-data; name=\"photo\"; filename=\"p.png\"".to_owned()
                ),
                ("content-type".to_owned(), "image/png".to_owned()),
            ]
        );
    }

    #[test]
    fn a_text_of_no_form_needs_no_name() {
        let text = || UploadPart { text: Some(longhaul_contract::Secret::new("x")), ..UploadPart::default() };
        assert_eq!(headers(text(), "related"), []);
        assert_eq!(headers(text(), "form-data").len(), 1);
    }
}
