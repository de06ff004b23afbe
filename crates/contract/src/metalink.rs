//! Metalink 4 documents (RFC 5854): lists of files with their addresses and hashes.
//!
//! Documents come from strangers: size, depth and counts are bounded, document types are refused, and names are
//! sanitised. Deliberately absent: signatures, `metaurl` (torrents), and the older Metalink 3.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use url::Url;

use crate::{Checksum, ChecksumAlgorithm, names};

const NAMESPACE: &[u8] = b"urn:ietf:params:xml:ns:metalink";

/// Largest document that is looked at, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;
const DEPTH_MAX: usize = 16;
const FILES_MAX: usize = 10_000;
const URLS_PER_FILE_MAX: usize = 1_000;
/// A URL without a priority comes last (RFC 5854 section 4.2.16.1).
const PRIORITY_LAST: u32 = 999_999;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metalink {
    /// At least one.
    pub files: Vec<MetalinkFile>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetalinkFile {
    /// Sanitised: a plain file name.
    pub name: String,
    /// Bytes.
    pub size: Option<u64>,
    /// Of the whole file, strongest first.
    pub hashes: Vec<Checksum>,
    pub pieces: Option<MetalinkPieces>,
    /// In the order to try them: by priority, then as listed.
    pub urls: Vec<MetalinkUrl>,
}

/// Hashes of consecutive pieces, all of `length` bytes but the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetalinkPieces {
    pub algorithm: ChecksumAlgorithm,
    pub length: u64,
    /// Lower-case hexadecimal.
    pub hashes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetalinkUrl {
    pub url: Url,
    /// 1 is best, 999999 last.
    pub priority: u32,
    /// ISO 3166-1 alpha-2 country code in lower case.
    pub location: Option<String>,
}

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetalinkError {
    #[error("the document has more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the document is not well-formed XML: {0}")]
    Xml(String),
    #[error("this is no Metalink 4 document (RFC 5854)")]
    NotMetalink,
    #[error("this is a Metalink 3 document; only Metalink 4 (RFC 5854) is understood")]
    Version3,
    #[error("the document declares a document type or an entity, which is refused")]
    DocumentType,
    #[error("the document is nested too deeply")]
    TooDeep,
    #[error("the document lists more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("{element} has the value {value:?}, which is not allowed")]
    Value { element: &'static str, value: String },
    #[error("the document lists no file")]
    Empty,
}

/// Reads a Metalink 4 document.
///
/// # Errors
/// It is larger, deeper or longer than the bounds of this module, no Metalink 4, or has a hash, size or priority that
/// is malformed. Unknown elements, hash types and malformed URLs are skipped.
pub fn parse(document: &[u8]) -> Result<Metalink, MetalinkError> {
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(MetalinkError::TooLarge);
    }
    let mut reader = NsReader::from_reader(document);
    reader.config_mut().expand_empty_elements = true;
    let mut builder = Builder::default();
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(xml)?;
        let is_ours = matches!(namespace, ResolveResult::Bound(Namespace(NAMESPACE)));
        match event {
            Event::Start(start) => builder.open(is_ours, &namespace, &start)?,
            Event::End(_) => builder.close()?,
            Event::Text(text) => builder.text.push_str(&text.decode().map_err(xml)?),
            Event::CData(text) => builder.text.push_str(&text.decode().map_err(xml)?),
            Event::GeneralRef(reference) => {
                let letter = match reference.resolve_char_ref().map_err(xml)? {
                    Some(letter) => letter,
                    None => predefined(&reference).ok_or(MetalinkError::DocumentType)?,
                };
                builder.text.push(letter);
            }
            Event::DocType(_) => return Err(MetalinkError::DocumentType),
            Event::Eof => return builder.finish(),
            _ => {}
        }
    }
}

fn xml(error: impl std::fmt::Display) -> MetalinkError {
    MetalinkError::Xml(error.to_string())
}

fn predefined(name: &[u8]) -> Option<char> {
    match name {
        b"amp" => Some('&'),
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        _ => None,
    }
}

/// The elements that matter; everything else, and everything inside it, is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Element {
    Metalink,
    File,
    Size,
    Hash(Option<ChecksumAlgorithm>),
    Pieces,
    PieceHash,
    Url { priority: u32, location: Option<String> },
    Other,
}

#[derive(Default)]
struct Builder {
    open: Vec<Element>,
    text: String,
    files: Vec<MetalinkFile>,
}

impl Builder {
    fn open(
        &mut self,
        is_ours: bool,
        namespace: &ResolveResult,
        start: &BytesStart,
    ) -> Result<(), MetalinkError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(MetalinkError::TooDeep);
        }
        self.text.clear();
        let local = start.local_name();
        let element = match (self.open.last(), local.as_ref()) {
            (None, b"metalink") if is_ours => Element::Metalink,
            (None, b"metalink") if matches!(namespace, ResolveResult::Bound(Namespace(found)) if found.ends_with(b"metalinker.org/")) =>
            {
                return Err(MetalinkError::Version3);
            }
            (None, _) => return Err(MetalinkError::NotMetalink),
            _ if !is_ours => Element::Other,
            (Some(Element::Metalink), b"file") => self.open_file(start)?,
            (Some(Element::File), b"size") => Element::Size,
            (Some(Element::File), b"hash") => Element::Hash(algorithm(start)?),
            (Some(Element::File), b"pieces") => self.open_pieces(start)?,
            (Some(Element::Pieces), b"hash") => Element::PieceHash,
            (Some(Element::File), b"url") => {
                let priority = match attribute(start, "priority")? {
                    Some(text) => text
                        .trim()
                        .parse()
                        .ok()
                        .filter(|priority| (1..=PRIORITY_LAST).contains(priority))
                        .ok_or(MetalinkError::Value { element: "priority", value: text })?,
                    None => PRIORITY_LAST,
                };
                let location = attribute(start, "location")?.map(|text| text.to_ascii_lowercase());
                Element::Url { priority, location }
            }
            _ => Element::Other,
        };
        self.open.push(element);
        Ok(())
    }

    fn open_file(&mut self, start: &BytesStart) -> Result<Element, MetalinkError> {
        if self.files.len() >= FILES_MAX {
            return Err(MetalinkError::TooMany { what: "files", limit: FILES_MAX });
        }
        let name = attribute(start, "name")?.unwrap_or_default();
        self.files.push(MetalinkFile {
            name: names::sanitize(&name),
            size: None,
            hashes: Vec::new(),
            pieces: None,
            urls: Vec::new(),
        });
        Ok(Element::File)
    }

    /// The first list of pieces in a known algorithm counts.
    fn open_pieces(&mut self, start: &BytesStart) -> Result<Element, MetalinkError> {
        let Some(algorithm) = algorithm(start)? else { return Ok(Element::Other) };
        if self.file().pieces.is_some() {
            return Ok(Element::Other);
        }
        let text = attribute(start, "length")?.unwrap_or_default();
        let length = text
            .trim()
            .parse()
            .ok()
            .filter(|length| *length > 0)
            .ok_or(MetalinkError::Value { element: "pieces", value: text })?;
        self.file().pieces = Some(MetalinkPieces { algorithm, length, hashes: Vec::new() });
        Ok(Element::Pieces)
    }

    fn close(&mut self) -> Result<(), MetalinkError> {
        let element = self.open.pop().ok_or_else(|| xml("an element ends that never began"))?;
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        match element {
            Element::Size => {
                let size = text
                    .parse()
                    .map_err(|_| MetalinkError::Value { element: "size", value: text.to_owned() })?;
                self.file().size = Some(size);
            }
            Element::Hash(Some(algorithm)) => {
                let hex = digest(algorithm, text)?;
                self.file().hashes.push(Checksum { algorithm, hex });
            }
            Element::PieceHash => {
                if let Some(pieces) = &mut self.file().pieces {
                    pieces.hashes.push(digest(pieces.algorithm, text)?);
                }
            }
            Element::Url { priority, location } => {
                if self.file().urls.len() >= URLS_PER_FILE_MAX {
                    return Err(MetalinkError::TooMany { what: "URLs for a file", limit: URLS_PER_FILE_MAX });
                }
                if let Ok(url) = Url::parse(text) {
                    self.file().urls.push(MetalinkUrl { url, priority, location });
                }
            }
            Element::Metalink | Element::File | Element::Hash(None) | Element::Pieces | Element::Other => {}
        }
        Ok(())
    }

    fn file(&mut self) -> &mut MetalinkFile {
        self.files.last_mut().expect("the elements of a file are only recognised inside one")
    }

    fn finish(mut self) -> Result<Metalink, MetalinkError> {
        if !self.open.is_empty() {
            return Err(xml("the document ends before its elements do"));
        }
        if self.files.is_empty() {
            return Err(MetalinkError::Empty);
        }
        for file in &mut self.files {
            file.urls.sort_by_key(|url| url.priority);
            file.hashes.sort_by_key(|hash| strength(hash.algorithm));
            if let (Some(size), Some(pieces)) = (file.size, &file.pieces)
                && size.div_ceil(pieces.length) != pieces.hashes.len() as u64
            {
                let value = format!("{} hashes of {} bytes for {size}", pieces.hashes.len(), pieces.length);
                return Err(MetalinkError::Value { element: "pieces", value });
            }
        }
        Ok(Metalink { files: self.files })
    }
}

const fn strength(algorithm: ChecksumAlgorithm) -> u8 {
    match algorithm {
        ChecksumAlgorithm::Sha512 => 0,
        ChecksumAlgorithm::Sha256 => 1,
        ChecksumAlgorithm::Blake3 => 2,
        ChecksumAlgorithm::Sha1 => 3,
        ChecksumAlgorithm::Md5 => 4,
    }
}

/// The hash function that `type` names (RFC 5854 section 4.2.6.1); `None` for one we do not know.
fn algorithm(start: &BytesStart) -> Result<Option<ChecksumAlgorithm>, MetalinkError> {
    Ok(match attribute(start, "type")?.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "sha-256" => Some(ChecksumAlgorithm::Sha256),
        "sha-512" => Some(ChecksumAlgorithm::Sha512),
        "sha-1" => Some(ChecksumAlgorithm::Sha1),
        "md5" => Some(ChecksumAlgorithm::Md5),
        _ => None,
    })
}

fn digest(algorithm: ChecksumAlgorithm, text: &str) -> Result<String, MetalinkError> {
    if text.len() == algorithm.length() * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(MetalinkError::Value { element: "hash", value: text.to_owned() })
    }
}

fn attribute(start: &BytesStart, name: &str) -> Result<Option<String>, MetalinkError> {
    let Some(found) = start.try_get_attribute(name).map_err(xml)? else { return Ok(None) };
    found.unescape_value().map(|value| Some(value.into_owned())).map_err(xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn document(inside: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">\
             <published>2009-05-15T12:23:23Z</published>{inside}</metalink>"
        )
    }

    fn parse_file(inside: &str) -> Result<MetalinkFile, MetalinkError> {
        parse(document(&format!("<file name=\"example.ext\">{inside}</file>")).as_bytes())
            .map(|mut metalink| metalink.files.remove(0))
    }

    #[test]
    fn a_whole_document_is_read() {
        let file = parse_file(&format!(
            "<size> 7 </size><identity>Example</identity><description>A &lt;b&gt; <i>nested</i></description>
             <hash type=\"md5\">098F6BCD4621D373CADE4E832627B4F6</hash><hash type='sha-256'>\n{SHA256}\n</hash>
             <hash type='whirlpool'>zz</hash>
             <pieces length='4' type='sha-256'><hash>{SHA256}</hash><hash>{SHA256}</hash></pieces>
             <pieces length='4' type='sha-1'/>
             <url>ftp://c.example/x</url>
             <url location='DE' priority='2'>http://b.example/x?a=1&amp;b=&#x32;</url>
             <url priority='1'><![CDATA[https://a.example/x]]></url>
             <url priority='1'>not a url</url>
             <metaurl mediatype='torrent'>http://example/x.torrent</metaurl>"
        ))
        .unwrap();
        assert_eq!(file.name, "example.ext");
        assert_eq!(file.size, Some(7));
        let words: Vec<_> = file.hashes.iter().map(ToString::to_string).collect();
        assert_eq!(words, [format!("sha256:{SHA256}"), "md5:098f6bcd4621d373cade4e832627b4f6".to_owned()]);
        assert_eq!(file.pieces.unwrap().hashes.len(), 2);
        let urls: Vec<_> = file.urls.iter().map(|url| (url.url.as_str(), url.priority)).collect();
        assert_eq!(
            urls,
            [("https://a.example/x", 1), ("http://b.example/x?a=1&b=2", 2), ("ftp://c.example/x", 999_999)]
        );
        assert_eq!(file.urls[1].location.as_deref(), Some("de"));
    }

    #[test]
    fn prefixes_of_the_namespace_do_not_matter() {
        let text = "<m:metalink xmlns:m='urn:ietf:params:xml:ns:metalink'><m:file name='x'><m:size>1</m:size>\
                    <other:size xmlns:other='urn:x'>2</other:size></m:file></m:metalink>";
        assert_eq!(parse(text.as_bytes()).unwrap().files[0].size, Some(1));
    }

    #[test]
    fn fault_084_names_with_paths_are_sanitised() {
        for (name, expected) in [
            ("../../.ssh/authorized_keys", "authorized_keys"),
            ("/etc/cron.d/x", "x"),
            ("a/b/c.iso", "c.iso"),
            ("..&#x2f;..&#47;.bashrc", "bashrc"),
            ("..", "download"),
            ("", "download"),
        ] {
            let text = document(&format!("<file name=\"{name}\"/>"));
            assert_eq!(parse(text.as_bytes()).unwrap().files[0].name, expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_metalink_4_is_refused() {
        for (text, error) in [
            ("<metalink version='3.0' xmlns='http://www.metalinker.org/'/>", MetalinkError::Version3),
            ("<metalink/>", MetalinkError::NotMetalink),
            ("<html><body/></html>", MetalinkError::NotMetalink),
            ("<metalink xmlns='urn:ietf:params:xml:ns:metalink'/>", MetalinkError::Empty),
            ("", MetalinkError::Empty),
            ("just text", MetalinkError::Empty),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), error, "{text}");
        }
        for text in
            ["<metalink xmlns='urn:ietf:params:xml:ns:metalink'>", "<a></b>", "<metalink", "</metalink>"]
        {
            assert!(
                matches!(parse(text.as_bytes()), Err(MetalinkError::Xml(_) | MetalinkError::NotMetalink)),
                "{text}"
            );
        }
        assert_eq!(parse(&vec![b' '; DOCUMENT_BYTES_MAX + 1]).unwrap_err(), MetalinkError::TooLarge);
    }

    #[test]
    fn malformed_values_are_refused() {
        for inside in [
            "<size>-1</size>",
            "<size>1e3</size>",
            "<hash type='sha-256'>abc</hash>",
            "<url priority='0'>http://a/</url>",
            "<url priority='1000000'>http://a/</url>",
            "<pieces type='sha-1' length='0'/>",
            "<size>9</size><pieces type='sha-256' length='4'/>",
        ] {
            assert!(matches!(parse_file(inside), Err(MetalinkError::Value { .. })), "{inside}");
        }
    }

    #[test]
    fn entities_and_depth_are_bounded() {
        let bomb = "<!DOCTYPE m [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><metalink/>";
        assert_eq!(parse(bomb.as_bytes()).unwrap_err(), MetalinkError::DocumentType);
        assert_eq!(parse_file("<size>&b;</size>").unwrap_err(), MetalinkError::DocumentType);
        let deep = document(&format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000)));
        assert_eq!(parse(deep.as_bytes()).unwrap_err(), MetalinkError::TooDeep);
        let many = document(&"<file name='x'/>".repeat(FILES_MAX + 1));
        assert!(matches!(parse(many.as_bytes()), Err(MetalinkError::TooMany { .. })));
        let urls = "<url>http://a/</url>".repeat(URLS_PER_FILE_MAX + 1);
        assert!(matches!(parse_file(&urls), Err(MetalinkError::TooMany { .. })));
    }
}
