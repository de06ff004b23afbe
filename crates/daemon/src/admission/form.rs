//! The form of a request: addresses, headers, words and their bounds. Pure.

use longhaul_contract::download::RequestHeader;
use longhaul_contract::{
    CreateDownload, Credential, ErrorCode, InputCallback, Notification, OperationKind, PatchDownload, Scheme,
    Secret, address,
};
use longhaul_engine::Origin;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::client_certificate::check_client_certificate;
use super::interface::{check_interface, check_new_interface};
use super::place::Reach;
use super::proxy::check_proxy;
use crate::asks::{WebhookError, webhook_address};
use crate::http::{Answer, Refused};

const URI_BYTES_MAX: usize = 8192;
const MIRRORS_MAX: usize = 32;
const HEADERS_MAX: usize = 100;
const HEADERS_BYTES_MAX: usize = 64 << 10;
const TEXT_CHARS_MAX: usize = 256;
const SECRET_BYTES_MAX: usize = 4096;
const STATUSES_MAX: usize = 64;

/// Headers that belong to the connection or to resuming, which is ours.
const RESERVED_HEADERS: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks all but the place of the file. Userinfo of the address moves into the credential.
pub(crate) fn check_spec(spec: &mut CreateDownload) -> Answer<()> {
    spec.requested_uri = check_uri(
        &spec.requested_uri,
        &mut spec.server_credential,
        "/requestedUri",
        OperationKind::Download,
    )?;
    if spec.mirrors.len() > MIRRORS_MAX {
        return Err(invalid("/mirrors", format!("more than {MIRRORS_MAX} mirrors")));
    }
    for (index, mirror) in spec.mirrors.iter_mut().enumerate() {
        let field = format!("/mirrors/{index}");
        let mut credential = None;
        *mirror = check_uri(mirror, &mut credential, &field, OperationKind::Download)?;
        if credential.is_some() {
            let detail =
                "a mirror cannot have a user name: serverCredential is for the origin of requestedUri";
            return Err(Refused::new(ErrorCode::InvalidUri, detail).with_field(field));
        }
    }
    check_method(spec)?;
    check_ftp(spec)?;
    check_headers_at(&spec.request_headers, "/requestHeaders")?;
    check_credential(spec.server_credential.as_ref(), "/serverCredential")?;
    check_client_certificate(spec.client_certificate.as_ref(), Some(&spec.requested_uri))?;
    check_proxy(&mut spec.proxy, &mut spec.proxy_credential, spec.no_proxy.as_deref())?;
    check_interface(&mut spec.interface)?;
    if let Some(label) = &spec.label {
        check_text(label, "/label")?;
    }
    check_notifications(spec.success_notification.as_ref(), spec.failure_notification.as_ref())?;
    check_input_callback(spec.input_callback.as_ref())?;
    if let Some(media_type) = spec.expect.as_ref().and_then(|expect| expect.content_type.as_ref()) {
        check_media_type(media_type)?;
    }
    check_statuses(spec.recoverable_web_error_statuses.len())
}

/// One is asked, and a webhook is on this machine.
fn check_input_callback(callback: Option<&InputCallback>) -> Answer<()> {
    match callback.map(|callback| (callback.task, callback.webhook.as_deref())) {
        None | Some((Some(_), None)) => Ok(()),
        Some((None, Some(webhook))) => webhook_address(webhook)
            .map(drop)
            .map_err(|error: WebhookError| invalid("/inputCallback/webhook", error.to_string())),
        Some((None, None) | (Some(_), Some(_))) => {
            Err(invalid("/inputCallback", "name a task or a webhook".to_owned()))
        }
    }
}

/// What is shown to the user is text, and not too much of it.
pub(crate) fn check_notifications(
    success: Option<&Notification>,
    failure: Option<&Notification>,
) -> Answer<()> {
    for (notification, field) in [(success, "/successNotification"), (failure, "/failureNotification")] {
        notification.map_or(Ok(()), Notification::check).map_err(|problem| invalid(field, problem))?;
    }
    Ok(())
}

/// The same for what a patch renews. Gives the origin of a new address.
pub(crate) fn check_patch(
    patch: &mut PatchDownload,
    kind: OperationKind,
    reach: Reach,
) -> Answer<Option<Origin>> {
    match (&mut patch.part_uris, kind) {
        (None, _) => {}
        (Some(uris), OperationKind::Upload) => super::upload::check_part_uris(uris)?,
        (Some(_), OperationKind::Download) => {
            return Err(invalid("/partUris", "only uploads are sent in pieces".to_owned()));
        }
    }
    let mut origin = None;
    if let Some(uri) = &mut patch.requested_uri {
        *uri = check_uri(uri, &mut patch.server_credential, "/requestedUri", kind)?;
        origin = Some(origin_of(uri)?);
    }
    if let Some(headers) = &patch.request_headers {
        check_headers_at(headers, "/requestHeaders")?;
    }
    check_credential(patch.server_credential.as_ref(), "/serverCredential")?;
    check_client_certificate(patch.client_certificate.as_ref(), patch.requested_uri.as_deref())?;
    check_proxy(&mut patch.proxy, &mut patch.proxy_credential, None)?;
    check_new_interface(patch.interface.as_deref(), reach)?;
    check_statuses(patch.recoverable_web_error_statuses.as_ref().map_or(0, Vec::len))?;
    Ok(origin)
}

/// Where an address leads to; the address has been checked.
pub(crate) fn origin_of(uri: &str) -> Answer<Origin> {
    let url = Url::parse(uri).map_err(|error| Refused::internal(&error))?;
    let is_local = match address::host(&url) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    };
    let (host, port) = (url.host_str().unwrap_or_default(), address::port(&url).unwrap_or_default());
    Ok(Origin { name: format!("{}://{host}:{port}", url.scheme()).into(), is_local })
}

pub(super) fn invalid(field: &str, detail: String) -> Refused {
    Refused::new(ErrorCode::InvalidField, detail).with_field(field)
}

/// Checks the address of an operation of `kind`; userinfo moves into the credential.
pub(super) fn check_uri(
    text: &str,
    credential: &mut Option<Credential>,
    field: &str,
    kind: OperationKind,
) -> Answer<String> {
    let refuse = |code, detail: String| Refused::new(code, detail).with_field(field);
    if text.len() > URI_BYTES_MAX {
        return Err(refuse(ErrorCode::InvalidUri, format!("longer than {URI_BYTES_MAX} bytes")));
    }
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refuse(
            ErrorCode::InvalidUri,
            "empty, or with white space or control characters".to_owned(),
        ));
    }
    let mut url = Url::parse(text).map_err(|error| refuse(ErrorCode::InvalidUri, error.to_string()))?;
    match (Scheme::of(&url), kind) {
        (Some(scheme), OperationKind::Upload) if scheme.is_ftp() => {
            let detail = "there is no upload by FTP: use http or https";
            return Err(refuse(ErrorCode::UnsupportedScheme, detail.to_owned()));
        }
        (Some(_), _) => {}
        (None, _) => {
            let detail = format!("the scheme {:?} is not supported", url.scheme());
            return Err(refuse(ErrorCode::UnsupportedScheme, detail));
        }
    }
    if address::host(&url).is_none() || url.port() == Some(0) {
        return Err(refuse(ErrorCode::InvalidUri, "it names no host and port to connect to".to_owned()));
    }
    if Scheme::of(&url).is_some_and(Scheme::is_ftp) {
        address::ftp_path(&url).map_err(|error| refuse(ErrorCode::InvalidUri, error.to_string()))?;
    }
    if !url.username().is_empty() || url.password().is_some() {
        let decode = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        let user = decode(url.username());
        let password = decode(url.password().unwrap_or_default());
        let (Ok(user), Ok(password)) = (user, password) else {
            return Err(refuse(ErrorCode::InvalidUri, "the user name or password is not UTF-8".to_owned()));
        };
        credential.get_or_insert(Credential { user, password: Secret::new(password) });
        if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
            return Err(refuse(ErrorCode::InvalidUri, "it cannot have a user name".to_owned()));
        }
    }
    Ok(url.into())
}

/// Of a request FTP knows the address and who asks.
fn check_ftp(spec: &CreateDownload) -> Answer<()> {
    let Some(scheme) = Url::parse(&spec.requested_uri).ok().as_ref().and_then(Scheme::of) else {
        return Ok(());
    };
    if !scheme.is_ftp() {
        return Ok(());
    }
    if spec.method.as_deref().unwrap_or("GET") != "GET" {
        return Err(invalid("/method", "FTP knows no methods: leave it out".to_owned()));
    }
    if !spec.request_headers.is_empty() {
        return Err(invalid("/requestHeaders", "FTP knows no headers: leave them out".to_owned()));
    }
    if spec.expect.as_ref().is_some_and(|expect| expect.content_type.is_some()) {
        return Err(invalid(
            "/expect/contentType",
            "an FTP server does not tell the type of a file".to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn check_method_token(method: &str) -> Answer<()> {
    if method.len() <= 32 && http::Method::from_bytes(method.as_bytes()).is_ok() {
        return Ok(());
    }
    Err(invalid("/method", "a method is a token (RFC 9110 section 5.6.2)".to_owned()))
}

fn check_method(spec: &CreateDownload) -> Answer<()> {
    let method = spec.method.as_deref().unwrap_or("GET");
    check_method_token(method)?;
    if matches!(method, "HEAD" | "CONNECT" | "TRACE" | "OPTIONS") {
        return Err(invalid("/method", format!("{method} brings no file")));
    }
    if spec.body.is_some() && method == "GET" {
        return Err(invalid("/body", "GET has no body: name another method".to_owned()));
    }
    Ok(())
}

pub(super) fn check_headers_at(headers: &[RequestHeader], field: &str) -> Answer<()> {
    if headers.len() > HEADERS_MAX {
        return Err(invalid(field, format!("more than {HEADERS_MAX} headers")));
    }
    let bytes: usize = headers.iter().map(|header| header.name.len() + header.value.reveal().len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        return Err(invalid(field, format!("more than {HEADERS_BYTES_MAX} bytes")));
    }
    for (index, header) in headers.iter().enumerate() {
        let refuse = |part: &str, detail: String| {
            Err(Refused::new(ErrorCode::InvalidHeader, detail).with_field(format!("{field}/{index}/{part}")))
        };
        let Ok(name) = http::HeaderName::from_bytes(header.name.as_bytes()) else {
            return refuse("name", format!("{:?} is no header name", header.name));
        };
        if RESERVED_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
            return refuse("name", format!("{name} is set by the service itself"));
        }
        if http::HeaderValue::from_bytes(header.value.reveal().as_bytes()).is_err() {
            return refuse("value", format!("the value of {name} has control characters"));
        }
    }
    Ok(())
}

/// `place` is the field that it is in.
pub(super) fn check_credential(credential: Option<&Credential>, place: &str) -> Answer<()> {
    let Some(Credential { user, password }) = credential else { return Ok(()) };
    for (name, text) in [("user", user.as_str()), ("password", password.reveal())] {
        if text.len() > SECRET_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(invalid(
                &format!("{place}/{name}"),
                format!("longer than {SECRET_BYTES_MAX} bytes, or with control characters"),
            ));
        }
    }
    if user.contains(':') {
        return Err(invalid(
            &format!("{place}/user"),
            "a user name has no colon (RFC 7617 section 2)".to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn check_text(text: &str, field: &str) -> Answer<()> {
    if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(invalid(
            field,
            format!("longer than {TEXT_CHARS_MAX} characters, or with control characters"),
        ));
    }
    Ok(())
}

fn check_media_type(text: &str) -> Answer<()> {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&b))
    };
    match text.split_once('/') {
        Some((kind, subtype)) if text.len() <= 255 && is_token(kind) && is_token(subtype) => Ok(()),
        _ => Err(invalid("/expect/contentType", format!("{text:?} is no media type such as image/png"))),
    }
}

pub(super) fn check_statuses(count: usize) -> Answer<()> {
    if count > STATUSES_MAX {
        return Err(invalid("/recoverableWebErrorStatuses", format!("more than {STATUSES_MAX} words")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(uri: &str) -> CreateDownload {
        serde_json::from_value(serde_json::json!({ "requestedUri": uri, "resultFile": "/tmp/a" })).unwrap()
    }

    fn refusal(change: impl FnOnce(&mut CreateDownload)) -> (ErrorCode, String) {
        let mut spec = spec("http://example.org/");
        change(&mut spec);
        let refused = check_spec(&mut spec).unwrap_err();
        (refused.problem().code, refused.problem().field.clone().unwrap())
    }

    fn header(name: &str, value: &str) -> RequestHeader {
        RequestHeader { name: name.to_owned(), value: Secret::new(value) }
    }

    #[test]
    fn addresses_are_absolute_and_http() {
        for (uri, code) in [
            ("", ErrorCode::InvalidUri),
            ("example.org/file", ErrorCode::InvalidUri),
            ("http://", ErrorCode::InvalidUri),
            ("http://exa mple.org/", ErrorCode::InvalidUri),
            ("http://example.org/\r\nX: y", ErrorCode::InvalidUri),
            ("http://example.org:0/", ErrorCode::InvalidUri),
            ("http://[::1/", ErrorCode::InvalidUri),
            ("sftp://example.org/file", ErrorCode::UnsupportedScheme),
            ("ftp://example.org/folder/", ErrorCode::InvalidUri),
            ("ftps://example.org", ErrorCode::InvalidUri),
            ("ftps:///file", ErrorCode::InvalidUri),
            ("ftp://example.org/f;type=a", ErrorCode::InvalidUri),
            ("ftp://example.org/f%0d%0aDELE%20f", ErrorCode::InvalidUri),
            ("file:///etc/passwd", ErrorCode::UnsupportedScheme),
            ("javascript:alert(1)", ErrorCode::UnsupportedScheme),
        ] {
            assert_eq!(
                refusal(|spec| spec.requested_uri = uri.to_owned()),
                (code, "/requestedUri".to_owned()),
                "{uri}"
            );
        }
        let long = format!("http://example.org/{}", "a".repeat(URI_BYTES_MAX));
        assert_eq!(refusal(|spec| spec.requested_uri = long).0, ErrorCode::InvalidUri);
        assert_eq!(
            refusal(|spec| spec.mirrors = vec!["http://a/".to_owned(), "gopher://b/".to_owned()]),
            (ErrorCode::UnsupportedScheme, "/mirrors/1".to_owned())
        );
    }

    #[test]
    fn of_ftp_addresses_only_what_ftp_knows_is_taken() {
        for address in ["ftp://me:pw@example.org/f", "ftps://me:pw@127.0.0.1/f", "ftpes://me:pw@[::1]:21/f"] {
            let mut asked = spec(address);
            check_spec(&mut asked).unwrap();
            assert_eq!(asked.requested_uri, address.replace("me:pw@", ""));
            assert_eq!(asked.server_credential.unwrap().user, "me");
        }
        let mut headers = spec("ftp://example.org/f");
        headers.request_headers = vec![header("X-A", "1")];
        let mut method = spec("ftps://example.org/f");
        method.method = Some("POST".to_owned());
        let mut typed = spec("ftpes://example.org/f");
        typed.expect = serde_json::from_value(serde_json::json!({ "contentType": "image/png" })).unwrap();
        for (mut asked, field) in
            [(headers, "/requestHeaders"), (method, "/method"), (typed, "/expect/contentType")]
        {
            let refused = check_spec(&mut asked).unwrap_err();
            assert_eq!(refused.problem().field.as_deref(), Some(field));
        }
    }

    #[test]
    fn origins_of_ftp_addresses_have_their_port() {
        for (address, name, is_local) in [
            ("ftps://127.0.0.1/f", "ftps://127.0.0.1:990", true),
            ("ftpes://example.org/f", "ftpes://example.org:21", false),
            ("ftp://localhost:2121/f", "ftp://localhost:2121", true),
        ] {
            let origin = origin_of(address).unwrap();
            assert_eq!((&*origin.name, origin.is_local), (name, is_local));
        }
    }

    #[test]
    fn userinfo_moves_into_the_credential() {
        let mut spec = spec("https://me:p%40ss@example.org/file?q");
        check_spec(&mut spec).unwrap();
        assert_eq!(spec.requested_uri, "https://example.org/file?q");
        let credential = spec.server_credential.unwrap();
        assert_eq!((credential.user.as_str(), credential.password.reveal()), ("me", "p@ss"));
    }

    #[test]
    fn headers_cannot_break_out_of_their_line() {
        for (bad, field) in [
            (header("X-A", "one\r\nX-B: two"), "value"),
            (header("X-A", "nul\0"), "value"),
            (header("X A", "v"), "name"),
            (header("", "v"), "name"),
            (header("Range", "bytes=0-1"), "name"),
            (header("Transfer-Encoding", "chunked"), "name"),
            (header("Proxy-Authorization", "x"), "name"),
        ] {
            assert_eq!(
                refusal(|spec| spec.request_headers = vec![header("Accept", "*/*"), bad]),
                (ErrorCode::InvalidHeader, format!("/requestHeaders/1/{field}"))
            );
        }
        let many = (0..=HEADERS_MAX).map(|_| header("A", "b")).collect();
        assert_eq!(refusal(|spec| spec.request_headers = many).0, ErrorCode::InvalidField);
        let large = vec![header("A", &"b".repeat(HEADERS_BYTES_MAX))];
        assert_eq!(refusal(|spec| spec.request_headers = large).0, ErrorCode::InvalidField);
    }

    #[test]
    fn words_and_texts_have_bounds() {
        for (change, field) in [
            ((|spec| spec.method = Some("GE T".to_owned())) as fn(&mut CreateDownload), "/method"),
            (|spec| spec.method = Some("HEAD".to_owned()), "/method"),
            (|spec| spec.body = Some(Secret::new("x")), "/body"),
            (|spec| spec.label = Some("x".repeat(257)), "/label"),
            (|spec| spec.label = Some("a\u{1b}[31m".to_owned()), "/label"),
            (|spec| spec.expect = Some(expectation("picture")), "/expect/contentType"),
            (|spec| spec.server_credential = Some(credential("a:b", "")), "/serverCredential/user"),
            (|spec| spec.server_credential = Some(credential("a", "\n")), "/serverCredential/password"),
        ] {
            assert_eq!(refusal(change), (ErrorCode::InvalidField, field.to_owned()));
        }
    }

    fn expectation(content_type: &str) -> longhaul_contract::Expectation {
        longhaul_contract::Expectation { size: None, content_type: Some(content_type.to_owned()) }
    }

    fn credential(user: &str, password: &str) -> Credential {
        Credential { user: user.to_owned(), password: Secret::new(password) }
    }

    #[test]
    fn origins_have_their_port_and_know_loopback() {
        for (uri, name, is_local) in [
            ("http://example.org/a", "http://example.org:80", false),
            ("https://EXAMPLE.org/a", "https://example.org:443", false),
            ("http://127.0.0.9:8080/", "http://127.0.0.9:8080", true),
            ("http://[::1]/", "http://[::1]:80", true),
            ("http://localhost./", "http://localhost.:80", true),
            ("http://notlocalhost/", "http://notlocalhost:80", false),
        ] {
            let origin = origin_of(uri).unwrap();
            assert_eq!((&*origin.name, origin.is_local), (name, is_local), "{uri}");
        }
    }

    #[test]
    fn a_patch_is_held_to_the_same_rules() {
        let mut patch =
            PatchDownload { requested_uri: Some("https://u:p@b.example/x".to_owned()), ..Default::default() };
        let origin = check_patch(&mut patch, OperationKind::Download, Reach::Everywhere).unwrap().unwrap();
        assert_eq!(&*origin.name, "https://b.example:443");
        assert_eq!(patch.server_credential.unwrap().user, "u");
        let mut patch =
            PatchDownload { request_headers: Some(vec![header("a", "\n")]), ..Default::default() };
        assert_eq!(
            check_patch(&mut patch, OperationKind::Download, Reach::Everywhere).unwrap_err().problem().code,
            ErrorCode::InvalidHeader
        );
    }
}
