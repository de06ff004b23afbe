//! `longhaul get`.

use std::path::PathBuf;

use longhaul_client::Client;
use longhaul_contract::{
    Checksum, CompletionGroupId, CostPolicy, CreateDownload, Credential, Expectation, GroupName, IfExists,
    InputCallback, Notification, Operation, OperationId, Priority, RequestHeader, Secret, TaskId, Timestamp,
    TransferStatus, WebErrorStatus,
};
use serde::Serialize;
use url::Url;

use crate::commands::follow::kinds_without_snapshot;
use crate::connect::Context;
use crate::console::STRONG;
use crate::exit::Exit;
use crate::following::picture::{Picture, State};
use crate::following::{Ending, Following, Showing};
use crate::input::netrc::{Netrc, NetrcArguments};
use crate::input::password::Of;
use crate::input::proxy::{ProxyArguments, Proxying};
use crate::input::source::{Source, parse_url, result_file};
use crate::input::{headers, linked, list, metalink, password, time};
use crate::measure::{parse_bytes, parse_rate};
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{creation, describe};

/// Download files
///
/// The service does the work and finishes it whatever happens to this terminal; this command follows it. Ctrl-C ends
/// the following and not the download. The exit code is 0 only when every file is complete and checked.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Addresses (http, https), or Metalink 4 documents: a file, or an address that ends in .meta4 or .metalink or
    /// answers with their media type
    #[arg(value_name = "URL", required_unless_present = "input_file")]
    urls: Vec<String>,
    /// Read addresses from this file (- is standard input), one a line, options such as out=NAME behind tabs
    #[arg(short, long, value_name = "LIST")]
    input_file: Option<PathBuf>,

    /// Name of the file; the server or the address names it otherwise
    #[arg(short, long, value_name = "FILE", help_heading = "Where to")]
    output: Option<PathBuf>,
    /// Folder of the file, made if need be; the current folder otherwise
    #[arg(short, long, value_name = "DIR", help_heading = "Where to")]
    directory: Option<PathBuf>,
    /// Keep Metalink documents as they are; what they list is downloaded in their place otherwise
    #[arg(long, help_heading = "Where to")]
    as_is: bool,
    /// What to do when the file exists
    #[arg(long, value_name = "WHAT", default_value = "fail", help_heading = "Where to")]
    if_exists: IfExistsWord,

    /// Publish the file only if it has this hash: sha256:HEX (or sha512, blake3, md5, sha1)
    #[arg(long, value_name = "HASH", help_heading = "What is expected")]
    checksum: Option<Checksum>,
    /// Accept only a file of this size
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "What is expected")]
    size: Option<u64>,
    /// A further address of the same bytes (any number)
    #[arg(long, value_name = "URL", help_heading = "What is expected")]
    mirror: Vec<String>,

    /// Send this header to the server (any number); @FILE reads them from a file
    #[arg(short = 'H', long, value_name = "HEADER", help_heading = "Request")]
    header: Vec<String>,
    /// User name at the server; the password is asked for
    #[arg(short, long, value_name = "NAME", help_heading = "Request")]
    user: Option<String>,
    /// Read the password from this file (- is standard input)
    #[arg(long, value_name = "FILE", requires = "user", help_heading = "Request")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    netrc: NetrcArguments,
    #[command(flatten)]
    proxy: ProxyArguments,
    /// Connect by this interface of the machine, or from this address of it: eth0, 192.0.2.7
    #[arg(long, value_name = "INTERFACE", help_heading = "Request")]
    interface: Option<String>,
    /// Wait for a new address or header on these failures instead of failing: 403, Timeout …
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = parse_web_error, help_heading = "Request")]
    recoverable: Vec<WebErrorStatus>,
    /// Ask this task, by its id, when a new address, header or password is needed; the bytes are kept
    #[arg(long, value_name = "TASK", help_heading = "Request")]
    ask_task: Option<TaskId>,
    /// Ask this http address on this machine instead
    #[arg(long, value_name = "URL", conflicts_with = "ask_task", help_heading = "Request")]
    ask_webhook: Option<Url>,

    /// Place in the queue: high, default or low
    #[arg(long, value_name = "PRIORITY", default_value = "default", help_heading = "When and how fast")]
    priority: Priority,
    /// Networks to use: default (not when roaming or near the data limit), unrestricted-only, always
    #[arg(long, value_name = "POLICY", default_value = "default", value_parser = parse_cost_policy, help_heading = "When and how fast")]
    cost_policy: CostPolicy,
    /// Member of this group, see `longhaul group`
    #[arg(short, long, value_name = "NAME", help_heading = "When and how fast")]
    group: Option<GroupName>,
    /// Member of this completion group, by its id; see `longhaul completion`
    #[arg(long, value_name = "ID", help_heading = "When and how fast")]
    completion: Option<CompletionGroupId>,
    /// At most this many bytes per second: 500k, 2M
    #[arg(long, value_name = "RATE", value_parser = RateLimit::parse, help_heading = "When and how fast")]
    limit_rate: Option<RateLimit>,
    /// Not before this time: 18:00, 2026-01-31T18:00, +2h30m
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "When and how fast")]
    not_before: Option<Timestamp>,
    /// Let `cat` and players read any part of it while it arrives; needs a server that knows ranges
    #[arg(long, help_heading = "When and how fast")]
    random_access: bool,

    /// A word to find it by later
    #[arg(short, long, value_name = "LABEL", help_heading = "Following")]
    label: Option<String>,
    /// Show on the desktop how each download has ended
    #[arg(long, help_heading = "Following")]
    notify: bool,
    /// Print the ids and do not follow
    #[arg(long, help_heading = "Following")]
    detach: bool,
    /// Create without starting, print the ids; `longhaul start ID` starts
    #[arg(long, help_heading = "Following")]
    hold: bool,
    /// Show nothing but errors
    #[arg(short, long, help_heading = "Following")]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum IfExistsWord {
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

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<&'a Operation>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let request = Request::of(&arguments)?;
    let sources = sources(&arguments)?;
    let is_any_document = sources.iter().any(|source| is_document(&arguments, source));
    let mut specs = if is_any_document { Vec::new() } else { request.specs(sources.clone())? };
    let client = context.client().await?;
    if is_any_document {
        specs = request.specs(request.expand(context, &client, sources).await?)?;
    }
    if arguments.detach || arguments.hold {
        let created = creation::create(context, &client, specs).await?;
        let ids: Vec<_> = created.operations.iter().map(|(id, _)| *id).collect();
        context
            .console
            .data(&serde_json::json!({ "ids": ids }), |_| ids.iter().map(|id| format!("{id}\n")).collect())?;
        return Ok(created.exit());
    }
    let mut rounds = vec![follow(&arguments, context, &client, specs).await?];
    let listed = request.listed_by(context, &client, &rounds[0]).await?;
    if !listed.is_empty() {
        rounds.push(follow(&arguments, context, &client, request.specs(listed)?).await?);
    }
    if context.console.is_json {
        let items = rounds.iter().flat_map(|round| round.picture.items());
        context.console.json(&Items { items: items.filter_map(|(_, item)| item.operation()).collect() })?;
    }
    Ok(rounds.iter().map(Round::exit).find(|exit| *exit != Exit::Success).unwrap_or(Exit::Success))
}

/// Downloads that were created and followed together.
struct Round {
    picture: Picture,
    /// Of what the service refused, or of Ctrl-C.
    early: Exit,
}

impl Round {
    fn exit(&self) -> Exit {
        match self.early {
            Exit::Success => self.picture.exit(),
            early => early,
        }
    }
}

async fn follow(
    arguments: &Arguments,
    context: &Context,
    client: &Client,
    specs: Vec<CreateDownload>,
) -> Result<Round, Trouble> {
    let showing = if arguments.quiet { Showing::Nothing } else { Showing::Progress };
    let watch = client.watch(&kinds_without_snapshot());
    let picture = Picture::of_expected();
    let mut following = Following::new(context, client.clone(), watch, picture, showing).taking_results();
    // The stream stands before anything is created, and so tells all of it.
    following.connected().await?;
    let created = creation::create(context, client, specs).await?;
    for (id, spec) in &created.operations {
        following.picture.expect(*id, describe::short_name_of(&spec.requested_uri, &spec.result_file));
    }
    let mut early = created.exit();
    if !created.operations.is_empty() {
        if following.run().await? == Ending::Interrupted {
            let found_by = (arguments.label.as_deref(), arguments.group.as_ref());
            say_detached("download", found_by, &following.picture, context);
            early = Exit::Interrupted;
        } else {
            say_advice(&following.picture, context);
        }
    }
    Ok(Round { picture: following.picture, early })
}

fn is_document(arguments: &Arguments, source: &Source) -> bool {
    !arguments.as_is && linked::is_document(&source.url)
}

/// What the command line says of every download.
struct Request<'a> {
    arguments: &'a Arguments,
    headers: Vec<RequestHeader>,
    credential: Option<Credential>,
    netrc: Option<Netrc>,
    proxying: Proxying,
}

impl<'a> Request<'a> {
    fn of(arguments: &'a Arguments) -> Result<Self, Trouble> {
        let credential = match &arguments.user {
            Some(user) => Some(password::credential(user, arguments.password_file.as_deref(), Of::Server)?),
            None => None,
        };
        let (headers, proxying) = (headers::parse(&arguments.header)?, arguments.proxy.read()?);
        Ok(Self { arguments, headers, credential, netrc: arguments.netrc.read()?, proxying })
    }

    fn specs(&self, sources: Vec<Source>) -> Result<Vec<CreateDownload>, Trouble> {
        check_counts(self.arguments, sources.len())?;
        sources.into_iter().map(|source| self.spec(source)).collect()
    }

    fn spec(&self, mut source: Source) -> Result<CreateDownload, Trouble> {
        let is_lacking = source.credential.as_ref().is_none_or(|given| given.password == Secret::default());
        if let Some(netrc) = self.netrc.as_ref().filter(|_| source.is_trusted && is_lacking) {
            let user = source.credential.as_ref().map(|given| given.user.as_str());
            source.credential = netrc.credential(&source.url, user).or(source.credential);
        }
        let spec = spec(self.arguments, source, &self.headers, self.credential.as_ref())?;
        let Proxying { proxy, credential, exempt } = self.proxying.clone();
        Ok(CreateDownload { proxy, proxy_credential: credential, no_proxy: exempt, ..spec })
    }

    /// Puts what documents list in the place of their addresses.
    async fn expand(
        &self,
        context: &Context,
        client: &Client,
        sources: Vec<Source>,
    ) -> Result<Vec<Source>, Trouble> {
        let mut expanded = Vec::new();
        for source in sources {
            if !is_document(self.arguments, &source) {
                expanded.push(source);
                continue;
            }
            let folder = source.folder.clone();
            let name = format!(".longhaul-{}.meta4", std::process::id());
            let document = Source { output: Some(name.into()), ..source };
            let whole = self.spec(document)?;
            let spec = CreateDownload {
                checksum: None,
                expect: None,
                mirrors: Vec::new(),
                transfer_group: None,
                completion_group: None,
                success_notification: None,
                failure_notification: None,
                input_callback: None,
                not_before: None,
                is_random_access_required: false,
                label: None,
                ..whole
            };
            let listed = linked::fetch(context, client, &spec).await?;
            expanded.extend(listed.into_iter().map(|file| Source { folder: folder.clone(), ..file }));
        }
        Ok(expanded)
    }

    /// What those files list that turned out to be documents. A file that was given a name is what it is.
    async fn listed_by(
        &self,
        context: &Context,
        client: &Client,
        round: &Round,
    ) -> Result<Vec<Source>, Trouble> {
        let mut listed = Vec::new();
        if self.arguments.as_is || self.arguments.output.is_some() || round.early != Exit::Success {
            return Ok(listed);
        }
        let operations = round.picture.items().filter_map(|(_, item)| item.operation());
        let completed = operations.filter(|operation| operation.status == TransferStatus::Completed);
        for operation in completed.take(DOCUMENTS_LOOKED_FOR) {
            listed.extend(linked::listed_by(context, client, operation).await?.into_iter().flatten());
        }
        Ok(listed)
    }
}

/// Among more files than this nobody looks for documents by their media type.
const DOCUMENTS_LOOKED_FOR: usize = 64;

fn check_counts(arguments: &Arguments, count: usize) -> Result<(), Trouble> {
    if arguments.output.is_some() && count != 1 {
        return Err(Trouble::usage(format!("-o names one file, and there are {count}"))
            .advise("Name a folder with -d."));
    }
    if count != 1
        && (arguments.checksum.is_some() || arguments.size.is_some() || !arguments.mirror.is_empty())
    {
        return Err(Trouble::usage("--checksum, --size and --mirror belong to one file")
            .advise("Use a list (-i) with checksum=, size= and mirror= behind each address."));
    }
    Ok(())
}

fn sources(arguments: &Arguments) -> Result<Vec<Source>, Trouble> {
    let mut sources = Vec::new();
    for text in &arguments.urls {
        if metalink::is_document(text) {
            sources.extend(metalink::read(text.as_ref())?);
            continue;
        }
        let source = Source::parse(text)?;
        if source.credential.as_ref().is_some_and(|given| given.password != Secret::default()) {
            return Err(Trouble::usage("a password on the command line is there for everybody to read")
                .advise("Leave it out of the address and use --user, or put the address into a list (-i)."));
        }
        sources.push(source);
    }
    if let Some(path) = &arguments.input_file {
        let (text, name) = if path.as_os_str() == "-" {
            (std::io::read_to_string(std::io::stdin().lock()), "standard input".to_owned())
        } else {
            (std::fs::read_to_string(path), path.display().to_string())
        };
        let text = text.map_err(|error| Trouble::file(path, &error))?;
        sources.extend(list::parse(&text, &name)?);
        if sources.is_empty() {
            return Err(Trouble::usage(format!("{name} lists no address")));
        }
    }
    Ok(sources)
}

fn spec(
    arguments: &Arguments,
    source: Source,
    headers: &[RequestHeader],
    credential: Option<&Credential>,
) -> Result<CreateDownload, Trouble> {
    let is_document = is_document(arguments, &source);
    let given = arguments.output.as_deref().filter(|_| !is_document);
    let output = given.or(source.output.as_deref());
    let (headers, credential) = if source.is_trusted { (headers, credential) } else { (&[][..], None) };
    let folder = match (&arguments.directory, &source.folder) {
        (Some(base), Some(below)) => Some(base.join(below)),
        (base, below) => base.clone().or_else(|| below.clone()),
    };
    let mut mirrors = source.mirrors;
    for mirror in &arguments.mirror {
        mirrors.push(parse_url(mirror)?);
    }
    let size = arguments.size.or(source.size);
    Ok(CreateDownload {
        mirrors: mirrors.into_iter().map(Url::into).collect(),
        request_headers: headers.to_vec(),
        server_credential: source.credential.or_else(|| credential.cloned()),
        cost_policy: arguments.cost_policy,
        priority: arguments.priority,
        transfer_group: arguments.group.clone(),
        completion_group: arguments.completion,
        success_notification: arguments.notify.then(|| notification("Downloaded", &source.url)),
        failure_notification: arguments.notify.then(|| notification("Not downloaded", &source.url)),
        input_callback: input_callback(arguments),
        interface: arguments.interface.clone(),
        is_random_access_required: arguments.random_access,
        recoverable_web_error_statuses: arguments.recoverable.clone(),
        checksum: arguments.checksum.clone().or(source.checksum),
        expect: size.map(|size| Expectation { size: Some(size), content_type: None }),
        rate_limit: arguments.limit_rate.and_then(|limit| limit.0),
        not_before: arguments.not_before,
        if_exists: arguments.if_exists.into(),
        label: source.label.or_else(|| arguments.label.clone()),
        start: !arguments.hold,
        ..CreateDownload::new(source.url, result_file(folder.as_deref(), output)?)
    })
}

fn input_callback(arguments: &Arguments) -> Option<InputCallback> {
    let Arguments { ask_task, ask_webhook, .. } = arguments;
    let webhook = ask_webhook.as_ref().map(ToString::to_string);
    (ask_task.is_some() || webhook.is_some()).then_some(InputCallback { task: *ask_task, webhook })
}

/// What is shown of an address has no query, which may be signed.
fn notification(title: &str, url: &Url) -> Notification {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let body = shown.as_str().chars().take(1024).collect();
    Notification { title: title.to_owned(), body: Some(body) }
}

/// Up to this many ids are named.
const IDS_NAMED: usize = 3;

/// Says that operations called `noun` go on, and how to see them again.
pub(crate) fn say_detached(
    noun: &str,
    (label, group): (Option<&str>, Option<&GroupName>),
    picture: &Picture,
    context: &Context,
) {
    let ids: Vec<OperationId> = picture.unfinished();
    let what = match ids.len() {
        1 => format!("The {noun} goes on"),
        count => format!("{count} {noun}s go on"),
    };
    let again = match (label, group) {
        _ if ids.len() <= IDS_NAMED => ids.iter().map(|id| format!(" {id}")).collect(),
        (Some(label), _) => format!(" --label {}", escape(label)),
        (None, Some(group)) => format!(" --group {}", escape(group.as_str())),
        (None, None) => String::new(),
    };
    let command = context.console.err_view().paint.paint(STRONG, &format!("longhaul follow{again}"));
    context.console.say(&format!("\n{what} in the background. See it again with {command}"));
}

/// Says what can be done, once for each different thing.
pub(crate) fn say_advice(picture: &Picture, context: &Context) {
    let mut said: Vec<String> = Vec::new();
    for (_, item) in picture.items() {
        let (State::Live(operation) | State::Ended(operation)) = &item.state else { continue };
        let Some(advice) = describe::advice(operation).filter(|advice| !said.contains(advice)) else {
            continue;
        };
        if said.len() == IDS_NAMED {
            context.console.say("  and more of the kind: see longhaul ls --all --status Error");
            return;
        }
        let heading = context.console.err_view().paint.paint(STRONG, "  try:");
        context.console.say(&format!("{heading} {advice}"));
        said.push(advice);
    }
}
