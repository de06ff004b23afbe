//! One file to download, wherever its description came from.

use std::path::{Path, PathBuf};

use longhaul_contract::{Checksum, Credential, Scheme, Secret, address};
use url::Url;

use crate::exit::Exit;
use crate::trouble::Trouble;

/// One file to download; what is `None` follows from the command's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) url: Url,
    pub(crate) mirrors: Vec<Url>,
    /// From the userinfo of the address, which is never sent on as part of it.
    pub(crate) credential: Option<Credential>,
    /// File name, or path relative to the folder.
    pub(crate) output: Option<PathBuf>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) checksum: Option<Checksum>,
    /// Bytes.
    pub(crate) size: Option<u64>,
    pub(crate) label: Option<String>,
    /// Whether it may get the headers and credentials of the command line.
    pub(crate) is_trusted: bool,
}

impl Source {
    pub(crate) fn of(url: Url) -> Self {
        Self {
            url,
            mirrors: Vec::new(),
            credential: None,
            output: None,
            folder: None,
            checksum: None,
            size: None,
            label: None,
            is_trusted: true,
        }
    }

    /// Reads an address; a user and password in it become the credential.
    pub(crate) fn parse(text: &str) -> Result<Self, Trouble> {
        let mut url = parse_url(text)?;
        let credential = if url.username().is_empty() && url.password().is_none() {
            None
        } else {
            let credential = Credential {
                user: decoded(url.username()),
                password: Secret::new(decoded(url.password().unwrap_or_default())),
            };
            // Addresses with a host, which these are, can do without.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            Some(credential)
        };
        Ok(Self { credential, ..Self::of(url) })
    }
}

/// An absolute address with a scheme that files can be fetched by. One without scheme is taken for https where it looks like a host.
pub(crate) fn parse_url(text: &str) -> Result<Url, Trouble> {
    let refuse = |why: &str| Trouble::usage(format!("{text:?} is not an address: {why}"));
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            return Err(refuse("it has no scheme").advise(format!("Write https://{text}")));
        }
        Err(error) => return Err(refuse(&error.to_string())),
    };
    if Scheme::of(&url).is_none() {
        return Err(refuse(&format!("the scheme {} is not supported", url.scheme()))
            .advise("Use http, https, ftp, ftps or ftpes."));
    }
    if address::host(&url).is_none() {
        return Err(refuse("it names no host"));
    }
    Ok(url)
}

pub(crate) fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The path to ask the service for: absolute, without `..` and symbolic links in its folder. A folder ends in `/`.
pub(crate) fn result_file(folder: Option<&Path>, output: Option<&Path>) -> Result<String, Trouble> {
    let folder = match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|error| Trouble::file(folder, &error))?;
            folder
        }
        None => Path::new("."),
    };
    let Some(output) = output else {
        return Ok(text_of(&canonical(folder)?)? + "/");
    };
    let path = folder.join(output);
    let Some(name) = path.file_name() else {
        return Err(Trouble::usage(format!("{} does not name a file", output.display()))
            .advise("Name a folder with -d."));
    };
    if path.is_dir() {
        return Err(Trouble::new(Exit::LocalFile, format!("{} is a folder", path.display()))
            .advise("Name a folder with -d."));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    text_of(&canonical(parent)?.join(name))
}

fn canonical(folder: &Path) -> Result<PathBuf, Trouble> {
    std::fs::canonicalize(folder).map_err(|error| Trouble::file(folder, &error))
}

fn text_of(path: &Path) -> Result<String, Trouble> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Trouble::new(
            Exit::LocalFile,
            format!("the path {} is not UTF-8, which the service needs", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_leaves_the_address() {
        let source = Source::parse("https://ann:s%40fe@example.org/a?b#c").unwrap();
        assert_eq!(source.url.as_str(), "https://example.org/a?b#c");
        let credential = source.credential.unwrap();
        assert_eq!((credential.user.as_str(), credential.password.reveal()), ("ann", "s@fe"));
        assert_eq!(Source::parse("https://example.org/").unwrap().credential, None);
    }

    #[test]
    fn addresses_are_absolute_and_of_a_known_scheme() {
        for good in ["http://example.org/a", "ftp://example.org/a", "ftps://127.0.0.1/a", "ftpes://[::1]/a"] {
            assert_eq!(parse_url(good).unwrap().as_str(), good);
        }
        for bad in [
            "example.org/a",
            "sftp://example.org/",
            "ftps:///a",
            "file:///etc/passwd",
            "https://",
            "http://[::1",
            "",
        ] {
            assert_eq!(parse_url(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn result_files_are_absolute_and_plain() {
        let root = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(root.path()).unwrap();
        let real = root.join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, root.join("link")).unwrap();
        let expected = |name: &str| real.join(name).to_str().unwrap().to_owned();
        assert_eq!(result_file(Some(&root.join("link/../link")), None).unwrap(), expected(""));
        assert_eq!(
            result_file(Some(&root.join("link")), Some(Path::new("a.bin"))).unwrap(),
            expected("a.bin")
        );
        assert_eq!(result_file(Some(&root.join("real/new")), None).unwrap(), expected("new/"));
        assert!(real.join("new").is_dir());
        for bad in ["new", "missing/a.bin"] {
            assert_eq!(
                result_file(Some(&real), Some(Path::new(bad))).unwrap_err().exit,
                Exit::LocalFile,
                "{bad}"
            );
        }
        assert_eq!(result_file(Some(&real), Some(Path::new(".."))).unwrap_err().exit, Exit::Usage);
    }
}
