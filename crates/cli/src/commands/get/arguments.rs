//! The options of `get`.

use std::path::PathBuf;

use longhaul_contract::{
    Checksum, CompletionGroupId, CostPolicy, GroupName, IfExists, Priority, TaskId, Timestamp, WebErrorStatus,
};
use url::Url;

use crate::input::certificate::CertificateArguments;
use crate::input::netrc::NetrcArguments;
use crate::input::proxy::ProxyArguments;
use crate::input::time;
use crate::measure::{parse_bytes, parse_rate};

/// Download files
///
/// The service does the work and finishes it whatever happens to this terminal; this command follows it. Ctrl-C ends
/// the following and not the download. The exit code is 0 only when every file is complete and checked.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Addresses (http, https), or Metalink 4 documents: a file, or an address that ends in .meta4 or .metalink or
    /// answers with their media type
    #[arg(value_name = "URL", required_unless_present_any = ["input_file", "from_curl"])]
    pub(super) urls: Vec<String>,
    /// Read addresses from this file (- is standard input), one a line, options such as out=NAME behind tabs
    #[arg(short, long, value_name = "LIST")]
    pub(super) input_file: Option<PathBuf>,
    /// Do what this curl command does, such as browsers copy as cURL (bash). Others can read it here: give @FILE, or - for
    /// standard input, if there is a password or a cookie in it
    #[arg(long, value_name = "LINE", conflicts_with_all = ["urls", "input_file"])]
    pub(super) from_curl: Option<String>,

    /// Name of the file; the server or the address names it otherwise
    #[arg(short, long, value_name = "FILE", help_heading = "Where to")]
    pub(super) output: Option<PathBuf>,
    /// Folder of the file, made if need be; the current folder otherwise
    #[arg(short, long, value_name = "DIR", help_heading = "Where to")]
    pub(super) directory: Option<PathBuf>,
    /// Keep Metalink documents as they are; what they list is downloaded in their place otherwise
    #[arg(long, help_heading = "Where to")]
    pub(super) as_is: bool,
    /// What to do when the file exists; fail when absent
    #[arg(long, value_name = "WHAT", help_heading = "Where to")]
    pub(super) if_exists: Option<IfExistsWord>,

    /// Publish the file only if it has this hash: sha256:HEX (or sha512, blake3, md5, sha1)
    #[arg(long, value_name = "HASH", help_heading = "What is expected")]
    pub(super) checksum: Option<Checksum>,
    /// Accept only a file of this size
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "What is expected")]
    pub(super) size: Option<u64>,
    /// A further address of the same bytes (any number)
    #[arg(long, value_name = "URL", help_heading = "What is expected")]
    pub(super) mirror: Vec<String>,

    /// Send this header to the server (any number); @FILE reads them from a file
    #[arg(short = 'H', long, value_name = "HEADER", help_heading = "Request")]
    pub(super) header: Vec<String>,
    /// User name at the server; the password is asked for
    #[arg(short, long, value_name = "NAME", help_heading = "Request")]
    pub(super) user: Option<String>,
    /// Read the password from this file (- is standard input)
    #[arg(long, value_name = "FILE", requires = "user", help_heading = "Request")]
    pub(super) password_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) netrc: NetrcArguments,
    #[command(flatten)]
    pub(super) certificate: CertificateArguments,
    #[command(flatten)]
    pub(super) proxy: ProxyArguments,
    /// Connect by this interface of the machine, or from this address of it: eth0, 192.0.2.7
    #[arg(long, value_name = "INTERFACE", help_heading = "Request")]
    pub(super) interface: Option<String>,
    /// Wait for a new address or header on these failures instead of failing: 403, Timeout …
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = parse_web_error, help_heading = "Request")]
    pub(super) recoverable: Vec<WebErrorStatus>,
    /// Ask this task, by its id, when a new address, header or password is needed; the bytes are kept
    #[arg(long, value_name = "TASK", help_heading = "Request")]
    pub(super) ask_task: Option<TaskId>,
    /// Ask this http address on this machine instead
    #[arg(long, value_name = "URL", conflicts_with = "ask_task", help_heading = "Request")]
    pub(super) ask_webhook: Option<Url>,

    /// Place in the queue: high, default or low
    #[arg(long, value_name = "PRIORITY", default_value = "default", help_heading = "When and how fast")]
    pub(super) priority: Priority,
    /// Networks to use: default (not when roaming or near the data limit), unrestricted-only, always
    #[arg(long, value_name = "POLICY", default_value = "default", value_parser = parse_cost_policy, help_heading = "When and how fast")]
    pub(super) cost_policy: CostPolicy,
    /// Member of this group, see `longhaul group`
    #[arg(short, long, value_name = "NAME", help_heading = "When and how fast")]
    pub(super) group: Option<GroupName>,
    /// Member of this completion group, by its id; see `longhaul completion`
    #[arg(long, value_name = "ID", help_heading = "When and how fast")]
    pub(super) completion: Option<CompletionGroupId>,
    /// At most this many bytes per second: 500k, 2M
    #[arg(long, value_name = "RATE", value_parser = RateLimit::parse, help_heading = "When and how fast")]
    pub(super) limit_rate: Option<RateLimit>,
    /// Not before this time: 18:00, 2026-01-31T18:00, +2h30m
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "When and how fast")]
    pub(super) not_before: Option<Timestamp>,
    /// Let `cat` and players read any part of it while it arrives; needs a server that knows ranges
    #[arg(long, help_heading = "When and how fast")]
    pub(super) random_access: bool,

    /// A word to find it by later
    #[arg(short, long, value_name = "LABEL", help_heading = "Following")]
    pub(super) label: Option<String>,
    /// Show on the desktop how each download has ended
    #[arg(long, help_heading = "Following")]
    pub(super) notify: bool,
    /// Print the ids and do not follow
    #[arg(long, help_heading = "Following")]
    pub(super) detach: bool,
    /// Create without starting, print the ids; `longhaul start ID` starts
    #[arg(long, help_heading = "Following")]
    pub(super) hold: bool,
    /// Show nothing but errors
    #[arg(short, long, help_heading = "Following")]
    pub(super) quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum IfExistsWord {
    /// Fail
    Fail,
    /// Take the name "name (1).ext"
    Rename,
    /// Replace it, once the new one is complete
    Replace,
}

impl From<IfExistsWord> for IfExists {
    fn from(word: IfExistsWord) -> Self {
        match word {
            IfExistsWord::Fail => Self::Fail,
            IfExistsWord::Rename => Self::Rename,
            IfExistsWord::Replace => Self::Replace,
        }
    }
}

/// Bytes per second, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimit(pub(crate) Option<u64>);

impl RateLimit {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse_rate(text).map(Self)
    }
}

pub(crate) fn parse_cost_policy(text: &str) -> Result<CostPolicy, String> {
    text.replace('-', "").parse()
}

/// A WebErrorStatus by its word or its number.
pub(crate) fn parse_web_error(text: &str) -> Result<WebErrorStatus, String> {
    match text.parse() {
        Ok(number) => WebErrorStatus::from_number(number)
            .ok_or_else(|| format!("{number} is not the number of a WebErrorStatus")),
        Err(_) => text.parse(),
    }
}

pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    time::parse(text, &jiff::Zoned::now())
}
