//! What the service and an instance's supervisor say to each other: frames of JSON after their length, over a socket
//! pair of the instance. Its end means that the other side is gone.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ended::{Outcome, Usage};
use crate::enforcement::Enforcement;
use crate::launch::{Grant, Leftovers, Limits, Network, ProcessView, Unenforceable};

/// Arguments and environment of a program are at most a quarter of the stack limit (execve(2)), commonly 2 MiB.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// Descriptors that go with a start, in this order; the cgroup's only where there is one.
pub(crate) const DESCRIPTORS: usize = 5;

/// The message to the launcher itself: which namespaces are wished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Spaces {
    pub(crate) processes: bool,
    pub(crate) network: bool,
}

impl Spaces {
    pub(crate) fn to_byte(self) -> u8 {
        u8::from(self.processes) | u8::from(self.network) << 1
    }

    pub(crate) fn from_byte(byte: u8) -> Self {
        Self { processes: byte & 1 != 0, network: byte & 2 != 0 }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Run(Box<Task>),
    /// SIGTERM now, SIGKILL after `grace`.
    Cancel {
        reason: String,
        grace: Duration,
    },
    Kill,
    /// From now on this becomes of descendants, in place of what the task said.
    Leftovers(Leftovers),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_directory: String,
    /// `None`: as the service itself.
    pub(crate) identity: Option<Identity>,
    /// What is still to be held by each process itself.
    pub(crate) limits: Limits,
    pub(crate) filesystem: Option<Vec<Grant>>,
    pub(crate) network: Network,
    pub(crate) processes: ProcessView,
    pub(crate) unenforceable: Unenforceable,
    pub(crate) leftovers: Leftovers,
    /// What became of the limits that a cgroup was to hold.
    pub(crate) enforcement: Enforcement,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Started { pid: u32, enforcement: Enforcement },
    Failed(Failure),
    Ended { outcome: Outcome, leftovers_killed: u32, survivors: u32, usage: Usage },
}

/// Why the program was not started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    /// Number of the system's error (errno(3)), 0 where there is none.
    pub(crate) error: i32,
    pub(crate) detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Fork,
    Descriptors,
    Identity,
    WorkingDirectory,
    Confinement,
    Unenforceable,
    Program,
}

/// What a forked child tells its supervisor before it becomes the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Descent {
    Confined(Enforcement),
    Failed(Failure),
}

pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the launch is larger than any program takes",
        ));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Bytes as they came, and whole messages out of them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
}

impl Inbox {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if it has come.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn next<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of impossible length"));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }
}

/// The launcher's side, where reading and writing may block.
pub(crate) fn send(mut socket: impl Write, message: &impl Serialize) -> io::Result<()> {
    socket.write_all(&encode(message)?)
}

/// Reads some more; `false` at the end.
pub(crate) fn receive(mut socket: impl Read, inbox: &mut Inbox) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match socket.read(&mut buffer) {
            Ok(count) => {
                inbox.push(&buffer[..count]);
                return Ok(count > 0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
