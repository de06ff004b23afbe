//! curl's options, and what becomes of each.

use std::fmt;

use self::Meaning::{Accepted, Refused, Set};
use self::Setting as S;

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is so in any case, or is of no consequence for the file.
    Accepted,
    Set(Setting),
    /// With what to do instead.
    Refused(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Bearer,
    Clobber,
    ContinueAt,
    Cookie,
    CreateDirs,
    Digest,
    Globoff,
    Header,
    Interface,
    LimitRate,
    MaxRedirs,
    Netrc,
    NetrcFile,
    NoClobber,
    NoProxy,
    Output,
    OutputDir,
    Proto,
    ProtoDefault,
    Proxy,
    ProxyUser,
    Referer,
    RemoteHeaderName,
    RemoteName,
    RemoteNameAll,
    Request,
    Socks5,
    Socks5Hostname,
    Url,
    User,
    UserAgent,
}

pub(super) struct CurlOption {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) takes_value: bool,
    pub(super) meaning: Meaning,
}

impl CurlOption {
    pub(super) fn long(name: &str) -> Option<&'static Self> {
        let found = OPTIONS.iter().find(|option| option.long == name);
        found.or_else(|| {
            // What is of no consequence is of none when it is turned off.
            let positive = name.strip_prefix("no-")?;
            OPTIONS.iter().find(|option| {
                option.long == positive && !option.takes_value && matches!(option.meaning, Accepted)
            })
        })
    }

    /// What a word is that belongs to no option.
    pub(super) fn url() -> &'static Self {
        const URL: &CurlOption = &valued("url", None, Set(S::Url));
        URL
    }

    pub(super) fn short(letter: char) -> Option<&'static Self> {
        OPTIONS.iter().find(|option| option.short == Some(letter))
    }
}

/// As a person writes it.
impl fmt::Display for CurlOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.short {
            Some(letter) => write!(f, "-{letter} (--{})", self.long),
            None => write!(f, "--{}", self.long),
        }
    }
}

const fn flag(long: &'static str, short: Option<char>, meaning: Meaning) -> CurlOption {
    CurlOption { long, short, takes_value: false, meaning }
}

const fn valued(long: &'static str, short: Option<char>, meaning: Meaning) -> CurlOption {
    CurlOption { long, short, takes_value: true, meaning }
}

const BODY: Meaning = Refused("`longhaul put` sends files and forms; `get` only fetches, by GET.");
const TIMES: Meaning =
    Refused("The service waits as its configuration says, and goes on after a failure. Leave it out.");
const TRUST: Meaning =
    Refused("Start the service with --ca-certificate FILE, and it trusts what that authority signs.");
const CLIENT_CERTIFICATE: Meaning =
    Refused("Give the files to get itself, beside --from-curl: --cert FILE --key FILE.");
const WAY: Meaning = Refused("The way to the server is that of the machine, of --interface and of --proxy.");
const SCHEME: Meaning = Refused("Only Basic, Digest and headers with a token are supported.");
const SESSION: Meaning = Refused("The service keeps no cookies. Give those that are needed: -b NAME=VALUE.");
const TOLD: Meaning = Refused("`longhaul get --json` and `longhaul show` tell how it went. Leave it out.");
const TLS: Meaning = Refused("The service takes TLS 1.2 and 1.3. Leave it out.");
const ADDRESSES: Meaning =
    Refused("Both kinds of addresses are tried. Leave it out, or bind to an address with --interface.");

/// In the order of curl's manual, as far as a line for a download has them.
const OPTIONS: &[CurlOption] = &[
    flag("anyauth", None, Accepted),
    flag("append", Some('a'), Refused("`longhaul put` sends files.")),
    flag("basic", None, Accepted),
    valued("cacert", None, TRUST),
    valued("capath", None, TRUST),
    valued("cert", Some('E'), CLIENT_CERTIFICATE),
    valued("cert-type", None, CLIENT_CERTIFICATE),
    flag("clobber", None, Set(S::Clobber)),
    flag("compressed", None, Accepted),
    valued("config", Some('K'), Refused("Write the options of that file into the line.")),
    valued("connect-timeout", None, TIMES),
    valued("connect-to", None, WAY),
    valued("continue-at", Some('C'), Set(S::ContinueAt)),
    valued("cookie", Some('b'), Set(S::Cookie)),
    valued("cookie-jar", Some('c'), SESSION),
    flag("create-dirs", None, Set(S::CreateDirs)),
    valued("data", Some('d'), BODY),
    valued("data-ascii", None, BODY),
    valued("data-binary", None, BODY),
    valued("data-raw", None, BODY),
    valued("data-urlencode", None, BODY),
    flag("digest", None, Set(S::Digest)),
    flag("disable", Some('q'), Accepted),
    flag("disable-epsv", None, Accepted),
    valued("dns-servers", None, WAY),
    valued("doh-url", None, WAY),
    valued("dump-header", Some('D'), TOLD),
    valued(
        "etag-compare",
        None,
        Refused("A file that is there already is compared before it is gone on with."),
    ),
    valued("etag-save", None, TOLD),
    flag("fail", Some('f'), Accepted),
    flag("fail-early", None, Accepted),
    flag("fail-with-body", None, Accepted),
    valued("form", Some('F'), Refused("`longhaul put -F PART URL` sends forms.")),
    valued("form-string", None, Refused("`longhaul put -F PART URL` sends forms.")),
    flag("ftp-pasv", None, Accepted),
    valued("ftp-port", Some('P'), Refused("Data connections of FTP are passive. Leave it out.")),
    flag("ftp-skip-pasv-ip", None, Accepted),
    flag("get", Some('G'), Refused("Write the data behind the address: URL?NAME=VALUE.")),
    flag("globoff", Some('g'), Set(S::Globoff)),
    flag(
        "head",
        Some('I'),
        Refused("`get` fetches files. `longhaul show` tells the headers that came with one."),
    ),
    valued("header", Some('H'), Set(S::Header)),
    flag("http1.0", Some('0'), Accepted),
    flag("http1.1", None, Accepted),
    flag("http2", None, Accepted),
    flag("http3", None, Accepted),
    flag("include", Some('i'), TOLD),
    flag("insecure", Some('k'), TRUST),
    valued("interface", None, Set(S::Interface)),
    flag("ipv4", Some('4'), ADDRESSES),
    flag("ipv6", Some('6'), ADDRESSES),
    valued("json", None, BODY),
    flag("junk-session-cookies", Some('j'), SESSION),
    flag("keepalive", None, Accepted),
    valued("keepalive-time", None, Accepted),
    valued("key", None, CLIENT_CERTIFICATE),
    valued("key-type", None, CLIENT_CERTIFICATE),
    valued("limit-rate", None, Set(S::LimitRate)),
    flag("list-only", Some('l'), Refused("`get` fetches files and no lists of them.")),
    flag("location", Some('L'), Accepted),
    flag(
        "location-trusted",
        None,
        Refused(
            "Passwords and headers go to the server of the address only. Write -L and the address that is led to.",
        ),
    ),
    valued("max-filesize", None, Refused("`longhaul get --size BYTES` names the size that is expected.")),
    valued("max-redirs", None, Set(S::MaxRedirs)),
    valued("max-time", Some('m'), TIMES),
    flag("metalink", None, Refused("Give the document to `longhaul get` itself.")),
    flag("negotiate", None, SCHEME),
    flag("netrc", Some('n'), Set(S::Netrc)),
    valued("netrc-file", None, Set(S::NetrcFile)),
    flag("netrc-optional", None, Refused("Write -n if there is a netrc file, and leave it out otherwise.")),
    flag("next", Some(':'), Refused("Give each part to a `longhaul get --from-curl` of its own.")),
    flag("buffer", None, Accepted),
    flag("no-buffer", Some('N'), Accepted),
    flag("no-clobber", None, Set(S::NoClobber)),
    valued("noproxy", None, Set(S::NoProxy)),
    flag("ntlm", None, SCHEME),
    valued("oauth2-bearer", None, Set(S::Bearer)),
    valued("output", Some('o'), Set(S::Output)),
    valued("output-dir", None, Set(S::OutputDir)),
    flag("parallel", Some('Z'), Accepted),
    flag("parallel-immediate", None, Accepted),
    valued("parallel-max", None, Accepted),
    valued("pass", None, CLIENT_CERTIFICATE),
    flag("path-as-is", None, Refused("Dots in the path are taken as RFC 3986 says. Leave it out.")),
    valued("pinnedpubkey", None, TRUST),
    flag("post301", None, Accepted),
    flag("post302", None, Accepted),
    flag("post303", None, Accepted),
    valued("preproxy", None, Refused("There is one proxy at most: --proxy.")),
    flag("progress-bar", Some('#'), Accepted),
    flag("progress-meter", None, Accepted),
    valued("proto", None, Set(S::Proto)),
    valued("proto-default", None, Set(S::ProtoDefault)),
    valued("proto-redir", None, Set(S::Proto)),
    valued("proxy", Some('x'), Set(S::Proxy)),
    flag("proxy-anyauth", None, Accepted),
    flag("proxy-basic", None, Accepted),
    valued("proxy-cacert", None, TRUST),
    flag("proxy-digest", None, Accepted),
    valued("proxy-header", None, Refused("A proxy gets what the service tells it. Leave it out.")),
    flag("proxy-insecure", None, TRUST),
    flag("proxy-negotiate", None, SCHEME),
    flag("proxy-ntlm", None, SCHEME),
    valued("proxy-user", Some('U'), Set(S::ProxyUser)),
    flag(
        "proxytunnel",
        Some('p'),
        Refused("Plain http is forwarded by the proxy, and https goes through it. Leave it out."),
    ),
    valued("quote", Some('Q'), Refused("An FTP server is only asked for files.")),
    valued(
        "range",
        Some('r'),
        Refused("Whole files are fetched. `longhaul cat` reads a part of one while it arrives."),
    ),
    valued("referer", Some('e'), Set(S::Referer)),
    flag("remote-header-name", Some('J'), Set(S::RemoteHeaderName)),
    flag("remote-name", Some('O'), Set(S::RemoteName)),
    flag("remote-name-all", None, Set(S::RemoteNameAll)),
    flag("remote-time", Some('R'), Refused("A file has the time at which it came. Leave it out.")),
    flag("remove-on-error", None, Accepted),
    valued("request", Some('X'), Set(S::Request)),
    valued("request-target", None, Refused("The target is that of the address. Leave it out.")),
    valued("resolve", None, WAY),
    valued("retry", None, Accepted),
    flag("retry-all-errors", None, Accepted),
    flag("retry-connrefused", None, Accepted),
    valued("retry-delay", None, Accepted),
    valued("retry-max-time", None, Accepted),
    flag("sessionid", None, Accepted),
    flag("show-error", Some('S'), Accepted),
    flag("silent", Some('s'), Accepted),
    valued("socks4", None, Refused("SOCKS 5 is supported: --socks5 or --socks5-hostname.")),
    valued("socks4a", None, Refused("SOCKS 5 is supported: --socks5 or --socks5-hostname.")),
    valued("socks5", None, Set(S::Socks5)),
    flag("socks5-basic", None, Accepted),
    valued("socks5-hostname", None, Set(S::Socks5Hostname)),
    valued("speed-limit", Some('Y'), TIMES),
    valued("speed-time", Some('y'), TIMES),
    flag("ssl", None, Refused("Write the scheme ftpes for an FTP server with TLS.")),
    flag("ssl-reqd", None, Refused("Write the scheme ftpes for an FTP server with TLS.")),
    flag("styled-output", None, Accepted),
    flag("tcp-fastopen", None, Accepted),
    flag("tcp-nodelay", None, Accepted),
    valued("time-cond", Some('z'), Refused("The file is fetched whatever its date. Leave it out.")),
    valued("tls-max", None, TLS),
    flag("tlsv1", Some('1'), Accepted),
    flag("tlsv1.0", None, Accepted),
    flag("tlsv1.1", None, Accepted),
    flag("tlsv1.2", None, Accepted),
    flag("tlsv1.3", None, TLS),
    valued("unix-socket", None, WAY),
    valued("upload-file", Some('T'), Refused("`longhaul put FILE URL` sends files.")),
    flag("use-ascii", Some('B'), Refused("Files are fetched byte by byte as they are.")),
    valued("url", None, Set(S::Url)),
    valued("user", Some('u'), Set(S::User)),
    valued("user-agent", Some('A'), Set(S::UserAgent)),
    flag("verbose", Some('v'), Accepted),
    valued("write-out", Some('w'), TOLD),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_stands_once() {
        let long: BTreeSet<_> = OPTIONS.iter().map(|option| option.long).collect();
        let short: Vec<_> = OPTIONS.iter().filter_map(|option| option.short).collect();
        assert_eq!(long.len(), OPTIONS.len());
        assert_eq!(short.iter().collect::<BTreeSet<_>>().len(), short.len());
    }
}
