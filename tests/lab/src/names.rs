//! A name server that knows one name, for machines whose name service is to go away (RFC 1035).

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const HEADER_BYTES: usize = 12;
const RESPONSE: u16 = 0x8180;
const NO_SUCH_NAME: u16 = 3;
const TYPE_A: [u8; 2] = [0, 1];

/// Answers until it is dropped; from then on its port is closed.
#[derive(Debug)]
pub struct NameServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Says at port 53 of `at` that `name` has `address`, and that there is no other name.
    ///
    /// # Panics
    /// The port cannot be had.
    #[must_use]
    pub fn start(at: Ipv4Addr, name: &str, address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((at, 53)).expect("the port of names is free");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time that is not zero");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (stop, name) = (Arc::clone(&stop), name.to_owned());
            move || {
                let mut query = [0; 512];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, asker)) = socket.recv_from(&mut query) else { continue };
                    if let Some(answer) = answer(&query[..length], &name, address) {
                        // Who has gone does not miss it.
                        let _ = socket.send_to(&answer, asker);
                    }
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `None` for what is no query.
fn answer(query: &[u8], name: &str, address: Ipv4Addr) -> Option<Vec<u8>> {
    let (asked, end) = question(query)?;
    let is_known = asked.eq_ignore_ascii_case(name);
    let is_address = query.get(end - 4..end - 2)? == TYPE_A;
    let flags = if is_known { RESPONSE } else { RESPONSE | NO_SUCH_NAME };
    let count = u16::from(is_known && is_address);
    let mut answer = query[..2].to_vec();
    for word in [flags, 1, count, 0, 0] {
        answer.extend(word.to_be_bytes());
    }
    answer.extend(&query[HEADER_BYTES..end]);
    if count == 1 {
        // The name of the question, type A, class IN, a lifetime of 0 s, and four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The first question's name, and where the question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    let end = at + 4;
    (query.len() >= end).then(|| (labels.join("."), end))
}
