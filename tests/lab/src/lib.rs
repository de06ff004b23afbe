//! The test lab: a hostile server, real servers on free ports, broken disks, slow links, and the real service.
//!
//! Everything is blocking and owns its threads, so that a test on any runtime, or on none, can use it. Everything
//! listens on loopback port 0, writes into its own temporary folder and is gone when its guard is dropped.
//! Problems of the lab itself (a missing program, a port that never answers) panic with what to do about them:
//! a test never skips silently. Deliberately absent: assertions about Longhaul; those belong to the tests.

pub mod bluez;
pub mod bus;
pub mod content;
pub mod digest;
pub mod disk;
pub mod ftp;
pub mod ftp_servers;
pub mod geoclue;
pub mod hostile;
pub mod http_client;
pub mod names;
pub mod netns;
pub mod process;
pub mod proxies;
pub mod recorder;
pub mod relay;
pub mod resumable;
pub mod samples;
pub mod servers;
pub mod service;
pub mod tls;
pub mod tracer;
pub mod tus;
pub mod wait;

pub use bluez::Bluez;
pub use bus::Bus;
pub use content::Content;
pub use digest::DigestDesk;
pub use ftp::{FtpCut, FtpScript, ScriptedFtp};
pub use ftp_servers::{FtpKind, FtpMode, FtpServer};
pub use geoclue::{Geoclue, Receiver};
pub use hostile::{Exchange, Gate, Request, Resource, Response, Server};
pub use http_client::{Answer, Endpoint};
pub use proxies::{ProxyKind, RealProxy};
pub use recorder::{Entry, Recorder};
pub use service::{Service, ServiceOptions};
pub use tls::{Authority, Identity};
pub use wait::wait_until;
