//! An FTP server that does as a script says, right or wrong, and writes down what it was told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::content::Content;

/// How long a session waits for a client that has gone; only a test that fails meets it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How one control connection is answered.
#[derive(Debug, Clone)]
pub struct FtpScript {
    pub content: Content,
    /// What MDTM says, as `YYYYMMDDHHMMSS`.
    pub modified: Option<&'static str>,
    pub has_size: bool,
    pub has_restart: bool,
    /// Whether FEAT is known.
    pub has_features: bool,
    pub has_extended: bool,
    /// The address that PASV names.
    pub passive_host: [u8; 4],
    pub login: Option<(&'static str, &'static str)>,
    /// In place of the greeting.
    pub greeting: Vec<u8>,
    /// What is said to this command instead.
    pub instead: Option<(&'static str, &'static str)>,
    pub cut: Option<FtpCut>,
    /// What is said at the end of the file.
    pub farewell: &'static str,
    /// Bytes sent behind the length that SIZE tells.
    pub surplus: usize,
}

/// How a transfer goes wrong after so many bytes of the data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FtpCut {
    /// The data connection ends and this is said.
    Say(u64, &'static str),
    /// This is said and the data connection stays open.
    SayOnly(u64, &'static str),
    /// Nothing more happens.
    Stall(u64),
    /// Both connections end without a word.
    Vanish(u64),
}

impl FtpScript {
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self {
            content,
            modified: Some("20260105100000"),
            has_size: true,
            has_restart: true,
            has_features: true,
            has_extended: true,
            passive_host: [127, 0, 0, 1],
            login: None,
            greeting: b"220-Welcome\r\n220 ready\r\n".to_vec(),
            instead: None,
            cut: None,
            farewell: "226 Transfer complete.",
            surplus: 0,
        }
    }

    #[must_use]
    pub fn cut(self, cut: FtpCut) -> Self {
        Self { cut: Some(cut), ..self }
    }
}

/// A running server. Dropping it closes its port; sessions end with their clients.
pub struct ScriptedFtp {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_stopped: AtomicBool,
    sessions: Mutex<Vec<Vec<String>>>,
}

impl ScriptedFtp {
    /// The script is asked for each control connection, by its number.
    ///
    /// # Panics
    /// There is no port on loopback.
    #[must_use]
    pub fn start(script: impl Fn(usize) -> FtpScript + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for (number, stream) in listener.incoming().enumerate() {
                    let Ok(stream) = stream else { return };
                    if shared.is_stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    shared.sessions.lock().expect("no session panics with it").push(Vec::new());
                    let session = Session { script: script(number), number, shared: Arc::clone(&shared) };
                    // A client that goes away is how most sessions end.
                    std::thread::spawn(move || drop(session.run(stream)));
                }
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("ftp://{}{path}", self.address)
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The commands of each control connection.
    ///
    /// # Panics
    /// A session has panicked.
    #[must_use]
    pub fn sessions(&self) -> Vec<Vec<String>> {
        self.shared.sessions.lock().expect("no session panics with it").clone()
    }
}

impl Drop for ScriptedFtp {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

struct Session {
    script: FtpScript,
    number: usize,
    shared: Arc<Shared>,
}

/// Stands for the end of a session.
struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Session {
    fn run(&self, mut control: TcpStream) -> Result<(), Over> {
        control.set_read_timeout(Some(PATIENCE))?;
        control.write_all(&self.script.greeting)?;
        let mut lines = BufReader::new(control.try_clone()?);
        let mut passive = None;
        let mut start = 0;
        let mut user = String::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            self.shared.sessions.lock().map_err(|_| Over)?[self.number].push(line.clone());
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            if let Some((instead, reply)) = self.script.instead
                && instead == verb
            {
                say(&mut control, reply)?;
                continue;
            }
            let reply = match verb {
                "USER" => {
                    argument.clone_into(&mut user);
                    "331 Password, please".to_owned()
                }
                "PASS" if self.script.login.is_none_or(|login| login == (user.as_str(), argument)) => {
                    "230 Logged in".to_owned()
                }
                "PASS" => format!("530 Not {user} with {argument}"),
                "FEAT" if self.script.has_features => self.features(),
                "TYPE" => "200 Binary".to_owned(),
                "SIZE" if self.script.has_size => format!("213 {}", self.script.content.length),
                "MDTM" if self.script.modified.is_some() => {
                    format!("213 {}", self.script.modified.unwrap_or_default())
                }
                "REST" if self.script.has_restart => {
                    start = argument.parse().map_err(|_| Over)?;
                    format!("350 Restarting at {start}")
                }
                "EPSV" if self.script.has_extended => {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                    let port = listener.local_addr()?.port();
                    passive = Some(listener);
                    format!("229 Entering Extended Passive Mode (|||{port}|)")
                }
                "PASV" => {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                    let [high, low] = listener.local_addr()?.port().to_be_bytes();
                    passive = Some(listener);
                    let [a, b, c, d] = self.script.passive_host;
                    format!("227 Entering Passive Mode ({a},{b},{c},{d},{high},{low}).")
                }
                "RETR" => {
                    let (data, _) = passive.take().ok_or(Over)?.accept()?;
                    self.send(&mut control, data, std::mem::take(&mut start))?;
                    continue;
                }
                "QUIT" => "221 Bye".to_owned(),
                _ => "502 Not implemented".to_owned(),
            };
            say(&mut control, &reply)?;
        }
    }

    fn features(&self) -> String {
        let restart = if self.script.has_restart { "\r\n REST STREAM" } else { "" };
        format!("211-Features:\r\n SIZE{restart}\r\n MDTM\r\n211 End")
    }

    fn send(&self, control: &mut TcpStream, mut data: TcpStream, start: u64) -> Result<(), Over> {
        say(control, "150 Here it comes")?;
        let rest = self.script.content.bytes(start, u64::MAX);
        let send = |data: &mut TcpStream, count: u64| {
            let count = usize::try_from(count).map_err(|_| Over)?.min(rest.len());
            data.write_all(&rest[..count]).map_err(Over::from)
        };
        match self.script.cut {
            None => {
                data.write_all(&rest)?;
                data.write_all(&vec![0; self.script.surplus])?;
                drop(data);
                say(control, self.script.farewell)
            }
            Some(FtpCut::Say(count, reply)) => {
                send(&mut data, count)?;
                drop(data);
                say(control, reply)
            }
            Some(FtpCut::SayOnly(count, reply)) => {
                send(&mut data, count)?;
                say(control, reply)?;
                await_end(control)
            }
            Some(FtpCut::Stall(count)) => {
                send(&mut data, count)?;
                await_end(control)
            }
            Some(FtpCut::Vanish(count)) => {
                send(&mut data, count)?;
                Err(Over)
            }
        }
    }
}

/// In one piece, so that nothing waits for the rest.
fn say(control: &mut TcpStream, reply: &str) -> Result<(), Over> {
    Ok(control.write_all(format!("{reply}\r\n").as_bytes())?)
}

/// Keeps everything open until the client goes.
fn await_end(control: &mut TcpStream) -> Result<(), Over> {
    let mut byte = [0];
    while control.read(&mut byte)? > 0 {}
    Err(Over)
}
