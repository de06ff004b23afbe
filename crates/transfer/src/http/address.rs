//! From a host to a connected socket: name service, public addresses only where asked, Happy Eyeballs (RFC 8305).

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use longhaul_contract::{Blocker, Cause, Failure};
use tokio::net::TcpStream;
use url::Host;

use super::failure::{blocked, needs_input, of_socket, transient};
use super::origin::Origin;
use crate::interface::{self, Interface};

/// RFC 8305 section 5: how long one address has before the next is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Which addresses may be connected to, and where from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reach {
    pub(crate) is_public_only: bool,
    /// `None`: as the routes of the machine have it.
    pub(crate) from: Option<Interface>,
}

impl Reach {
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        !self.is_public_only || is_public(address)
    }
}

/// Connects to the first of the origin's addresses that answers.
///
/// # Errors
/// No address, only forbidden ones, or none that answers.
pub(crate) async fn connect(origin: &Origin, reach: Reach) -> Result<TcpStream, Failure> {
    let mut addresses = allowed(origin, reach).await?;
    let Some(from) = reach.from else {
        return race(addresses, None)
            .await
            .map_err(|error| of_socket(&error, &format!("connecting to {origin}")));
    };
    addresses.retain(|address| from.reaches(*address));
    if addresses.is_empty() {
        let detail = format!("{origin} has no address of the kind of {from}, where connections are to begin");
        return Err(needs_input(Cause::CannotConnect, detail));
    }
    race(addresses, Some(from)).await.map_err(|error| not_from(&error, origin, from))
}

fn not_from(error: &io::Error, origin: &Origin, from: Interface) -> Failure {
    match error.raw_os_error() {
        Some(libc::ENODEV) => blocked(
            Blocker::Network,
            Cause::NoNetwork,
            format!("there is no interface {from} to reach {origin} by"),
        ),
        Some(libc::EADDRNOTAVAIL) => blocked(
            Blocker::Network,
            Cause::NoNetwork,
            format!("this machine does not have the address {from} to reach {origin} from"),
        ),
        Some(libc::EPERM) => needs_input(
            Cause::CannotConnect,
            format!("this kernel lets only root choose the interface {from} by its name: give its address"),
        ),
        _ => of_socket(error, &format!("connecting to {origin} by {from}")),
    }
}

/// The addresses of the origin that may be connected to, in the order in which to try them.
///
/// # Errors
/// There is none, or only forbidden ones.
pub(crate) async fn allowed(origin: &Origin, reach: Reach) -> Result<VecDeque<SocketAddr>, Failure> {
    let addresses = resolve(origin).await?;
    let allowed: Vec<SocketAddr> =
        addresses.iter().copied().filter(|address| reach.allows(address.ip())).collect();
    if allowed.is_empty() {
        return Err(needs_input(
            Cause::AddressForbidden,
            format!("{origin} is not at a public address, and this application may use only those"),
        ));
    }
    Ok(interleaved(&allowed))
}

async fn resolve(origin: &Origin) -> Result<Vec<SocketAddr>, Failure> {
    let name = match &origin.host {
        Host::Ipv4(address) => return Ok(vec![SocketAddr::new((*address).into(), origin.port)]),
        Host::Ipv6(address) => return Ok(vec![SocketAddr::new((*address).into(), origin.port)]),
        Host::Domain(name) => name.clone(),
    };
    let looked_up = name.clone();
    let found = tokio::task::spawn_blocking(move || look_up(&looked_up))
        .await
        .map_err(|_| transient(Cause::NameNotResolved, format!("the look-up of {name} was broken off")))?;
    match found {
        Ok(addresses) if addresses.is_empty() => {
            Err(transient(Cause::NameNotResolved, format!("the name {name} has no address")))
        }
        Ok(addresses) => {
            Ok(addresses.into_iter().map(|address| SocketAddr::new(address, origin.port)).collect())
        }
        Err(LookUpError::NoSuchName) => {
            Err(transient(Cause::NameNotResolved, format!("the name {name} does not exist")))
        }
        // The name may be right and the server well: this is the network's fault, and no attempt is spent on it.
        Err(LookUpError::Away(problem)) => Err(blocked(
            Blocker::Network,
            Cause::NameNotResolved,
            format!("the name {name} cannot be looked up: the name service does not answer ({problem})"),
        )),
        Err(LookUpError::Other(problem)) => Err(transient(
            Cause::NameNotResolved,
            format!("the name {name} cannot be looked up now: {problem}"),
        )),
    }
}

enum LookUpError {
    NoSuchName,
    /// No name server answers, or none of them can say.
    Away(String),
    Other(String),
}

/// getaddrinfo(3), so that nsswitch, multicast DNS and split name service of VPNs keep working. The standard
/// library's look-up hides the error number that tells a wrong name from a name service that is away.
fn look_up(name: &str) -> Result<Vec<IpAddr>, LookUpError> {
    let name = CString::new(name).map_err(|_| LookUpError::NoSuchName)?;
    let hints = libc::addrinfo {
        ai_flags: 0,
        ai_family: libc::AF_UNSPEC,
        ai_socktype: libc::SOCK_STREAM,
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: std::ptr::null_mut(),
        ai_canonname: std::ptr::null_mut(),
        ai_next: std::ptr::null_mut(),
    };
    let mut list: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: `name` is a C string, `hints` a valid structure, and `list` is written only on success.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), std::ptr::null(), &raw const hints, &raw mut list) };
    match code {
        0 => {}
        libc::EAI_NONAME | libc::EAI_NODATA => return Err(LookUpError::NoSuchName),
        libc::EAI_SYSTEM => return Err(LookUpError::Other(io::Error::last_os_error().to_string())),
        code => {
            // SAFETY: gai_strerror returns a static C string for every code.
            let text = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
            let text = text.to_string_lossy().into_owned();
            let is_away = code == libc::EAI_AGAIN;
            return Err(if is_away { LookUpError::Away(text) } else { LookUpError::Other(text) });
        }
    }
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list getaddrinfo made, which is freed only below.
        let node = unsafe { &*next };
        // SAFETY: `ai_addr` points to a socket address of the family that `ai_family` names.
        if let Some(address) = unsafe { address_of(node) }
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
        next = node.ai_next;
    }
    // SAFETY: `list` came from getaddrinfo and no reference into it is left.
    unsafe { libc::freeaddrinfo(list) };
    Ok(addresses)
}

/// # Safety
/// `node.ai_addr` must point to a socket address of the family in `node.ai_family`.
unsafe fn address_of(node: &libc::addrinfo) -> Option<IpAddr> {
    match node.ai_family {
        libc::AF_INET => {
            // SAFETY: promised by the caller.
            let address = unsafe { std::ptr::read_unaligned(node.ai_addr.cast::<libc::sockaddr_in>()) };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: promised by the caller.
            let address = unsafe { std::ptr::read_unaligned(node.ai_addr.cast::<libc::sockaddr_in6>()) };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

/// Alternates the address families, keeping the order of the name service within each and its first family first.
fn interleaved(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let is_first_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut preferred, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == is_first_v6);
    let mut order = VecDeque::with_capacity(addresses.len());
    while !preferred.is_empty() || !other.is_empty() {
        order.extend(preferred.pop_front());
        order.extend(other.pop_front());
    }
    order
}

async fn race(mut waiting: VecDeque<SocketAddr>, from: Option<Interface>) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.pop_front() {
            Some(address) => attempts.push(interface::connect(from, address)),
            None if attempts.is_empty() => return Err(last_error),
            None => {}
        }
        let ended = if waiting.is_empty() {
            attempts.next().await
        } else {
            match tokio::time::timeout(ATTEMPT_DELAY, attempts.next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            Some(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            // An address of a family this machine has no route for tells less than any other problem.
            Some(Err(error)) if error.kind() != io::ErrorKind::NetworkUnreachable => last_error = error,
            Some(Err(error)) if last_error.kind() == io::ErrorKind::AddrNotAvailable => last_error = error,
            Some(Err(_)) | None => {}
        }
    }
}

/// Whether an address belongs to the public Internet (IANA special-purpose registries).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match a {
        0 | 10 | 127 => true,
        100 => b & 0xc0 == 64,
        169 => b == 254,
        172 => b & 0xf0 == 16,
        192 => b == 168 || (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99),
        198 => b & 0xfe == 18 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => a >= 224,
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = embedded_v4(address) {
        return is_public_v4(inner);
    }
    let [first, second, ..] = address.segments();
    let is_global_unicast = first & 0xe000 == 0x2000;
    let is_documentation = (first == 0x2001 && second == 0xdb8) || first & 0xfff0 == 0x3ff0;
    let is_protocol_assignment = first == 0x2001 && second < 0x200;
    is_global_unicast && !is_documentation && !is_protocol_assignment
}

/// The IPv4 address that a mapped, NAT64 or 6to4 address leads to.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match parts {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_077_only_addresses_of_the_public_internet_are_public() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.9.9",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::1",
            "2001::1",
            "fec0::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn families_alternate_beginning_with_the_preferred_one() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(parse);
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(parse);
        assert_eq!(Vec::from(interleaved(&addresses)), expected);
    }

    #[tokio::test]
    async fn fault_055_a_dead_address_does_not_hold_up_a_live_one() {
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = {
            let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            closed.local_addr().unwrap()
        };
        let addresses = [dead, live.local_addr().unwrap()];
        let stream = race(interleaved(&addresses), None).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    }

    #[tokio::test]
    async fn fault_055_a_name_that_does_not_exist_is_told_as_such() {
        let url = url::Url::parse("http://no-such-name.invalid/").unwrap();
        let failure = connect(&Origin::of(&url).unwrap(), Reach::default()).await.unwrap_err();
        assert_eq!(failure.cause, Cause::NameNotResolved);
        assert_eq!(failure.web_error_status, longhaul_contract::WebErrorStatus::HostNameNotResolved);
    }
}
