//! WebErrorStatus: how a transfer failed, in the numbers of Windows.Web.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! web_errors {
    ($($variant:ident = $number:literal),+ $(,)?) => {
        /// How a transfer failed (Windows.Web.WebErrorStatus): 0 to 23, or the HTTP status itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
        #[repr(u16)]
        pub enum WebErrorStatus { $($variant = $number),+ }

        impl WebErrorStatus {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }
    };
}

web_errors! {
    Unknown = 0, CertificateCommonNameIsIncorrect = 1, CertificateExpired = 2, CertificateContainsErrors = 3,
    CertificateRevoked = 4, CertificateIsInvalid = 5, ServerUnreachable = 6, Timeout = 7,
    ErrorHttpInvalidServerResponse = 8, ConnectionAborted = 9, ConnectionReset = 10, Disconnected = 11,
    HttpToHttpsOnRedirection = 12, HttpsToHttpOnRedirection = 13, CannotConnect = 14, HostNameNotResolved = 15,
    OperationCanceled = 16, RedirectFailed = 17, UnexpectedStatusCode = 18, UnexpectedRedirection = 19,
    UnexpectedClientError = 20, UnexpectedServerError = 21, InsufficientRangeSupport = 22,
    MissingContentLengthSupport = 23,
    MultipleChoices = 300, MovedPermanently = 301, Found = 302, SeeOther = 303, NotModified = 304, UseProxy = 305,
    TemporaryRedirect = 307, BadRequest = 400, Unauthorized = 401, PaymentRequired = 402, Forbidden = 403,
    NotFound = 404, MethodNotAllowed = 405, NotAcceptable = 406, ProxyAuthenticationRequired = 407,
    RequestTimeout = 408, Conflict = 409, Gone = 410, LengthRequired = 411, PreconditionFailed = 412,
    RequestEntityTooLarge = 413, RequestUriTooLong = 414, UnsupportedMediaType = 415,
    RequestedRangeNotSatisfiable = 416, ExpectationFailed = 417, InternalServerError = 500, NotImplemented = 501,
    BadGateway = 502, ServiceUnavailable = 503, GatewayTimeout = 504, HttpVersionNotSupported = 505,
}

impl WebErrorStatus {
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.number() == number)
    }

    /// The entry for an HTTP status: its own where it has one, else by its class.
    #[must_use]
    pub fn from_http(status: u16) -> Self {
        match status {
            300.. if Self::from_number(status).is_some() => {
                Self::from_number(status).unwrap_or(Self::Unknown)
            }
            300..=399 => Self::UnexpectedRedirection,
            400..=499 => Self::UnexpectedClientError,
            500..=599 => Self::UnexpectedServerError,
            _ => Self::UnexpectedStatusCode,
        }
    }
}

impl std::fmt::Display for WebErrorStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for WebErrorStatus {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.word().eq_ignore_ascii_case(word))
            .ok_or_else(|| format!("{word:?} is not a WebErrorStatus word such as Forbidden or Timeout"))
    }
}

impl Serialize for WebErrorStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for WebErrorStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses_map_to_their_entry_or_their_class() {
        for (http, expected) in [
            (403, WebErrorStatus::Forbidden),
            (418, WebErrorStatus::UnexpectedClientError),
            (429, WebErrorStatus::UnexpectedClientError),
            (507, WebErrorStatus::UnexpectedServerError),
            (204, WebErrorStatus::UnexpectedStatusCode),
            (308, WebErrorStatus::UnexpectedRedirection),
            (9, WebErrorStatus::UnexpectedStatusCode),
        ] {
            assert_eq!(WebErrorStatus::from_http(http), expected, "{http}");
        }
    }
}
