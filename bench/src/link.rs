//! A long link between two network namespaces that carries packets with a delay and a rate, and loses some.
//!
//! Each namespace has a TUN device; packets read from one are written to the other. This stands in for netem, which
//! not every kernel has. Packets from the server are lost at random and queued up to one bandwidth-delay product;
//! those to the server are only delayed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use longhaul_lab::process::program;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;

use crate::bench::LinkOptions;

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const PACKET_MAX: usize = 2048;

/// Puts the calling thread, and what it starts, into a network namespace of its own with one end of a link.
pub(crate) fn enter_namespace(address: Ipv4Addr, congestion: &str) -> Result<File> {
    // SAFETY: only the network namespace changes, and no code of this program keeps assumptions about it.
    #[expect(
        unsafe_code,
        reason = "leaving the namespace concerns this thread alone, which has no safe form"
    )]
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .context("a network namespace needs root")?;
    let device = open_device()?;
    let ip = |arguments: &[&str]| -> Result<()> {
        let status = Command::new(program("ip", "iproute2")).args(arguments).status()?;
        if !status.success() {
            bail!("ip {} ended with {status}", arguments.join(" "));
        }
        Ok(())
    };
    ip(&["address", "add", &format!("{address}/32"), "dev", "link0"])?;
    ip(&["link", "set", "link0", "up"])?;
    ip(&["link", "set", "lo", "up"])?;
    ip(&["route", "add", "default", "dev", "link0", "congctl", congestion])?;
    Ok(device)
}

#[expect(unsafe_code, reason = "a TUN device is made by an ioctl that has no safe form")]
fn open_device() -> Result<File> {
    let device = File::options().read(true).write(true).open("/dev/net/tun").context("/dev/net/tun")?;
    // SAFETY: all zeros is a valid ifreq; the ioctl reads and writes only within it.
    let made = unsafe {
        let mut request = std::mem::zeroed::<libc::ifreq>();
        for (to, from) in request.ifr_name.iter_mut().zip(b"link0") {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI)?;
        libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request)
    };
    if made < 0 {
        return Err(std::io::Error::last_os_error()).context("a TUN device needs root");
    }
    Ok(device)
}

/// Carries packets between both ends until `is_over`.
pub(crate) fn carry(client: &File, server: &File, options: &LinkOptions, is_over: &AtomicBool) {
    let delay = Duration::from_secs_f64(options.round_trip_seconds / 2.0);
    let queue_max = Duration::from_secs_f64(options.round_trip_seconds);
    let down = Direction {
        bits_per_second: options.bits_per_second,
        loss: options.loss,
        delay,
        queue_max,
        way: Way::default(),
    };
    let up = Direction { bits_per_second: f64::INFINITY, loss: 0.0, delay, queue_max, way: Way::default() };
    std::thread::scope(|scope| {
        for (direction, from, to) in [(&down, server, client), (&up, client, server)] {
            scope.spawn(move || direction.take(from, is_over));
            scope.spawn(move || direction.deliver(to, is_over));
        }
    });
}

struct Direction {
    bits_per_second: f64,
    loss: f64,
    delay: Duration,
    /// How long a packet may have to wait for the line before it is dropped.
    queue_max: Duration,
    way: Way,
}

/// Packets under way, in the order in which they come out.
#[derive(Default)]
struct Way {
    packets: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    changed: Condvar,
}

impl Direction {
    fn take(&self, mut from: &File, is_over: &AtomicBool) {
        let mut random = SmallRng::seed_from_u64(1);
        let mut buffer = vec![0; PACKET_MAX];
        let mut free_at = Instant::now();
        let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        while !is_over.load(Ordering::Relaxed) {
            let is_ready = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&patience));
            if !is_ready.is_ok_and(|ready| ready > 0) {
                continue;
            }
            let Ok(count) = from.read(&mut buffer) else { return };
            let now = Instant::now();
            let is_lost = self.loss > 0.0 && random.random_bool(self.loss);
            if is_lost || free_at.saturating_duration_since(now) > self.queue_max {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "a packet's length is small")]
            let takes = Duration::from_secs_f64(count as f64 * 8.0 / self.bits_per_second);
            free_at = free_at.max(now) + takes;
            let mut packets = self.way.packets.lock().expect("nothing panics while it holds the packets");
            packets.push_back((free_at + self.delay, buffer[..count].to_vec()));
            drop(packets);
            self.way.changed.notify_one();
        }
    }

    fn deliver(&self, mut to: &File, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            let mut packets = self.way.packets.lock().expect("nothing panics while it holds the packets");
            let now = Instant::now();
            match packets.front() {
                Some((due, _)) if *due <= now => {
                    let packet = packets.pop_front().map(|(_, packet)| packet).unwrap_or_default();
                    drop(packets);
                    // A full device drops the packet, as a link would.
                    let _ = to.write(&packet);
                }
                Some((due, _)) => {
                    let wait = *due - now;
                    drop(packets);
                    std::thread::sleep(wait);
                }
                None => {
                    let _ = self.way.changed.wait_timeout(packets, Duration::from_millis(100));
                }
            }
        }
    }
}
