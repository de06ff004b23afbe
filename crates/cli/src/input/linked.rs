//! Metalink 4 documents at addresses: fetched by the service as small downloads of their own, read, and taken away.
//!
//! What a document lists comes from whoever wrote it: credentials and headers that were given for the document's
//! origin go to no other.

use std::path::Path;
use std::time::Duration;

use longhaul_client::{Client, Download};
use longhaul_contract::{CreateDownload, IfExists, Operation, TransferStatus, metalink};
use url::Url;

use crate::connect::Context;
use crate::describe;
use crate::exit::Exit;
use crate::input::metalink::{has_ending, sources};
use crate::input::source::Source;
use crate::text::escape;
use crate::trouble::Trouble;

/// RFC 5854 section 8.1.
const MEDIA_TYPE: &str = "application/metalink4+xml";
/// How often is looked at whether the document has grown too large.
const LOOK: Duration = Duration::from_secs(1);

/// Whether the address names a document by its ending.
pub(crate) fn is_document(url: &Url) -> bool {
    has_ending(Path::new(url.path()))
}

/// Has the service download the document and answers what it lists. `spec` says how, up to a name for the file, which
/// is gone afterwards.
pub(crate) async fn fetch(
    context: &Context,
    client: &Client,
    spec: &CreateDownload,
) -> Result<Vec<Source>, Trouble> {
    let spec = CreateDownload { if_exists: IfExists::Rename, start: true, ..spec.clone() };
    context.console.say(&format!("reading the list at {}", escape(&spec.requested_uri)));
    let download = client.download(client.create_download(&spec).await?.id);
    let ended = tokio::select! {
        ended = end_of(context, &download) => ended,
        interrupted = tokio::signal::ctrl_c() => Err(match interrupted {
            Ok(()) => Trouble::new(Exit::Interrupted, "the list was not read to its end; nothing was begun"),
            Err(error) => Trouble::new(Exit::Internal, error.to_string()),
        }),
    };
    let listed = match &ended {
        Ok(_) => read(&download, &spec.requested_uri).await,
        Err(_) => Ok(Vec::new()),
    };
    // Whatever came of it, nothing of it is to stay.
    let removed = download.remove().await;
    let operation = ended?;
    remove_file(&operation)?;
    removed?;
    listed
}

/// What a finished download lists that turned out to be a document by its media type; the file is taken away then.
/// `None` when it is none.
pub(crate) async fn listed_by(
    context: &Context,
    client: &Client,
    operation: &Operation,
) -> Result<Option<Vec<Source>>, Trouble> {
    let download = client.download(operation.id);
    let Some(response) = download.response().await? else { return Ok(None) };
    let media_type = response.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value);
    let media_type = media_type.and_then(|value| value.split(';').next()).map(str::trim);
    if !media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Ok(None);
    }
    match read(&download, &operation.requested_uri).await {
        Ok(listed) => {
            remove_file(operation)?;
            Ok(Some(listed))
        }
        Err(trouble) => {
            context.console.say(&format!("kept as a file: {}", escape(&trouble.message)));
            Ok(None)
        }
    }
}

/// Waits for the end, which must be a good one.
async fn end_of(context: &Context, download: &Download) -> Result<Operation, Trouble> {
    let mut told = None;
    loop {
        let operation = download.attach_within(LOOK).await?;
        let progress = &operation.progress;
        if progress.bytes_received.max(progress.total_bytes_to_receive) > metalink::DOCUMENT_BYTES_MAX as u64
        {
            let message = format!("{}: {}", operation.requested_uri, metalink::MetalinkError::TooLarge);
            return Err(Trouble::new(Exit::Usage, message));
        }
        match operation.status {
            TransferStatus::Completed => return Ok(operation),
            TransferStatus::Error | TransferStatus::Canceled => {
                let message = format!("{}: {}", operation.requested_uri, describe::failure(&operation));
                return Err(Trouble::new(Exit::TransferFailed, message));
            }
            _ if describe::needs_input(&operation) => {
                let message = format!("{}: {}", operation.requested_uri, describe::failure(&operation));
                return Err(Trouble::new(Exit::NeedsInput, message));
            }
            _ => {
                let waiting = describe::waiting(&operation, context.console.err_view().now);
                if waiting.is_some() && waiting != told {
                    context.console.say(waiting.as_deref().unwrap_or_default());
                    told = waiting;
                }
            }
        }
    }
}

async fn read(download: &Download, address: &str) -> Result<Vec<Source>, Trouble> {
    let mut document = Vec::new();
    let mut reader = download.content(0, Some(metalink::DOCUMENT_BYTES_MAX as u64 + 1)).await?;
    while let Some(chunk) = reader.chunk().await? {
        document.extend_from_slice(&chunk);
    }
    let of_document = Url::parse(address).map(|url| url.origin()).ok();
    let mut listed = sources(&document, address)?;
    for source in &mut listed {
        source.is_trusted = of_document.as_ref() == Some(&source.url.origin());
    }
    Ok(listed)
}

fn remove_file(operation: &Operation) -> Result<(), Trouble> {
    let path = Path::new(describe::file(operation));
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Trouble::file(path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
