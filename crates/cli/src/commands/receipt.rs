//! `longhaul receipt` and `longhaul verify`.

use longhaul_contract::{DigestVerdict, Receipt, ReceiptDigest, UploadReceipt, Verification};

use crate::connect::Context;
use crate::console::{BAD, FAINT, GOOD, STRONG, View};
use crate::exit::Exit;
use crate::table::pairs;
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{identifiers, measure};

/// Show what was fetched from where and how it was checked, or what was sent
#[derive(Debug, clap::Args)]
pub(crate) struct ReceiptArguments {
    /// The operation, by its id or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
}

/// Read the published file again and compare it with the receipt
///
/// Ends with 1 when the file is no longer what was published.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArguments {
    /// The download, by its id or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) async fn receipt(arguments: ReceiptArguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let receipt = identifiers::resolve(&client, &arguments.id).await?.receipt().await?;
    context.console.data(&receipt, |view| render_receipt(&receipt, view))?;
    Ok(Exit::Success)
}

pub(crate) async fn verify(arguments: VerifyArguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let verification = identifiers::resolve_download(&client, &arguments.id).await?.verify().await?;
    context.console.data(&verification, |view| render_verification(&verification, view))?;
    Ok(if verification.is_intact { Exit::Success } else { Exit::Internal })
}

/// Pieces that are shown.
const PIECES_SHOWN: usize = 20;

fn render_receipt(receipt: &Receipt, view: &View) -> String {
    let text = |value: &Option<String>| value.as_deref().map(|value| escape(value).into_owned());
    let mut lines: Vec<(&str, String)> = Vec::new();
    lines.extend(text(&receipt.path).map(|path| ("file", path)));
    lines.extend(receipt.size.map(|size| ("size", format!("{} ({size} bytes)", measure::bytes(size)))));
    lines.extend(text(&receipt.etag).map(|etag| ("etag", etag)));
    lines.extend(text(&receipt.last_modified).map(|time| ("modified", time)));
    let mut fetched = measure::bytes(receipt.bytes_fetched);
    if receipt.restarts > 0 {
        fetched.push_str(&format!(", {} restarts from byte 0", receipt.restarts));
    }
    match &receipt.upload {
        None => lines.push(("fetched", fetched)),
        Some(upload) => lines.extend(upload_lines(receipt, upload)),
    }
    let mut shown = pairs(view, lines);
    let heading = |title: &str| format!("\n{}\n", view.paint.paint(STRONG, title));
    if !receipt.chain.is_empty() {
        shown.push_str(&heading("Addresses"));
        for hop in &receipt.chain {
            shown.push_str(&format!("  {} {}\n", hop.status, escape(&hop.url)));
        }
    }
    if !receipt.digests.is_empty() {
        shown.push_str(&heading("Digests"));
        shown.extend(receipt.digests.iter().map(|digest| digest_line(digest, view)));
    }
    if !receipt.pieces.is_empty() {
        shown.push_str(&heading("Pieces"));
        for piece in receipt.pieces.iter().take(PIECES_SHOWN) {
            let address = piece.address.as_deref().map(|address| format!(" ({})", escape(address)));
            shown.push_str(&format!(
                "  {}  {:>10} at {}  {}{}\n",
                view.instant(piece.from),
                measure::bytes(piece.range.length),
                piece.range.offset,
                escape(&piece.url),
                address.unwrap_or_default(),
            ));
        }
        if receipt.pieces.len() > PIECES_SHOWN {
            shown.push_str(&format!(
                "  … and {} more (--json has all)\n",
                receipt.pieces.len() - PIECES_SHOWN
            ));
        }
    }
    shown
}

fn upload_lines(receipt: &Receipt, upload: &UploadReceipt) -> Vec<(&'static str, String)> {
    let mut sent = format!("{} in {} requests", measure::bytes(upload.bytes_sent), upload.requests);
    if receipt.restarts > 0 {
        sent.push_str(&format!(", {} restarts from byte 0", receipt.restarts));
    }
    let mut lines = vec![("sent", sent), ("protocol", escape(&upload.protocol).into_owned())];
    lines.extend(upload.part_etags.iter().map(|etag| ("part etag", escape(etag).into_owned())));
    lines
}

fn digest_line(digest: &ReceiptDigest, view: &View) -> String {
    let (verdict, style) = match digest.verdict {
        DigestVerdict::Equal => ("equal", GOOD),
        DigestVerdict::Different => ("DIFFERENT", BAD),
        DigestVerdict::Recorded => ("recorded", FAINT),
    };
    format!(
        "  {}:{}  {}  {}\n",
        digest.algorithm.word(),
        escape(&digest.value),
        view.paint.paint(style, verdict),
        view.paint.paint(FAINT, &escape(&digest.source)),
    )
}

fn render_verification(verification: &Verification, view: &View) -> String {
    let path = escape(&verification.path);
    let mut shown = if verification.is_intact {
        format!("{} {path} is what was published\n", view.paint.good_mark())
    } else {
        format!("{} {path} is NOT what was published\n", view.paint.bad_mark())
    };
    if verification.size != verification.published_size {
        shown.push_str(&format!(
            "  it has {} bytes and was published with {}\n",
            verification.size, verification.published_size
        ));
    }
    shown.extend(verification.digests.iter().map(|digest| digest_line(digest, view)));
    if verification.digests.is_empty() {
        shown.push_str("  no digest was recorded: only the size could be compared\n");
    }
    shown
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{ByteRange, ChecksumAlgorithm, ReceiptHop, ReceiptPiece};

    use super::*;
    use crate::sample::{self, NOW};

    fn digest(verdict: DigestVerdict) -> ReceiptDigest {
        ReceiptDigest {
            algorithm: ChecksumAlgorithm::Sha256,
            value: "ab".repeat(32),
            source: "caller".to_owned(),
            verdict,
        }
    }

    #[test]
    fn a_receipt() {
        let receipt = Receipt {
            upload: None,
            chain: vec![
                ReceiptHop { url: "https://example.org/film".to_owned(), status: 302 },
                ReceiptHop { url: "https://mirror.example.org/film".to_owned(), status: 206 },
            ],
            etag: Some("\"abc\u{1b}[2J\"".to_owned()),
            last_modified: Some("Sat, 31 Jan 2026 12:00:00 GMT".to_owned()),
            size: Some(2 << 30),
            path: Some("/home/ann/film.mkv".to_owned()),
            pieces: vec![ReceiptPiece {
                range: ByteRange::new(1024, 1 << 30),
                url: "https://mirror.example.org/film".to_owned(),
                address: Some("192.0.2.1:443".to_owned()),
                from: NOW,
                to: NOW.plus_seconds(9),
            }],
            digests: vec![digest(DigestVerdict::Equal), digest(DigestVerdict::Recorded)],
            bytes_fetched: 3 << 30,
            restarts: 1,
        };
        insta::assert_snapshot!(render_receipt(&receipt, &sample::view(100)));
    }

    #[test]
    fn verifications() {
        let mut verification = Verification {
            path: "/home/ann/film.mkv".to_owned(),
            size: 5,
            published_size: 5,
            digests: vec![digest(DigestVerdict::Equal)],
            is_intact: true,
        };
        insta::assert_snapshot!(render_verification(&verification, &sample::view(100)));
        verification.size = 4;
        verification.is_intact = false;
        verification.digests = vec![digest(DigestVerdict::Different)];
        insta::assert_snapshot!(render_verification(&verification, &sample::view(100)));
    }
}
