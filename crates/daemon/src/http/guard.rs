//! What every request passes before any handler: is it meant for us, who sends it, may it do this, can it take the
//! answer. One place, so that no route can forget it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, header};
use longhaul_contract::{ErrorCode, Scope};

use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Line;

/// The values of Host and Origin that are meant for us.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Names {
    /// The addresses that are listened on, under the three names of this machine, and what the owner adds.
    pub(crate) fn new(addresses: &[SocketAddr], hosts: &[String], origins: &[String]) -> Self {
        let mut names = Self { hosts: hosts.to_vec(), origins: origins.to_vec() };
        for address in addresses {
            let port = address.port();
            for host in ["localhost", "127.0.0.1", "[::1]"] {
                names.hosts.push(format!("{host}:{port}"));
                if port == 80 {
                    names.hosts.push(host.to_owned());
                }
            }
            names.hosts.push(address.to_string());
        }
        for list in [&mut names.hosts, &mut names.origins] {
            list.iter_mut().for_each(|name| name.make_ascii_lowercase());
        }
        names
    }

    /// # Errors
    /// The request was led here by somebody else's name (DNS rebinding) or somebody else's page.
    fn check(&self, request: &Request) -> Answer<()> {
        let refuse = |detail: String| Err(Refused::new(ErrorCode::Misdirected, detail));
        let headers = request.headers();
        if headers.get_all(header::HOST).iter().count() > 1 {
            return refuse("there is more than one Host".to_owned());
        }
        let host = text(headers, &header::HOST);
        // HTTP/2 names the host in the request's target (RFC 9113 section 8.3.1).
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        for name in [host.as_deref(), authority].into_iter().flatten() {
            if !self.hosts.contains(&name.to_ascii_lowercase()) {
                return refuse(format!("the host {name:?} is not this service"));
            }
        }
        if host.is_none() && authority.is_none() {
            return refuse("the request names no host".to_owned());
        }
        self.check_origin(headers)
    }

    fn check_origin(&self, headers: &HeaderMap) -> Answer<()> {
        let refuse = |detail: String| Err(Refused::new(ErrorCode::Misdirected, detail));
        let origin = text(headers, &header::ORIGIN);
        if let Some(origin) = origin {
            let origin = origin.to_ascii_lowercase();
            let is_own =
                origin.strip_prefix("http://").is_some_and(|host| self.hosts.iter().any(|own| own == host));
            if is_own || self.origins.contains(&origin) {
                return Ok(());
            }
            return refuse(format!("pages of {origin:?} may not call this service"));
        }
        // A browser that sends no Origin still says where the page is from (Fetch Metadata).
        match text(headers, &http::HeaderName::from_static("sec-fetch-site")).as_deref() {
            Some("cross-site" | "same-site") => {
                refuse("pages of other sites may not call this service".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn text(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    // What is no text can equal no name on a list.
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Scope(Scope),
    Owner,
}

fn need_of(method: &Method, path: &str) -> Need {
    let is_safe = matches!(*method, Method::GET | Method::HEAD);
    let is_known = is_safe || matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    match path {
        // No route has it, which is what is answered.
        _ if !is_known => Need::Scope(Scope::Read),
        "/openapi.json" | "/healthz" if is_safe => Need::Nothing,
        "/limits" if !is_safe => Need::Scope(Scope::Admin),
        _ if path.starts_with("/host/") && !is_safe => Need::Scope(Scope::Admin),
        _ if path == "/apps" || path.starts_with("/apps/") => {
            if path.ends_with("/tokens") && *method == Method::POST {
                Need::Owner
            } else {
                Need::Scope(Scope::Admin)
            }
        }
        _ if is_safe => Need::Scope(Scope::Read),
        _ => Need::Scope(Scope::Submit),
    }
}

/// The layer around all routes.
pub(crate) async fn guard(State(rooms): State<Arc<Rooms>>, mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let began = std::time::Instant::now();
    let response = match admit(&rooms, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    rooms.metrics.answered(response.status().as_u16());
    tracing::debug!(%method, status = response.status().as_u16(), took = ?began.elapsed(), "answered");
    response
}

async fn admit(rooms: &Rooms, request: &mut Request) -> Answer<()> {
    let Some(line) = request.extensions().get::<Arc<Line>>().cloned() else {
        return Err(Refused::internal(&"a request came by no known line"));
    };
    if matches!(*line, Line::Tcp) {
        rooms.names.check(request)?;
    }
    check_acceptable(request.headers(), request.uri().path())?;
    let need = need_of(request.method(), request.uri().path());
    if need == Need::Nothing {
        return Ok(());
    }
    let caller = rooms.doorkeeper.identify(&line, request.headers()).await?;
    match need {
        Need::Scope(scope) => caller.need(scope)?,
        Need::Owner => caller.need_owner()?,
        Need::Nothing => {}
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

/// The one type each route answers in (RFC 9110 section 12.5.1); content has the type the server gave it.
fn check_acceptable(headers: &HeaderMap, path: &str) -> Answer<()> {
    let offered = match path {
        "/events" | "/background-tasks/activations" => "text/event-stream",
        "/metrics" => "application/openmetrics-text",
        _ if path.ends_with("/content") => return Ok(()),
        _ => "application/json",
    };
    let mut ranges =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if ranges.peek().is_none() {
        return Ok(());
    }
    let kind = offered.split('/').next().unwrap_or_default();
    let is_accepted = ranges.flat_map(|value| value.split(',')).any(|range| {
        let essence = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "*/*"
            || essence == offered
            || essence.strip_suffix("/*") == Some(kind)
            || (essence == "text/plain" && (path == "/metrics" || path.ends_with("/output")))
    });
    if is_accepted {
        return Ok(());
    }
    Err(Refused::new(ErrorCode::NotAcceptable, format!("this is only answered as {offered}")))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn names() -> Names {
        let address = "127.0.0.1:8080".parse().unwrap();
        Names::new(&[address], &["longhaul.example:443".to_owned()], &["https://dash.example".to_owned()])
    }

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().uri("/background-transfers/downloads");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn fault_121_only_our_own_names_are_answered() {
        for host in
            ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080", "longhaul.example:443"]
        {
            assert!(names().check(&request(&[("host", host)])).is_ok(), "{host}");
        }
        for host in
            ["evil.example:8080", "localhost", "127.0.0.1:8081", "localhost:8080.evil.example", "127.0.0.1"]
        {
            let refused = names().check(&request(&[("host", host)])).unwrap_err();
            assert_eq!(refused.problem().code, ErrorCode::Misdirected, "{host}");
        }
        assert!(names().check(&request(&[])).is_err());
        assert!(names().check(&request(&[("host", "localhost:8080"), ("host", "localhost:8080")])).is_err());
        let target = Request::builder().uri("http://evil.example/").header("host", "localhost:8080");
        assert!(names().check(&target.body(Body::empty()).unwrap()).is_err());
    }

    #[test]
    fn fault_122_pages_of_other_sites_are_refused() {
        let with = |name: &'static str, value: &'static str| {
            names().check(&request(&[("host", "localhost:8080"), (name, value)]))
        };
        assert!(with("origin", "http://localhost:8080").is_ok());
        assert!(with("origin", "https://dash.example").is_ok());
        assert!(with("sec-fetch-site", "same-origin").is_ok());
        assert!(with("sec-fetch-site", "none").is_ok());
        for (name, value) in [
            ("origin", "null"),
            ("origin", "https://localhost:8080"),
            ("origin", "http://evil.example"),
            ("origin", "https://dash.example.evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(with(name, value).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn every_route_needs_something_but_two() {
        for (method, path, need) in [
            (Method::GET, "/openapi.json", Need::Nothing),
            (Method::GET, "/healthz", Need::Nothing),
            (Method::POST, "/healthz", Need::Scope(Scope::Submit)),
            (Method::GET, "/metrics", Need::Scope(Scope::Read)),
            (Method::GET, "/events", Need::Scope(Scope::Read)),
            (Method::GET, "/limits", Need::Scope(Scope::Read)),
            (Method::PUT, "/limits", Need::Scope(Scope::Admin)),
            (Method::GET, "/apps", Need::Scope(Scope::Admin)),
            (Method::GET, "/apps/org.a", Need::Scope(Scope::Admin)),
            (Method::POST, "/apps/org.a/tokens", Need::Owner),
            (Method::PUT, "/apps/org.a/access", Need::Scope(Scope::Admin)),
            (Method::TRACE, "/apps/org.a/tokens", Need::Scope(Scope::Read)),
            (Method::PUT, "/host/power", Need::Scope(Scope::Admin)),
            (Method::DELETE, "/host/power", Need::Scope(Scope::Admin)),
            (Method::GET, "/host", Need::Scope(Scope::Read)),
            (Method::GET, "/host/conditions", Need::Scope(Scope::Read)),
            (Method::POST, "/background-tasks", Need::Scope(Scope::Submit)),
            (Method::POST, "/push/x", Need::Scope(Scope::Submit)),
            (Method::DELETE, "/background-transfers/downloads/x", Need::Scope(Scope::Submit)),
            (Method::POST, "/background-transfers/downloads", Need::Scope(Scope::Submit)),
        ] {
            assert_eq!(need_of(&method, path), need, "{method} {path}");
        }
    }

    #[test]
    fn answers_nobody_can_read_are_not_given() {
        for (accept, path, is_fine) in [
            ("*/*", "/limits", true),
            ("text/html, application/*;q=0.5", "/limits", true),
            ("text/html", "/limits", false),
            ("text/event-stream", "/events", true),
            ("application/json", "/events", false),
            ("text/plain;version=0.0.4", "/metrics", true),
            ("video/*", "/background-transfers/downloads/x/content", true),
        ] {
            let request = request(&[("accept", accept)]);
            assert_eq!(check_acceptable(request.headers(), path).is_ok(), is_fine, "{accept} {path}");
        }
    }
}
