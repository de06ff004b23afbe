//! Request headers from the command line.

use std::path::Path;

use longhaul_contract::{RequestHeader, Secret};

use crate::trouble::Trouble;

/// Reads `Name: value`, or with `@FILE` one header a line of that file, so that secrets need not stand on the command
/// line.
pub(crate) fn parse(given: &[String]) -> Result<Vec<RequestHeader>, Trouble> {
    let mut headers = Vec::new();
    for text in given {
        match text.strip_prefix('@') {
            None => headers.push(parse_one(text)?),
            Some(file) => {
                let path = Path::new(file);
                let lines = std::fs::read_to_string(path).map_err(|error| Trouble::file(path, &error))?;
                for line in lines.lines().filter(|line| !line.trim().is_empty()) {
                    headers.push(parse_one(line)?);
                }
            }
        }
    }
    Ok(headers)
}

fn parse_one(text: &str) -> Result<RequestHeader, Trouble> {
    // What is wrong may be a secret: the message does not repeat it.
    let (name, value) = text
        .split_once(':')
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or_else(|| Trouble::usage("a header is written as \"Name: value\""))?;
    Ok(RequestHeader { name: name.trim().to_owned(), value: Secret::new(value.trim()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_from_arguments_and_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "X-Key: a:b\n\nX-Other:c\n").unwrap();
        let given = ["Accept: text/html".to_owned(), format!("@{}", file.path().display())];
        let headers = parse(&given).unwrap();
        let seen: Vec<_> =
            headers.iter().map(|header| (header.name.as_str(), header.value.reveal())).collect();
        assert_eq!(seen, [("Accept", "text/html"), ("X-Key", "a:b"), ("X-Other", "c")]);
    }

    #[test]
    fn a_malformed_header_is_not_repeated() {
        for bad in ["secret-without-a-name", ": secret"] {
            let trouble = parse(&[bad.to_owned()]).unwrap_err();
            assert!(!trouble.message.contains("secret"), "{trouble}");
        }
    }
}
