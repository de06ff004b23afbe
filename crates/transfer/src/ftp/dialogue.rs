//! What is said on the control connection to get at one file.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use longhaul_contract::{Cause, Failure, WebErrorStatus};
use tokio::net::TcpStream;

use super::control::{Control, plain};
use super::failure::{refused, unexpected};
use super::login::Login;
use super::passive;
use super::reply::Reply;
use crate::http::client::in_time;
use crate::http::failure::{needs_input, of_socket};
use crate::http::stream::Stream;
use crate::interface;

/// A data port that does not answer within this time is behind a wall: another way may lead around it.
const DATA_CONNECT_MAX: Duration = Duration::from_secs(20);
/// After a failed handshake for data the server may still say why.
const REASON_MAX: Duration = Duration::from_secs(2);
const SERVICE_ENDS: u16 = 421;

/// What a server says it can (RFC 2389).
#[derive(Debug, Default)]
pub(super) struct Features {
    has_restart: bool,
    has_utf8: bool,
}

/// What is known of a file before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: Option<u64>,
    /// As HTTP writes dates.
    pub(super) modified: Option<String>,
    /// Whether it can be had from another byte on than the first.
    pub(super) has_ranges: bool,
}

impl Control {
    /// Logs in and agrees on everything but the file.
    pub(super) async fn enter(&mut self, login: &Login, path: &[u8]) -> Result<Features, Failure> {
        login.check()?;
        self.log_in(login).await?;
        if self.tls().is_some() {
            self.optional("PBSZ", b"0").await?;
            let reply = self.optional("PROT", b"P").await?;
            if !reply.is_positive() {
                return Err(self.no_tls(&reply));
            }
        }
        let features = Features::of(&self.optional("FEAT", b"").await?);
        if features.has_utf8 && !path.is_ascii() {
            self.optional("OPTS", b"UTF8 ON").await?;
        }
        let reply = self.command("TYPE", b"I").await?;
        if !reply.is_positive() {
            return Err(refused(&reply, "the binary type", &self.host));
        }
        Ok(features)
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), Failure> {
        let mut reply = self.command("USER", login.user().as_bytes()).await?;
        if matches!(reply.code, 331 | 336) {
            reply = self.command("PASS", login.password().as_bytes()).await?;
        }
        if reply.is_positive() {
            return Ok(());
        }
        let mut failure = if matches!(reply.code, 332 | 532) {
            let detail =
                format!("{} wants an account beside user and password, which is not supported", self.host);
            Failure { web_error_status: WebErrorStatus::Unauthorized, ..needs_input(Cause::FtpReply, detail) }
        } else {
            refused(&reply, "the login", &self.host)
        };
        failure.detail = login.hide(&failure.detail);
        Err(failure)
    }

    /// A command that may be refused, unless that ends the service.
    async fn optional(&mut self, verb: &str, argument: &[u8]) -> Result<Reply, Failure> {
        let reply = self.command(verb, argument).await?;
        if reply.code == SERVICE_ENDS { Err(refused(&reply, verb, &self.host)) } else { Ok(reply) }
    }

    pub(super) async fn facts(&mut self, path: &[u8], features: &Features) -> Result<Facts, Failure> {
        let size = self.optional("SIZE", path).await?;
        let modified = self.optional("MDTM", path).await?;
        let has_ranges = features.has_restart || self.optional("REST", b"0").await?.code == 350;
        let value = |reply: &Reply| (reply.code == 213).then(|| reply.text().trim().to_owned());
        Ok(Facts {
            size: value(&size).and_then(|text| text.parse().ok()),
            modified: value(&modified).and_then(|text| date(&text)),
            has_ranges,
        })
    }

    /// Has the file sent from `start` on; what comes back is the data connection.
    pub(super) async fn retrieve(&mut self, path: &[u8], start: u64) -> Result<Stream, Failure> {
        let socket = self.data_connection().await?;
        if start > 0 {
            let reply = self.command("REST", start.to_string().as_bytes()).await?;
            if reply.code != 350 {
                return Err(refused(&reply, "to begin in the middle", &self.host));
            }
        }
        let doing = format!("the data connection to {}", self.host);
        let Some(tls) = self.tls() else {
            let reply = self.command("RETR", path).await?;
            self.check_begun(&reply)?;
            return plain(socket, &doing);
        };
        let (limit, host) = (self.connect_timeout, self.host.clone());
        let secured = {
            // Servers differ in whether the handshake comes before the reply or behind it.
            let mut handshake = pin!(in_time(limit, &host, tls.secure_data(socket, &doing)));
            let replied = self.command("RETR", path);
            let mut replied = pin!(replied);
            let (reply, secured) = tokio::select! {
                reply = &mut replied => (reply?, None),
                secured = &mut handshake => (replied.as_mut().await?, Some(secured)),
            };
            check_begun(&reply, &host)?;
            match secured {
                Some(secured) => secured,
                None => handshake.await,
            }
        };
        match secured {
            Ok(stream) => Ok(stream),
            Err(failure) => match tokio::time::timeout(REASON_MAX, self.reply()).await {
                Ok(Ok(reply)) if reply.is_refusal() => {
                    Err(refused(&reply, "the data connection", &self.host))
                }
                _ => Err(failure),
            },
        }
    }

    fn check_begun(&self, reply: &Reply) -> Result<(), Failure> {
        check_begun(reply, &self.host)
    }

    /// Asks where to connect to, in the newer way and, where that leads nowhere, in the older one.
    async fn data_connection(&mut self) -> Result<TcpStream, Failure> {
        let is_v4 = self.ends().0.ip().to_canonical().is_ipv4();
        let reply = self.optional("EPSV", b"").await?;
        let failure = match passive::extended_port(reply.text()).filter(|_| reply.code == 229) {
            Some(port) => match self.connect_data(port).await {
                Ok(socket) => return Ok(socket),
                Err(failure) => failure,
            },
            None if reply.is_refusal() => refused(&reply, "passive mode", &self.host),
            None => unexpected(&reply, "the wish for passive mode", &self.host),
        };
        if !is_v4 {
            return Err(failure);
        }
        let reply = self.optional("PASV", b"").await?;
        match passive::port(reply.text()).filter(|_| reply.code == 227) {
            Some(port) => self.connect_data(port).await,
            None if reply.is_refusal() => Err(refused(&reply, "passive mode", &self.host)),
            None => Err(unexpected(&reply, "the wish for passive mode", &self.host)),
        }
    }

    /// Only ever to where the control connection leads.
    async fn connect_data(&self, port: u16) -> Result<TcpStream, Failure> {
        let mut remote = self.ends().0;
        remote.set_port(port);
        let whom = format!("{} for the data", self.host);
        let connected = async {
            interface::connect(self.from, remote)
                .await
                .map_err(|error| of_socket(&error, &format!("connecting to {whom}")))
        };
        in_time(self.connect_timeout.min(DATA_CONNECT_MAX), &whom, connected).await
    }
}

fn check_begun(reply: &Reply, host: &str) -> Result<(), Failure> {
    if reply.is_preliminary() {
        Ok(())
    } else if reply.is_refusal() {
        Err(refused(reply, "the file", host))
    } else {
        Err(unexpected(reply, "the wish for the file", host))
    }
}

impl Features {
    fn of(reply: &Reply) -> Self {
        let mut features = Self::default();
        if reply.code == 211 {
            for line in &reply.lines {
                let line = line.trim().to_ascii_uppercase();
                features.has_restart |= line == "REST STREAM";
                features.has_utf8 |= line == "UTF8";
            }
        }
        features
    }
}

/// A time of RFC 3659 section 2.3, as HTTP writes it.
fn date(text: &str) -> Option<String> {
    let digits = text.split('.').next().filter(|digits| digits.len() == 14)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| digits[from..to].parse::<i8>().ok();
    let year: i16 = digits[..4].parse().ok().filter(|year| *year >= 1970)?;
    let (month, day) = (number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let instant = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(httpdate::fmt_http_date(SystemTime::from(instant)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(date("20260105100000").as_deref(), Some("Mon, 05 Jan 2026 10:00:00 GMT"));
        assert_eq!(date("20260105100000.123").as_deref(), Some("Mon, 05 Jan 2026 10:00:00 GMT"));
        for wrong in [
            "",
            "2026010510000",
            "191060105100000",
            "19690101000000",
            "20261305100000",
            "2026010510+000",
            "20260105100060",
        ] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn features_are_read_without_care_for_case() {
        let lines = ["Features:", " rest stream", " UTF8", " SIZE", "End"].map(str::to_owned).to_vec();
        let features = Features::of(&Reply { code: 211, lines: lines.clone() });
        assert!(features.has_restart && features.has_utf8);
        assert!(!Features::of(&Reply { code: 502, lines }).has_restart);
    }
}
