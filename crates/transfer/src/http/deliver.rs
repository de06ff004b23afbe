//! A request that brings bytes to a server, and what the server says to it: redirects, expectations, early answers.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Version};
use longhaul_contract::{Cause, Failure, ReceiptHop};
use url::Url;

use super::address::Reach;
use super::client::{Answer, Client, Way};
use super::failure::needs_input;
use super::follow::{check_way, redirect_target};
use super::head::Head;
use super::origin::{Origin, shown};
use super::outgoing::{Course, Interim, Outgoing};
use super::pool::Seat;
use super::request::{Ask, Template, unsupported};
use super::tls::Protocols;

/// From so many bytes on a server is asked beforehand whether it wants the body.
const EXPECT_BYTES_MIN: u64 = 1 << 20;
/// The same while it is not known whether it accepts the credential: most likely the body would be in vain.
const EXPECT_UNPROVED_BYTES_MIN: u64 = 64 << 10;

/// Makes the stream of a body anew, for each time that the request is sent.
pub(crate) type Pieces<'a> = dyn Fn(Arc<Course>) -> BoxStream<'static, io::Result<Bytes>> + Send + Sync + 'a;

/// One request, before it is made.
pub(crate) struct Call<'a> {
    pub(crate) template: &'a Template,
    pub(crate) url: Url,
    pub(crate) method: Method,
    /// Take the place of the caller's fields of the same name.
    pub(crate) fields: HeaderMap,
    /// Are there unless the caller has fields of the same name.
    pub(crate) defaults: HeaderMap,
    pub(crate) length: u64,
    pub(crate) pieces: Option<&'a Pieces<'a>>,
    pub(crate) interim: Option<Interim>,
    pub(crate) reach: Reach,
    pub(crate) protocols: Protocols,
    pub(crate) redirects_max: u32,
}

/// A response that is no redirect to be followed.
pub(crate) struct Delivered {
    pub(crate) answer: Answer,
    pub(crate) url: Url,
    pub(crate) chain: Vec<ReceiptHop>,
}

/// Why no final response came.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) failure: Failure,
    /// Bytes of the body left in the request that failed.
    pub(crate) has_sent: bool,
}

/// Where the way goes on.
enum Turn {
    Here,
    /// The same request again, over there.
    Again(Url),
    /// The body is where it belongs; the answer is over there (RFC 9110 section 15.4.4).
    See(Url),
}

impl Call<'_> {
    /// Sends the request, in `seat` if there is one for its origin already.
    ///
    /// # Errors
    /// The failure of the last hop, or a redirect that must not be followed.
    pub(crate) async fn make(&self, client: &Client, seat: Option<Seat>) -> Result<Delivered, Undelivered> {
        let (mut url, mut seat) = (self.url.clone(), seat);
        let mut is_seen = false;
        let mut has_sent = false;
        let mut round = Origin::of(&url).and_then(|origin| self.template.round(client, &origin));
        let mut visited = Vec::new();
        let mut chain = Vec::new();
        loop {
            let latest = Mutex::new(None);
            let sent = self.send(client, &url, seat.take(), is_seen, &latest).await;
            let course = latest.into_inner().expect("no holder of this lock panics");
            has_sent |= course.as_ref().is_some_and(|course| course.handed() > 0);
            let fail = |failure| Undelivered { failure, has_sent };
            let answer = sent.map_err(|failure| {
                fail(course.as_ref().and_then(|course| course.failure()).unwrap_or(failure))
            })?;
            if self.was_expectation_refused(client, &url, &answer.head, course.as_deref()) {
                answer.body.discard();
                continue;
            }
            let origin = Origin::of(&url).ok_or_else(|| fail(unsupported(&url)))?;
            if self.template.heed(client, &origin, round.as_mut(), &answer.head) {
                // It has not done what was asked.
                has_sent = false;
                answer.body.discard();
                continue;
            }
            chain.push(ReceiptHop { url: shown(&url), status: answer.head.status });
            let is_whole = course.as_ref().is_none_or(|course| course.is_done());
            let next = match self.turn(&url, &answer.head, is_whole).map_err(fail)? {
                Turn::Here => return Ok(Delivered { answer, url, chain }),
                Turn::Again(next) => next,
                Turn::See(next) => {
                    is_seen = true;
                    next
                }
            };
            answer.body.discard();
            visited.push(url);
            check_way(&visited, &next, self.redirects_max).map_err(fail)?;
            url = next;
            round = Origin::of(&url).and_then(|origin| self.template.round(client, &origin));
        }
    }

    async fn send(
        &self,
        client: &Client,
        url: &Url,
        seat: Option<Seat>,
        is_seen: bool,
        latest: &Mutex<Option<Arc<Course>>>,
    ) -> Result<Answer, Failure> {
        let origin = Origin::of(url).ok_or_else(|| unsupported(url))?;
        let seat = match seat.filter(|seat| *seat.origin() == origin) {
            Some(seat) => seat,
            None => client.pool.seat(&origin).await,
        };
        let proxy = self.template.proxy(&origin)?;
        let identity = self.template.identity(&origin);
        let way = Way { reach: self.reach, protocols: self.protocols, proxy, identity };
        let traits = client.pool.traits(&origin);
        let is_unproved = self.template.is_unproved(&origin);
        let least = if is_unproved { EXPECT_UNPROVED_BYTES_MIN } else { EXPECT_BYTES_MIN };
        let may_expect =
            self.length >= least && !traits.ignores_expect && (is_unproved || !traits.takes_bodies);
        let answer = client
            .send(seat, way, &|version| {
                if is_seen {
                    return self.template.dress(url, &Method::GET, version, Outgoing::whole(Bytes::new()));
                }
                let (ask, course) = self.ask(url, version, may_expect)?;
                *latest.lock().expect("no holder of this lock panics") = course;
                Ok(ask)
            })
            .await;
        let course = latest.lock().expect("no holder of this lock panics").clone();
        if let Some(course) = course.filter(|_| may_expect) {
            let has_taken = answer.as_ref().is_ok_and(|answer| answer.head.status < 300) && course.is_done();
            client.pool.learn(&origin, |traits| {
                traits.ignores_expect |= course.was_forced_open();
                traits.takes_bodies |= has_taken;
            });
        }
        answer
    }

    fn ask(
        &self,
        url: &Url,
        version: Version,
        may_expect: bool,
    ) -> Result<(Ask, Option<Arc<Course>>), Failure> {
        // The HTTP/2 engine does not tell of interim responses.
        let expects = may_expect && version != Version::HTTP_2 && self.pieces.is_some();
        let course = self.pieces.map(|_| Course::new(self.length, expects));
        let body = match (self.pieces, &course) {
            (Some(pieces), Some(course)) => {
                Outgoing::streamed(pieces(Arc::clone(course)), Arc::clone(course))
            }
            _ => Outgoing::whole(Bytes::new()),
        };
        let mut ask = self.template.dress(url, &self.method, version, body)?;
        let has_content =
            self.pieces.is_some() || matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        let fields = ask.headers_mut();
        for (name, value) in &self.defaults {
            if !fields.contains_key(name) {
                fields.insert(name, value.clone());
            }
        }
        for (name, value) in &self.fields {
            fields.insert(name, value.clone());
        }
        if has_content {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(self.length));
        }
        if expects {
            fields.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        if let Some(interim) = &self.interim {
            ask.extensions_mut().insert(interim.clone());
        }
        if let Some(course) = &course {
            ask.extensions_mut().insert(Arc::clone(course));
        }
        Ok((ask, course))
    }

    /// 417: the server is not asked beforehand any more (RFC 9110 section 15.5.18).
    fn was_expectation_refused(
        &self,
        client: &Client,
        url: &Url,
        head: &Head,
        course: Option<&Course>,
    ) -> bool {
        let Some(origin) = Origin::of(url) else { return false };
        let has_asked = course.is_some() && self.length >= EXPECT_UNPROVED_BYTES_MIN;
        if head.status != 417 || !has_asked || client.pool.traits(&origin).ignores_expect {
            return false;
        }
        client.pool.learn(&origin, |traits| traits.ignores_expect = true);
        true
    }

    fn turn(&self, url: &Url, head: &Head, is_whole: bool) -> Result<Turn, Failure> {
        let Some(next) = redirect_target(url, head)? else { return Ok(Turn::Here) };
        let is_bare = matches!(self.method, Method::HEAD | Method::OPTIONS | Method::GET);
        match head.status {
            307 | 308 => Ok(Turn::Again(next)),
            301 | 302 if is_bare => Ok(Turn::Again(next)),
            303 if is_whole => Ok(Turn::See(next)),
            status => Err(Failure {
                http_status: Some(status),
                ..needs_input(
                    Cause::Redirect,
                    format!(
                        "{} answered {status} to an upload, which does not say whether it is to be sent to {}",
                        url.host_str().unwrap_or_default(),
                        shown(&next)
                    ),
                )
            }),
        }
    }
}
