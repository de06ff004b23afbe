//! From the URL that was asked for to the response that counts: redirects in our own code, so that secrets stay
//! with their origin and every hop is checked.

use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, Version, header};
use longhaul_contract::{Cause, Credential, Failure, ReceiptHop, WebErrorStatus};
use url::Url;

use super::address::Reach;
use super::client::{Answer, Client, Way};
use super::failure::needs_input;
use super::head::Head;
use super::origin::{Origin, shown, without_userinfo};
use super::pool::Seat;
use super::request::{RangeFields, Template, unsupported};
use super::tls::Protocols;
use crate::ftp::Site;

/// One address of the file: where to begin, and where that led last time.
pub(crate) struct Source {
    url: Url,
    template: Arc<Template>,
    reach: Reach,
    redirects_max: u32,
    target: Mutex<Option<Url>>,
    /// Of an FTP address: where the file is and who asks.
    site: Option<Site>,
}

/// How a request gets its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Waits for its turn.
    First,
    /// Only if a seat is free, and over a connection of its own.
    Further,
}

/// A response that is not a redirect.
pub(crate) struct Reached {
    pub(crate) answer: Answer,
    pub(crate) url: Url,
    pub(crate) chain: Vec<ReceiptHop>,
}

#[derive(Debug)]
pub(crate) enum FollowError {
    Failed(Failure),
    /// No seat is free for a further request.
    NoSeat,
}

impl From<Failure> for FollowError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Source {
    /// The credential is for the origin that the template belongs to.
    pub(crate) fn new(
        url: Url,
        template: Arc<Template>,
        reach: Reach,
        redirects_max: u32,
        credential: Option<&Credential>,
    ) -> Self {
        let site = Origin::of_any(&url).filter(|origin| origin.scheme.is_ftp()).map(|origin| {
            let credential = credential.filter(|_| template.is_home(&origin));
            Site::new(&url, origin, credential)
        });
        Self { url, template, reach, redirects_max, target: Mutex::new(None), site }
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// See [`Template::drop_conditions`].
    pub(crate) fn drop_conditions(&self) -> bool {
        self.template.drop_conditions()
    }

    fn target(&self) -> MutexGuard<'_, Option<Url>> {
        self.target.lock().expect("no holder of this lock panics")
    }

    /// Where requests go now: the last redirect target, or the URL itself.
    pub(crate) fn current(&self) -> Url {
        self.target().clone().unwrap_or_else(|| self.url.clone())
    }

    /// Asks where the last redirect led; a target that has expired sends us back to the URL itself.
    ///
    /// # Errors
    /// The failure of the last hop, a redirect that must not be followed, or no free seat.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        range: Option<&RangeFields>,
        urgency: Urgency,
    ) -> Result<Reached, FollowError> {
        if let Some(site) = &self.site {
            self.goes_straight(&site.origin)?;
            let seat = take_seat(client, &site.origin, urgency).await?;
            let answer = site.ask(client, seat, self.reach, range).await?;
            let url = without_userinfo(&self.url);
            let chain = vec![ReceiptHop { url: shown(&url), status: answer.head.status }];
            return Ok(Reached { answer, url, chain });
        }
        let remembered = self.target().clone();
        if let Some(target) = remembered {
            let reached = self.follow(client, target, range, urgency).await;
            match reached {
                Ok(reached) if !is_expired(reached.answer.head.status) => return Ok(reached),
                Ok(reached) => reached.answer.body.discard(),
                Err(FollowError::NoSeat) => return Err(FollowError::NoSeat),
                Err(FollowError::Failed(_)) => {}
            }
            *self.target() = None;
        }
        let reached = self.follow(client, self.url.clone(), range, urgency).await?;
        if reached.chain.len() > 1 && !is_expired(reached.answer.head.status) {
            *self.target() = Some(reached.url.clone());
        }
        Ok(reached)
    }

    /// FTP has a second connection to a port that comes up as one goes, which few proxies let through. Going without the
    /// one that was named would tell the server what was not to be told.
    fn goes_straight(&self, origin: &Origin) -> Result<(), Failure> {
        let Some(proxy) = self.template.proxy(origin)? else { return Ok(()) };
        let way_out =
            "name its host in noProxy (--noproxy) to go there without one, or use an address of https:";
        let detail =
            format!("{origin} cannot be reached by the proxy {proxy}, as FTP goes by none: {way_out}");
        Err(needs_input(Cause::UnsupportedScheme, detail))
    }

    async fn follow(
        &self,
        client: &Client,
        from: Url,
        range: Option<&RangeFields>,
        urgency: Urgency,
    ) -> Result<Reached, FollowError> {
        let mut url = from;
        let mut method = self.template.method().clone();
        let mut chain: Vec<ReceiptHop> = Vec::new();
        let mut visited = Vec::new();
        loop {
            let answer = self.show_identity(client, &url, &method, range, urgency).await?;
            chain.push(ReceiptHop { url: shown(&url), status: answer.head.status });
            let Some(next) = self.next_hop(&url, &mut method, &answer.head)? else {
                return Ok(Reached { answer, url, chain });
            };
            answer.body.discard();
            visited.push(url);
            check_way(&visited, &next, self.redirects_max)?;
            url = next;
        }
    }

    /// Asks at one address, again where it wants another answer to its challenge.
    async fn show_identity(
        &self,
        client: &Client,
        url: &Url,
        method: &Method,
        range: Option<&RangeFields>,
        urgency: Urgency,
    ) -> Result<Answer, FollowError> {
        let origin = Origin::of(url).ok_or_else(|| unsupported(url))?;
        let protocols = if urgency == Urgency::First { Protocols::Http1AndHttp2 } else { Protocols::Http1 };
        let mut round = self.template.round(client, &origin);
        loop {
            let seat = take_seat(client, &origin, urgency).await?;
            let proxy = self.template.proxy(&origin)?;
            let identity = self.template.identity(&origin);
            let way = Way { reach: self.reach, protocols, proxy, identity };
            let ask = |version: Version| self.template.ask(url, method, range, version);
            let answer = client.send(seat, way, &ask).await?;
            if !self.template.heed(client, &origin, round.as_mut(), &answer.head) {
                return Ok(answer);
            }
            answer.body.discard();
        }
    }

    /// The redirect's target (RFC 9110 section 15.4), or `None` for any other response.
    fn next_hop(&self, url: &Url, method: &mut Method, head: &Head) -> Result<Option<Url>, Failure> {
        let Some(next) = redirect_target(url, head)? else { return Ok(None) };
        if matches!(head.status, 307 | 308) {
            let leaves_home = !Origin::of(&next).is_some_and(|origin| self.template.is_home(&origin));
            if self.template.has_body() && *method == *self.template.method() && leaves_home {
                return Err(refused(
                    head,
                    Cause::Redirect,
                    format!("{} redirects the request body to another origin", host_of(url)),
                ));
            }
        } else if *method != Method::HEAD {
            *method = Method::GET;
        }
        Ok(Some(next))
    }
}

async fn take_seat(client: &Client, origin: &Origin, urgency: Urgency) -> Result<Seat, FollowError> {
    match urgency {
        Urgency::First => Ok(client.pool.seat(origin).await),
        Urgency::Further => client.pool.spare_seat(origin).ok_or(FollowError::NoSeat),
    }
}

fn refused(head: &Head, cause: Cause, detail: String) -> Failure {
    Failure { http_status: Some(head.status), ..needs_input(cause, detail) }
}

/// Where a redirect leads, if the response is one and may be followed at all.
///
/// # Errors
/// No target, or one that is never followed.
pub(crate) fn redirect_target(url: &Url, head: &Head) -> Result<Option<Url>, Failure> {
    if !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = head.text(&header::LOCATION).ok_or_else(|| {
        refused(head, Cause::Redirect, format!("{} redirects without saying where", host_of(url)))
    })?;
    let next = url.join(location).map_err(|error| {
        refused(head, Cause::Redirect, format!("{} redirects to what is no URL: {error}", host_of(url)))
    })?;
    let next = without_userinfo(&next);
    match (url.scheme(), next.scheme()) {
        ("https", "http") => Err(Failure {
            web_error_status: WebErrorStatus::HttpsToHttpOnRedirection,
            ..refused(
                head,
                Cause::RedirectToHttp,
                format!("{} redirects from https to plain http, which is not followed", host_of(url)),
            )
        }),
        (_, "http" | "https") => Ok(Some(next)),
        (_, scheme) => Err(refused(
            head,
            Cause::UnsupportedScheme,
            format!("{} redirects to {scheme}:, which is not followed", host_of(url)),
        )),
    }
}

/// # Errors
/// The way so far leads in a circle with `next`, or has too many hops.
pub(crate) fn check_way(visited: &[Url], next: &Url, redirects_max: u32) -> Result<(), Failure> {
    let host = visited.first().map(host_of).unwrap_or_default();
    if visited.contains(next) {
        return Err(needs_input(
            Cause::RedirectLoop,
            format!("{host} redirects in a circle by way of {}", shown(next)),
        ));
    }
    if visited.len() > redirects_max as usize {
        return Err(needs_input(
            Cause::RedirectLoop,
            format!("{host} redirects more than {redirects_max} times"),
        ));
    }
    Ok(())
}

/// Statuses by which a temporary address says that its time is over.
const fn is_expired(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 410)
}

fn host_of(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}
