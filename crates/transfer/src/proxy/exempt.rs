//! Which hosts are reached without the proxy: lists as in `no_proxy`, with ports.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

/// Hosts that no proxy is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exemptions(Vec<Exemption>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Exemption {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Network(IpNet),
    /// In lower case, without the dots around it: the name itself and all below it.
    Domain(String),
}

impl Exemptions {
    /// Entries are separated by commas or blanks: `*`, a name, an address, a network as `10.0.0.0/8`; each with `:PORT`
    /// behind it or without.
    pub(super) fn parse(list: &str) -> Self {
        Self(list.split([',', ' ', '\t']).filter_map(Exemption::parse).collect())
    }

    pub(super) fn contain(&self, host: &Host<String>, port: u16) -> bool {
        self.0.iter().any(|entry| entry.hosts.contain(host) && entry.port.is_none_or(|only| only == port))
    }
}

impl Exemption {
    fn parse(entry: &str) -> Option<Self> {
        if let Some(hosts) = Hosts::parse(entry) {
            return Some(Self { hosts, port: None });
        }
        let (host, port) = entry.rsplit_once(':')?;
        Some(Self { hosts: Hosts::parse(host)?, port: Some(port.parse().ok()?) })
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self::Network(address.into()));
        }
        if let Ok(network) = bare.parse::<IpNet>() {
            return Some(Self::Network(network));
        }
        let name = text.trim_matches('.').to_ascii_lowercase();
        (!name.is_empty() && !name.contains(':')).then_some(Self::Domain(name))
    }

    fn contain(&self, host: &Host<String>) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Network(network), Host::Ipv4(address)) => network.contains(&IpAddr::V4(*address)),
            (Self::Network(network), Host::Ipv6(address)) => network.contains(&IpAddr::V6(*address)),
            (Self::Domain(domain), Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Self::Network(_), Host::Domain(_)) | (Self::Domain(_), Host::Ipv4(_) | Host::Ipv6(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_match_as_curl_reads_them_and_by_port() {
        for (list, host, port, expected) in [
            ("", "a.example", 80, false),
            ("*", "a.example", 80, true),
            ("b.example, *", "10.0.0.1", 80, true),
            ("a.example", "a.example", 80, true),
            ("a.example", "www.a.example", 80, true),
            (".a.example", "a.example", 80, true),
            ("A.Example.", "x.a.example.", 80, true),
            ("a.example", "nota.example", 80, false),
            ("example", "a.example", 80, true),
            ("b.example a.example", "a.example", 80, true),
            ("a.example:8080", "a.example", 8080, true),
            ("a.example:8080", "a.example", 80, false),
            ("*:8080", "a.example", 8080, true),
            ("10.0.0.0/8", "10.255.1.2", 80, true),
            ("10.0.0.0/8", "11.0.0.1", 80, false),
            ("10.0.0.1", "10.0.0.1", 80, true),
            ("10.0.0.1:81", "10.0.0.1", 80, false),
            ("10.0.0.1", "x10.0.0.1.example", 80, false),
            ("::1", "[::1]", 80, true),
            ("[::1]:81", "[::1]", 81, true),
            ("[::1]:81", "[::1]", 80, false),
            ("fd00::/8", "[fd12::3]", 80, true),
            ("localhost,127.0.0.1", "localhost", 80, true),
            (",,:80,a:b:c", "a", 80, false),
        ] {
            let host_of = Host::parse(host).unwrap();
            assert_eq!(Exemptions::parse(list).contain(&host_of, port), expected, "{list:?} {host}:{port}");
        }
    }
}
