//! What `get` asks the service for.

use longhaul_client::Client;
use longhaul_contract::{
    ClientCertificate, CreateDownload, Credential, Expectation, IfExists, InputCallback, Notification,
    RequestHeader, Secret, TransferStatus,
};
use url::Url;

use super::Round;
use super::arguments::Arguments;
use super::curl::FromCurl;
use crate::connect::Context;
use crate::exit::Exit;
use crate::input::netrc::Netrc;
use crate::input::password::Of;
use crate::input::proxy::Proxying;
use crate::input::source::{Source, parse_url, result_file};
use crate::input::{headers, linked, list, metalink, password};
use crate::trouble::Trouble;

pub(super) fn is_document(arguments: &Arguments, source: &Source) -> bool {
    !arguments.as_is && linked::is_document(&source.url)
}

/// What the command line says of every download.
pub(super) struct Request<'a> {
    arguments: &'a Arguments,
    headers: Vec<RequestHeader>,
    credential: Option<Credential>,
    certificate: Option<ClientCertificate>,
    netrc: Option<Netrc>,
    proxying: Proxying,
}

impl<'a> Request<'a> {
    pub(super) fn of(arguments: &'a Arguments, from_curl: &FromCurl) -> Result<Self, Trouble> {
        let credential = match &arguments.user {
            Some(user) => Some(password::credential(user, arguments.password_file.as_deref(), Of::Server)?),
            None => from_curl.credential.clone(),
        };
        let (headers, mut proxying) = (headers::parse(&arguments.header)?, arguments.proxy.read()?);
        proxying.credential = proxying.credential.or_else(|| from_curl.proxy_credential.clone());
        let certificate = arguments.certificate.read()?;
        Ok(Self { arguments, headers, credential, certificate, netrc: arguments.netrc.read()?, proxying })
    }

    pub(super) fn specs(&self, sources: Vec<Source>) -> Result<Vec<CreateDownload>, Trouble> {
        check_counts(self.arguments, sources.len())?;
        sources.into_iter().map(|source| self.spec(source)).collect()
    }

    fn spec(&self, mut source: Source) -> Result<CreateDownload, Trouble> {
        let is_lacking = source.credential.as_ref().is_none_or(|given| given.password == Secret::default());
        if let Some(netrc) = self.netrc.as_ref().filter(|_| source.is_trusted && is_lacking) {
            let user = source.credential.as_ref().map(|given| given.user.as_str());
            source.credential = netrc.credential(&source.url, user).or(source.credential);
        }
        let client_certificate = self.certificate.clone().filter(|_| source.is_trusted);
        let spec = spec(self.arguments, source, &self.headers, self.credential.as_ref())?;
        let Proxying { proxy, credential, exempt } = self.proxying.clone();
        Ok(CreateDownload {
            client_certificate,
            proxy,
            proxy_credential: credential,
            no_proxy: exempt,
            ..spec
        })
    }

    /// Puts what documents list in the place of their addresses.
    pub(super) async fn expand(
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
    pub(super) async fn listed_by(
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

pub(super) fn sources(arguments: &Arguments, from_curl: FromCurl) -> Result<Vec<Source>, Trouble> {
    let mut sources = from_curl.sources;
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
        if_exists: arguments.if_exists.map_or(IfExists::Fail, IfExists::from),
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
