//! What the kernel knows of the way to the peer of one TCP connection (tcp(7), TCP_INFO).

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Offsets and sizes of `struct tcp_info`, which the kernel only ever extends (include/uapi/linux/tcp.h).
const ROUND_TRIP_AT: usize = 68;
const RECEIVE_ROUND_TRIP_AT: usize = 92;
const LEAST_ROUND_TRIP_AT: usize = 148;
const OUT_OF_ORDER_AT: usize = 224;
/// A queue stands when what we receive takes this much longer than the way itself, and at least this long.
const QUEUE_PART: f64 = 0.25;
const QUEUE_MIN: Duration = Duration::from_millis(4);
/// Pauses of this part of that time are the sender's own.
const PAUSE_PART: f64 = 0.75;
const INFO_BYTES: usize = OUT_OF_ORDER_AT + 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    /// Smoothed, as this side has measured it; the handshake is the first measurement.
    pub(crate) round_trip: Duration,
    /// The shortest there was.
    least_round_trip: Duration,
    /// From our acknowledgements to what they set free; zero while the kernel has not measured it.
    receive_round_trip: Duration,
    /// Packets that came after one that was missing: zero on a path that has lost nothing so far.
    pub(crate) out_of_order: u32,
}

impl Path {
    /// `None` where the kernel is older than Linux 5.4.
    pub(crate) fn of(socket: &impl AsFd) -> Option<Self> {
        let mut info = [0_u8; INFO_BYTES];
        let mut length = libc::socklen_t::try_from(INFO_BYTES).expect("a few hundred bytes");
        // SAFETY: the kernel writes at most `length` bytes into `info` and the new length into `length`, both of which
        // outlive the call, as does the borrowed descriptor.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result != 0 || (length as usize) < INFO_BYTES {
            return None;
        }
        let number = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().expect("four bytes"));
        let time = |at| Duration::from_micros(number(at).into());
        Some(Self {
            round_trip: time(ROUND_TRIP_AT),
            least_round_trip: time(LEAST_ROUND_TRIP_AT),
            receive_round_trip: time(RECEIVE_ROUND_TRIP_AT),
            out_of_order: number(OUT_OF_ORDER_AT),
        })
    }

    /// What is sent to us waits in a queue: the line carries as much as it can, whoever shares it. `gap` is the longest
    /// time of late in which nothing came: a server that sends in bursts takes long to answer as well.
    pub(crate) fn is_queueing(self, gap: Duration) -> bool {
        let waits = self.receive_round_trip.saturating_sub(self.least_round_trip);
        waits > self.least_round_trip.mul_f64(QUEUE_PART).max(QUEUE_MIN) && gap < waits.mul_f64(PAUSE_PART)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_on_this_machine_is_short_and_loses_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(&[7; 1000]).unwrap();
        near.read_exact(&mut [0; 1000]).unwrap();
        let path = Path::of(&near).unwrap();
        assert_eq!(path.out_of_order, 0);
        assert!(path.round_trip > Duration::ZERO && path.round_trip < Duration::from_secs(1), "{path:?}");
    }

    #[test]
    fn a_queue_is_what_takes_longer_than_the_way_and_never_pauses() {
        let millis = Duration::from_millis;
        for (least, receiving, gap, expected) in [
            (40, 0, 1, false),
            (40, 50, 1, false),
            (40, 51, 1, true),
            (40, 51, 9, false),
            (40, 80, 29, true),
            (40, 80, 30, false),
            (0, 4, 0, false),
            (0, 5, 0, true),
            (0, 200, 200, false),
        ] {
            let path = Path {
                round_trip: millis(least),
                least_round_trip: millis(least),
                receive_round_trip: millis(receiving),
                out_of_order: 0,
            };
            assert_eq!(path.is_queueing(millis(gap)), expected, "{path:?} {gap}");
        }
    }

    #[test]
    fn what_is_no_connection_has_no_path() {
        assert_eq!(Path::of(&std::fs::File::open("/dev/null").unwrap()), None);
    }
}
