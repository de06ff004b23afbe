//! `longhaul cat`.

use std::io::{self, Write};

use crate::connect::Context;
use crate::exit::Exit;
use crate::identifiers;
use crate::measure::parse_bytes;
use crate::trouble::Trouble;

/// Write the bytes of a download to standard output while it is under way
///
/// What is not there yet is waited for. Of a download created with --random-access the wanted bytes are fetched
/// first, so `longhaul cat ID | mpv -` plays a film that has only just begun to arrive.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The download, by its id or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    /// Begin at this byte
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse_bytes)]
    offset: u64,
    /// End after this many bytes
    #[arg(long, value_name = "N", value_parser = parse_bytes)]
    length: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let download = identifiers::resolve_download(&client, &arguments.id).await?;
    let mut reader = download.content(arguments.offset, arguments.length).await?;
    let mut out = io::stdout().lock();
    while let Some(chunk) = reader.chunk().await? {
        if context.console.is_out_terminal && chunk.iter().any(|byte| is_binary(*byte)) {
            return Err(Trouble::usage("these bytes are not text and could upset the terminal")
                .advise("Send them to a file or a program: `longhaul cat ID > FILE`."));
        }
        match out.write_all(&chunk) {
            Ok(()) => {}
            // The reader has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Success),
            Err(error) => return Err(Trouble::output(&error)),
        }
    }
    out.flush().map_err(|error| Trouble::output(&error))?;
    Ok(Exit::Success)
}

fn is_binary(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\n' | b'\r' | b'\t') || byte == 0x7f
}
