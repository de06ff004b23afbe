//! `longhaul put`.

use std::path::{Path, PathBuf};

use longhaul_client::{Client, ClientError};
use longhaul_contract::{
    CostPolicy, CreateUpload, GroupName, Operation, OperationKind, Priority, Secret, Timestamp, UploadPart,
    UploadProtocol, WebErrorStatus,
};
use serde::Serialize;
use url::Url;

use crate::commands::follow::kinds_without_snapshot;
use crate::commands::get::{
    RateLimit, parse_cost_policy, parse_time, parse_web_error, say_advice, say_detached,
};
use crate::connect::Context;
use crate::describe;
use crate::exit::Exit;
use crate::following::picture::Picture;
use crate::following::{Ending, Following, Showing};
use crate::input::certificate::CertificateArguments;
use crate::input::netrc::NetrcArguments;
use crate::input::password::Of;
use crate::input::proxy::ProxyArguments;
use crate::input::source::{decoded, parse_url};
use crate::input::{headers, password};
use crate::trouble::Trouble;

/// Upload files
///
/// The service does the work and finishes it whatever happens to this terminal; this command follows it. Ctrl-C ends
/// the following and not the upload. The exit code is 0 only when the server has taken every file.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files to send, and the address (http, https) behind them. An address that ends in / is completed by the name of
    /// the file
    #[arg(value_name = "FILE… URL", required = true)]
    files: Vec<String>,
    /// A part of a form instead of a file: NAME=@FILE or NAME=TEXT (any number); then only the address is given
    #[arg(short = 'F', long, value_name = "PART", help_heading = "Request")]
    form: Vec<String>,
    /// The verb; PUT when absent, POST for a form
    #[arg(short = 'X', long, value_name = "METHOD", help_heading = "Request")]
    method: Option<String>,
    /// How the bytes travel: auto, plain, tus, resumable
    #[arg(long, value_name = "PROTOCOL", default_value = "auto", help_heading = "Request")]
    protocol: UploadProtocol,
    /// Media type of the file
    #[arg(long, value_name = "TYPE", help_heading = "Request")]
    content_type: Option<String>,
    /// Sent as Idempotency-Key: the server acts once for it, so a POST without an answer is repeated
    #[arg(long, value_name = "KEY", help_heading = "Request")]
    idempotency_key: Option<String>,
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
    certificate: CertificateArguments,
    #[command(flatten)]
    proxy: ProxyArguments,
    /// Connect by this interface of the machine, or from this address of it: eth0, 192.0.2.7
    #[arg(long, value_name = "INTERFACE", help_heading = "Request")]
    interface: Option<String>,
    /// Wait for a new address or header on these failures instead of failing: 403, Timeout …
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = parse_web_error, help_heading = "Request")]
    recoverable: Vec<WebErrorStatus>,

    /// Place in the queue: high, default or low
    #[arg(long, value_name = "PRIORITY", default_value = "default", help_heading = "When and how fast")]
    priority: Priority,
    /// Networks to use: default (not when roaming or near the data limit), unrestricted-only, always
    #[arg(long, value_name = "POLICY", default_value = "default", value_parser = parse_cost_policy, help_heading = "When and how fast")]
    cost_policy: CostPolicy,
    /// Member of this group, see `longhaul group`
    #[arg(short, long, value_name = "NAME", help_heading = "When and how fast")]
    group: Option<GroupName>,
    /// At most this many bytes per second: 500k, 2M
    #[arg(long, value_name = "RATE", value_parser = RateLimit::parse, help_heading = "When and how fast")]
    limit_rate: Option<RateLimit>,
    /// Not before this time: 18:00, 2026-01-31T18:00, +2h30m
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "When and how fast")]
    not_before: Option<Timestamp>,

    /// A word to find it by later
    #[arg(short, long, value_name = "LABEL", help_heading = "Following")]
    label: Option<String>,
    /// Print the ids and do not follow
    #[arg(long, help_heading = "Following")]
    detach: bool,
    /// Create without starting, print the ids; `longhaul start ID` starts
    #[arg(long, help_heading = "Following")]
    hold: bool,
    /// Write the body of the server's last answer to standard output when all is sent
    #[arg(long, conflicts_with_all = ["detach", "hold"], help_heading = "Following")]
    show_response: bool,
    /// Show nothing but errors
    #[arg(short, long, help_heading = "Following")]
    quiet: bool,
}

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<&'a Operation>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let folder = std::env::current_dir().map_err(|error| Trouble::file(Path::new("."), &error))?;
    let specs = specs(&arguments, &folder)?;
    let client = context.client().await?;
    let watch = client.watch(&kinds_without_snapshot());
    if arguments.detach || arguments.hold {
        let (ids, exit) = create(context, &client, &specs).await?;
        context
            .console
            .data(&serde_json::json!({ "ids": ids }), |_| ids.iter().map(|id| format!("{id}\n")).collect())?;
        return Ok(exit);
    }
    let showing = if arguments.quiet { Showing::Nothing } else { Showing::Progress };
    let mut following =
        Following::new(context, client.clone(), watch, Picture::of_expected(), showing).taking_results();
    // The stream stands before anything is created, and so tells all of it.
    following.connected().await?;
    let mut exit = Exit::Success;
    let mut last = None;
    for spec in &specs {
        match client.create_upload(spec).await {
            Ok(operation) => {
                let name = describe::short_name(&operation);
                following.picture.expect_one_of(OperationKind::Upload, operation.id, name);
                last = Some(operation.id);
            }
            Err(error) => exit = refused(context, error, spec, specs.len(), exit)?,
        }
    }
    let Some(last) = last else { return Ok(exit) };
    if following.run().await? == Ending::Interrupted {
        let found_by = (arguments.label.as_deref(), arguments.group.as_ref());
        say_detached("upload", found_by, &following.picture, context);
        return Ok(Exit::Interrupted);
    }
    say_advice(&following.picture, context);
    if context.console.is_json {
        let items = following.picture.items().filter_map(|(_, item)| item.operation()).collect();
        context.console.json(&Items { items })?;
    } else if arguments.show_response {
        let mut body = client.upload(last).response_body().await?;
        let mut text = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            text.extend_from_slice(&chunk);
        }
        context.console.text(&String::from_utf8_lossy(&text))?;
    }
    Ok(if exit == Exit::Success { following.picture.exit() } else { exit })
}

async fn create(
    context: &Context,
    client: &Client,
    specs: &[CreateUpload],
) -> Result<(Vec<longhaul_contract::OperationId>, Exit), Trouble> {
    let mut ids = Vec::with_capacity(specs.len());
    let mut exit = Exit::Success;
    for spec in specs {
        match client.create_upload(spec).await {
            Ok(operation) => ids.push(operation.id),
            Err(error) => exit = refused(context, error, spec, specs.len(), exit)?,
        }
    }
    Ok((ids, exit))
}

/// One refused file does not keep the others from being sent.
fn refused(
    context: &Context,
    error: ClientError,
    spec: &CreateUpload,
    count: usize,
    exit: Exit,
) -> Result<Exit, Trouble> {
    let is_refusal = matches!(error, ClientError::Refused(_));
    let mut trouble = Trouble::from(error);
    if !is_refusal {
        return Err(trouble);
    }
    if let Some(file) = spec.source_file.as_ref().filter(|_| count > 1) {
        trouble.message = format!("{file}: {}", trouble.message);
    }
    context.console.complain(&trouble);
    Ok(if exit == Exit::Success { trouble.exit } else { exit })
}

fn specs(arguments: &Arguments, folder: &Path) -> Result<Vec<CreateUpload>, Trouble> {
    let (address, files) = arguments.files.split_last().ok_or_else(|| Trouble::usage("no address"))?;
    let url = parse_url(address)?;
    if url.password().is_some() {
        return Err(Trouble::usage("a password on the command line is there for everybody to read")
            .advise("Leave it out of the address and use --user."));
    }
    let first = match (files, arguments.form.as_slice()) {
        ([], []) => {
            return Err(
                Trouble::usage("there is no file to send").advise("Give FILE URL, or parts with --form.")
            );
        }
        ([], parts) => {
            let parts = parts.iter().map(|part| form_part(part, folder)).collect::<Result<_, _>>()?;
            vec![CreateUpload::multipart(url.clone(), parts)]
        }
        (_, [_, ..]) => {
            return Err(Trouble::usage("files and --form do not go together")
                .advise("Send a file as a part: --form NAME=@FILE."));
        }
        (files, []) => {
            if files.len() > 1 && !address.ends_with('/') && method(arguments) == "PUT" {
                return Err(Trouble::usage("several files cannot be put to one address")
                    .advise("End the address with / to name a folder."));
            }
            files.iter().map(|file| raw(file, &url, arguments, folder)).collect::<Result<_, _>>()?
        }
    };
    let headers = headers::parse(&arguments.header)?;
    let credential = match &arguments.user {
        Some(user) => Some(password::credential(user, arguments.password_file.as_deref(), Of::Server)?),
        None => arguments.netrc.read()?.and_then(|netrc| {
            let user = Some(decoded(url.username())).filter(|user| !user.is_empty());
            netrc.credential(&url, user.as_deref())
        }),
    };
    let certificate = arguments.certificate.read()?;
    let proxying = arguments.proxy.read()?;
    let complete = |spec: CreateUpload| CreateUpload {
        method: Some(method(arguments).to_owned()),
        protocol: arguments.protocol,
        content_type: arguments.content_type.clone(),
        idempotency_key: arguments.idempotency_key.clone(),
        request_headers: headers.clone(),
        server_credential: credential.clone(),
        client_certificate: certificate.clone(),
        proxy: proxying.proxy.clone(),
        proxy_credential: proxying.credential.clone(),
        no_proxy: proxying.exempt.clone(),
        interface: arguments.interface.clone(),
        cost_policy: arguments.cost_policy,
        priority: arguments.priority,
        transfer_group: arguments.group.clone(),
        recoverable_web_error_statuses: arguments.recoverable.clone(),
        rate_limit: arguments.limit_rate.and_then(|limit| limit.0),
        not_before: arguments.not_before,
        label: arguments.label.clone(),
        start: !arguments.hold,
        ..spec
    };
    Ok(first.into_iter().map(complete).collect())
}

fn method(arguments: &Arguments) -> &str {
    let default = if arguments.form.is_empty() { "PUT" } else { "POST" };
    arguments.method.as_deref().unwrap_or(default)
}

fn raw(file: &str, url: &Url, arguments: &Arguments, folder: &Path) -> Result<CreateUpload, Trouble> {
    let path = absolute(file, folder)?;
    let mut url = url.clone();
    // tus makes the address itself, below the one that is given.
    if url.path().ends_with('/') && arguments.protocol != UploadProtocol::Tus {
        let name = Path::new(&path).file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Trouble::usage(format!("{file:?} has no name to put it by")))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(name);
        }
    }
    Ok(CreateUpload::new(url, path))
}

/// `NAME=@FILE` or `NAME=TEXT`.
fn form_part(text: &str, folder: &Path) -> Result<UploadPart, Trouble> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Trouble::usage(format!("{text:?} is no part of a form")).advise("Write NAME=@FILE or NAME=TEXT.")
    })?;
    let part = UploadPart { name: Some(name.to_owned()), ..UploadPart::default() };
    Ok(match value.strip_prefix('@') {
        Some(file) => UploadPart { file: Some(absolute(file, folder)?), ..part },
        None => UploadPart { text: Some(Secret::new(value)), ..part },
    })
}

/// Where a file lies, seen from the current folder. The service has another one.
fn absolute(file: &str, folder: &Path) -> Result<String, Trouble> {
    let path = folder.join(file);
    let path = path.canonicalize().map_err(|error| Trouble::file(&path, &error))?;
    let text = path.to_str().ok_or_else(|| Trouble::usage(format!("{file:?} is not UTF-8")))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn of(line: &[&str], folder: &Path) -> Result<Vec<CreateUpload>, Trouble> {
        let line = Line::try_parse_from(std::iter::once("put").chain(line.iter().copied())).unwrap();
        specs(&line.arguments, folder)
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a b.txt", "c"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_at_the_server_is_completed_by_the_name() {
        let folder = folder();
        let made = of(&["a b.txt", "c", "http://h/in/"], folder.path()).unwrap();
        let uris: Vec<_> = made.iter().map(|spec| spec.requested_uri.as_str()).collect();
        assert_eq!(uris, ["http://h/in/a%20b.txt", "http://h/in/c"]);
        assert_eq!(made[0].method(), "PUT");
        assert!(made[0].source_file.as_ref().unwrap().starts_with('/'));
        let tus = of(&["c", "http://h/files/", "--protocol", "tus"], folder.path()).unwrap();
        assert_eq!(tus[0].requested_uri, "http://h/files/");
    }

    #[test]
    fn a_form_is_posted() {
        let folder = folder();
        let made = of(&["http://h/form", "-F", "file=@c", "--form", "note=a=b"], folder.path()).unwrap();
        assert_eq!((made.len(), made[0].method()), (1, "POST"));
        let [file, text] = made[0].parts.as_slice() else { panic!("{made:?}") };
        assert_eq!((file.name.as_deref(), file.text.clone()), (Some("file"), None));
        assert_eq!(text.text.as_ref().map(Secret::reveal), Some("a=b"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let folder = folder();
        for line in [
            &["http://h/"][..],
            &["c", "a b.txt", "http://h/one"],
            &["c", "http://h/", "-F", "a=b"],
            &["http://h/", "-F", "a"],
            &["gone", "http://h/"],
            &["c", "http://u:p@h/"],
        ] {
            assert!(of(line, folder.path()).is_err(), "{line:?}");
        }
    }
}
