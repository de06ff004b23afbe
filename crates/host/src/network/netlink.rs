//! The little of rtnetlink(7) that is needed here: questions about links, addresses and one route, and a socket
//! that tells when any of them changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

/// Links, addresses, routes and routing rules of both families.
const GROUPS: u32 = libc::RTMGRP_LINK.cast_unsigned()
    | libc::RTMGRP_IPV4_IFADDR.cast_unsigned()
    | libc::RTMGRP_IPV4_ROUTE.cast_unsigned()
    | libc::RTMGRP_IPV4_RULE.cast_unsigned()
    | libc::RTMGRP_IPV6_IFADDR.cast_unsigned()
    | libc::RTMGRP_IPV6_ROUTE.cast_unsigned()
    | 1 << (libc::RTNLGRP_IPV6_RULE - 1);

/// Room for one message of the kernel; the parts of a dump are at most 32 KiB.
const BUFFER: usize = 64 << 10;

/// A network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) is_loopback: bool,
    /// Switched on, and there is something at the other end.
    pub(super) is_running: bool,
}

/// What went over a network interface since it was made, by the kernel's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTraffic {
    pub index: u32,
    pub name: String,
    /// Sent and received together. The counters begin at 0 with the interface.
    pub bytes: u64,
}

/// An address of this machine, other than those that only the machine itself can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalAddress {
    pub(super) link: u32,
    pub(super) address: IpAddr,
    /// Only valid on its link (fe80::/10, 169.254.0.0/16).
    pub(super) is_link_local: bool,
}

/// The way out of the machine towards some address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) link: u32,
    pub(super) gateway: Option<IpAddr>,
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// A socket that becomes readable when something changes.
pub(super) fn subscribe() -> io::Result<OwnedFd> {
    open(GROUPS)
}

/// Takes what a socket of [`subscribe`] has queued and says whether there was anything. That messages were lost for
/// want of room (ENOBUFS) counts: what they said is read anew in any case.
pub(super) fn drain(changes: &OwnedFd) -> io::Result<bool> {
    let mut buffer = [0; 8 << 10];
    let mut has_any = false;
    loop {
        match recv(changes, &mut buffer, RecvFlags::TRUNC) {
            Ok(_) | Err(Errno::NOBUFS) => has_any = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(has_any),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A socket for questions. The kernel has each part of an answer ready when it is asked for, so this never blocks.
#[derive(Debug)]
pub(super) struct Questions {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Questions {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { socket: open(0)?, buffer: vec![0; BUFFER] })
    }

    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        self.ask(RTM_GETLINK, NLM_F_DUMP, &[0; 16], |kind, body| {
            if kind == RTM_NEWLINK {
                links.extend(parse_link(body));
            }
        })?;
        Ok(links)
    }

    pub(super) fn traffic(&mut self) -> io::Result<Vec<LinkTraffic>> {
        let mut links = Vec::new();
        self.ask(RTM_GETLINK, NLM_F_DUMP, &[0; 16], |kind, body| {
            if kind == RTM_NEWLINK {
                links.extend(parse_traffic(body));
            }
        })?;
        Ok(links)
    }

    pub(super) fn addresses(&mut self) -> io::Result<Vec<LocalAddress>> {
        let mut addresses = Vec::new();
        self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; 8], |kind, body| {
            if kind == RTM_NEWADDR {
                addresses.extend(parse_address(body));
            }
        })?;
        Ok(addresses)
    }

    /// How a packet to `destination` would leave. `None` when none could.
    pub(super) fn way_to(&mut self, destination: IpAddr) -> io::Result<Option<Way>> {
        let mut way = None;
        let asked = self.ask(RTM_GETROUTE, 0, &route_question(destination), |kind, body| {
            if kind == RTM_NEWROUTE {
                way = parse_route(body);
            }
        });
        match asked.map_err(|error| error.raw_os_error()) {
            Ok(()) => Ok(way),
            // Without a route, with a route that refuses, or without that family at all.
            Err(Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EACCES
                | libc::EINVAL
                | libc::EAFNOSUPPORT
                | libc::EOPNOTSUPP
                | libc::ENODEV,
            )) => Ok(None),
            Err(code) => Err(code.map_or_else(|| io::Error::other("netlink"), io::Error::from_raw_os_error)),
        }
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let length = HEADER + body.len();
        let mut message = Vec::with_capacity(length);
        message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        // Sequence and port, which the kernel fills in: one question is under way at a time.
        message.extend([0; 8]);
        message.extend(body);
        send(&self.socket, &message, SendFlags::empty())?;
        let is_dump = flags & NLM_F_DUMP != 0;
        loop {
            let (_, length) = match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            let part = self.buffer.get(..length).ok_or_else(|| io::Error::other("a message is too long"))?;
            for (kind, body) in Messages(part) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        return match i32_at(body, 0) {
                            Some(0) => Ok(()),
                            code => Err(io::Error::from_raw_os_error(-code.unwrap_or(-libc::EPROTO))),
                        };
                    }
                    kind => each(kind, body),
                }
            }
            if !is_dump {
                return Ok(());
            }
        }
    }
}

fn route_question(destination: IpAddr) -> Vec<u8> {
    let (family, octets) = match destination {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let family = u8::try_from(family).unwrap_or_default();
    let bits = u8::try_from(octets.len() * 8).unwrap_or_default();
    let mut question = vec![family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    question.extend(u16::try_from(4 + octets.len()).unwrap_or_default().to_ne_bytes());
    question.extend(libc::RTA_DST.to_ne_bytes());
    question.extend(octets);
    question
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    let has = |flag: libc::c_int| flags & flag.cast_unsigned() != 0;
    Some(Link {
        index,
        is_loopback: has(libc::IFF_LOOPBACK),
        is_running: has(libc::IFF_UP) && has(libc::IFF_RUNNING),
    })
}

/// `struct rtnl_link_stats64` begins with packets received and sent, then bytes received and sent.
fn parse_traffic(body: &[u8]) -> Option<LinkTraffic> {
    let index = u32_at(body, 4)?;
    let mut name = None;
    let mut bytes = None;
    for (kind, value) in Attributes(body.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => {
                name = std::str::from_utf8(value).ok().map(|name| name.trim_end_matches('\0').to_owned());
            }
            libc::IFLA_STATS64 => bytes = Some(u64_at(value, 16)?.saturating_add(u64_at(value, 24)?)),
            _ => {}
        }
    }
    Some(LinkTraffic { index, name: name?, bytes: bytes? })
}

fn parse_address(body: &[u8]) -> Option<LocalAddress> {
    let scope = *body.get(3)?;
    let link = u32_at(body, 4)?;
    let of = |kind| Attributes(body.get(8..)?).find(|(found, _)| *found == kind).map(|(_, value)| value);
    // On a point-to-point link IFA_ADDRESS is the other end.
    let address = of(libc::IFA_LOCAL).or_else(|| of(libc::IFA_ADDRESS)).and_then(parse_ip)?;
    let is_beyond_machine = scope < libc::RT_SCOPE_HOST && !address.is_loopback();
    is_beyond_machine.then_some(LocalAddress { link, address, is_link_local: scope == libc::RT_SCOPE_LINK })
}

fn parse_route(body: &[u8]) -> Option<Way> {
    if *body.get(7)? != libc::RTN_UNICAST {
        return None;
    }
    let mut link = None;
    let mut gateway = None;
    for (kind, value) in Attributes(body.get(12..)?) {
        match kind {
            libc::RTA_OIF => link = u32_at(value, 0),
            libc::RTA_GATEWAY => gateway = parse_ip(value),
            // An IPv4 route by way of an IPv6 router: a family, then the address (RFC 5549).
            libc::RTA_VIA => gateway = value.get(2..).and_then(parse_ip),
            _ => {}
        }
    }
    Some(Way { link: link?, gateway })
}

fn parse_ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    u32_at(bytes, at).map(u32::cast_signed)
}

/// The messages of one datagram: kind and body.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let kind = u16_at(self.0, 4)?;
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    }
}

/// The attributes behind a message: kind and value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)?;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_off_messages_end_the_list() {
        let mut bytes = Vec::new();
        bytes.extend(20_u32.to_ne_bytes());
        bytes.extend(NLMSG_DONE.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([1, 2, 3, 4]);
        let whole: Vec<_> = Messages(&bytes).collect();
        assert_eq!(whole, [(NLMSG_DONE, [1, 2, 3, 4].as_slice())]);
        for length in 0..bytes.len() {
            assert_eq!(Messages(&bytes[..length]).count(), 0, "{length}");
        }
        bytes[..4].fill(0);
        assert_eq!(Messages(&bytes).count(), 0, "a length of nothing must not loop");
    }

    #[test]
    fn the_machine_itself_answers() {
        let mut questions = Questions::open().unwrap();
        let links = questions.links().unwrap();
        assert!(links.iter().any(|link| link.is_loopback), "{links:?}");
        let traffic = questions.traffic().unwrap();
        assert!(traffic.iter().any(|link| link.name == "lo"), "{traffic:?}");
        assert_eq!(traffic.len(), links.len());
        assert!(questions.addresses().unwrap().iter().all(|address| !address.address.is_loopback()));
        assert_eq!(questions.way_to(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap(), None, "that is no way out");
    }
}
