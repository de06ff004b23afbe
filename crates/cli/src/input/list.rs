//! Lists of addresses: one a line, with options behind tabs or, as other programs write them, on indented lines below.

use std::path::PathBuf;

use crate::input::source::{Source, parse_url};
use crate::measure::parse_bytes;
use crate::trouble::Trouble;

/// Reads a list. A line is an address and, each behind a tab, `out=`, `dir=`, `checksum=`, `size=`, `mirror=` (any
/// number) and `label=`. A line that begins with a blank has options for the address above it. Empty lines and lines
/// that begin with `#` say nothing.
pub(crate) fn parse(text: &str, name: &str) -> Result<Vec<Source>, Trouble> {
    let mut sources: Vec<Source> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        parse_line(line, &mut sources).map_err(|mut trouble| {
            trouble.message = format!("{name} line {}: {}", index + 1, trouble.message);
            trouble
        })?;
    }
    Ok(sources)
}

fn parse_line(line: &str, sources: &mut Vec<Source>) -> Result<(), Trouble> {
    let mut fields = line.split('\t').map(str::trim).filter(|field| !field.is_empty());
    if !line.starts_with([' ', '\t']) {
        sources.push(Source::parse(fields.next().unwrap_or_default())?);
    }
    match sources.last_mut() {
        Some(source) => set_options(source, fields),
        None => Err(Trouble::usage("there is no address above these options")),
    }
}

fn set_options<'a>(source: &mut Source, fields: impl Iterator<Item = &'a str>) -> Result<(), Trouble> {
    for field in fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Trouble::usage(format!("{field:?} is not an option such as out=NAME")))?;
        match key {
            "out" => source.output = Some(PathBuf::from(value)),
            "dir" => source.folder = Some(PathBuf::from(value)),
            "checksum" => source.checksum = Some(value.parse().map_err(Trouble::usage)?),
            "size" => source.size = Some(parse_bytes(value).map_err(Trouble::usage)?),
            "mirror" => source.mirrors.push(parse_url(value)?),
            "label" => source.label = Some(value.to_owned()),
            _ => {
                return Err(Trouble::usage(format!(
                    "{key:?} is not one of out, dir, checksum, size, mirror, label"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_options() {
        let sha = "ab".repeat(32);
        let text = format!(
            "# films\nhttps://example.org/a b.mkv\r\n\n\
             https://example.org/c\tout=c.mkv\tdir=films\tmirror=http://other.example/c\tmirror=http://third.example/c\t\
             checksum=sha256:{sha}\n  size=2k\n\tlabel=x=y\n"
        );
        let sources = parse(&text, "list").unwrap();
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].url.as_str(), "https://example.org/a%20b.mkv");
        let second = &sources[1];
        assert_eq!(second.output, Some(PathBuf::from("c.mkv")));
        assert_eq!(second.folder, Some(PathBuf::from("films")));
        assert_eq!(second.mirrors.len(), 2);
        assert_eq!(second.checksum.as_ref().unwrap().to_string(), format!("sha256:{sha}"));
        assert_eq!((second.size, second.label.as_deref()), (Some(2048), Some("x=y")));
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, word) in [
            ("https://example.org/\nexample.org", "no scheme"),
            ("\nhttps://example.org/\tname", "not an option"),
            ("#\n  out=name", "no address above"),
            ("#\nhttps://example.org/\tcolour=red", "colour"),
            ("#\nhttps://example.org/\tchecksum=abc", "algorithm"),
        ] {
            let message = parse(text, "my list").unwrap_err().message;
            assert!(message.starts_with("my list line 2: ") && message.contains(word), "{message}");
        }
    }
}
