//! Metalink 4 documents as sources.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use longhaul_contract::{Scheme, metalink};

use crate::exit::Exit;
use crate::input::source::Source;
use crate::trouble::Trouble;

/// Whether the text names a Metalink document rather than an address.
pub(crate) fn is_document(text: &str) -> bool {
    let path = Path::new(text);
    has_ending(path) && !text.contains("://") && path.exists()
}

/// Whether the path, of a file or of an address, ends as Metalink documents do.
pub(crate) fn has_ending(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("meta4") || ending.eq_ignore_ascii_case("metalink"))
}

/// The files that the document lists.
pub(crate) fn read(path: &Path) -> Result<Vec<Source>, Trouble> {
    let mut document = Vec::new();
    let limit = metalink::DOCUMENT_BYTES_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut document))
        .map_err(|error| Trouble::file(path, &error))?;
    sources(&document, &path.to_string_lossy())
}

/// `name` is that of the document, for messages.
pub(crate) fn sources(document: &[u8], name: &str) -> Result<Vec<Source>, Trouble> {
    let metalink =
        metalink::parse(document).map_err(|error| Trouble::new(Exit::Usage, format!("{name}: {error}")))?;
    metalink.files.into_iter().map(|file| source(file, name)).collect()
}

fn source(file: metalink::MetalinkFile, name: &str) -> Result<Source, Trouble> {
    let mut urls = file.urls.into_iter().map(|listed| listed.url).filter(|url| Scheme::of(url).is_some());
    let Some(url) = urls.next() else {
        return Err(Trouble::usage(format!(
            "{name}: {} has no address of a scheme that can be used",
            file.name
        )));
    };
    Ok(Source {
        mirrors: urls.collect(),
        output: Some(PathBuf::from(file.name)),
        checksum: file.hashes.into_iter().next(),
        size: file.size,
        ..Source::of(url)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_file_has_mirrors_size_and_its_best_hash() {
        let sha256 = "ab".repeat(32);
        let document = format!(
            r#"<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="film.mkv"><size>42</size>
            <hash type="sha-1">{}</hash><hash type="sha-256">{sha256}</hash>
            <url priority="2">http://second.example/film.mkv</url><url>ftp://third.example/film.mkv</url>
            <url priority="1">https://first.example/film.mkv</url></file></metalink>"#,
            "cd".repeat(20)
        );
        let sources = sources(document.as_bytes(), "x.meta4").unwrap();
        let [source] = sources.as_slice() else { panic!("{sources:?}") };
        assert_eq!(source.url.as_str(), "https://first.example/film.mkv");
        assert_eq!(
            source.mirrors.iter().map(url::Url::as_str).collect::<Vec<_>>(),
            ["http://second.example/film.mkv", "ftp://third.example/film.mkv"]
        );
        assert_eq!(source.checksum.as_ref().unwrap().to_string(), format!("sha256:{sha256}"));
        assert_eq!((source.size, source.output.as_deref()), (Some(42), Some(Path::new("film.mkv"))));
    }

    #[test]
    fn a_document_that_is_none_is_named() {
        let trouble = sources(b"<html/>", "x.meta4").unwrap_err();
        assert!(trouble.message.starts_with("x.meta4: "), "{trouble}");
    }
}
