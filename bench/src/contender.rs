//! Who is measured, and how each is asked for the same work.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use longhaul_lab::process::program;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tool {
    Longhaul,
    Curl,
    Wget2,
    /// As it comes.
    Aria2,
    /// Sixteen connections and reserved space.
    Aria2x16,
    /// A small loop that does only this: receive, and write past the page cache.
    Direct,
    /// A loop of commits of one row.
    Sqlite,
    /// task-spooler, which starts tasks.
    Tsp,
    /// Starts tasks too.
    Pueue,
}

impl Tool {
    pub(crate) const ALL: [Self; 9] = [
        Self::Longhaul,
        Self::Curl,
        Self::Wget2,
        Self::Aria2,
        Self::Aria2x16,
        Self::Direct,
        Self::Sqlite,
        Self::Tsp,
        Self::Pueue,
    ];
    /// Programs that people use, in place of loops that show what the machine can do.
    pub(crate) const PEERS: [Self; 4] = [Self::Curl, Self::Wget2, Self::Aria2, Self::Aria2x16];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Longhaul => "longhaul",
            Self::Curl => "curl",
            Self::Wget2 => "wget2",
            Self::Aria2 => "aria2",
            Self::Aria2x16 => "aria2 -x16",
            Self::Direct => "direct loop",
            Self::Sqlite => "SQLite commit",
            Self::Tsp => "tsp",
            Self::Pueue => "pueue",
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Curl => program("curl", "curl"),
            Self::Wget2 => program("wget2", "wget2"),
            Self::Aria2 | Self::Aria2x16 => program("aria2c", "aria2"),
            Self::Longhaul => longhaul_lab::service::binary(),
            Self::Direct | Self::Sqlite => std::env::current_exe().expect("a running program has a path"),
            Self::Tsp => program("tsp", "task-spooler"),
            Self::Pueue => self.sibling("pueue"),
        }
    }

    /// A program of pueue, which Debian has not: of `PATH`, or of the tools that cargo installs beside the builds.
    pub(crate) fn sibling(self, name: &str) -> PathBuf {
        let this = std::env::current_exe().expect("a running program has a path");
        let tools = this.ancestors().nth(2).map(|target| target.join("tools/bin"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(tools)
            .map(|folder| folder.join(name))
            .find(|found| found.is_file())
            .unwrap_or_else(|| {
                panic!("{} is missing: cargo install pueue --locked --root target/tools", self.name())
            })
    }

    /// The first line of what the program says of itself.
    pub(crate) fn version(self) -> Result<String> {
        let output =
            Command::new(self.program()).arg("--version").output().context("a peer cannot be run")?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// A peer with its quiet basic options, without configuration files of the caller.
    fn command(self, home: &Path) -> Command {
        let mut command = Command::new(self.program());
        match self {
            Self::Curl => command.args(["--disable", "--silent", "--show-error", "--fail"]),
            Self::Wget2 => command.args(["--no-config", "--quiet", "--no-hsts"]),
            Self::Aria2 => command.args(["--no-conf", "--quiet", "--allow-overwrite=true"]),
            Self::Aria2x16 => command.args([
                "--no-conf",
                "--quiet",
                "--allow-overwrite=true",
                "--max-connection-per-server=16",
                "--split=16",
                "--min-split-size=1M",
                "--file-allocation=falloc",
            ]),
            Self::Longhaul | Self::Direct | Self::Sqlite | Self::Tsp | Self::Pueue => &mut command,
        };
        command.env("HOME", home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// One file sent by curl, the one peer that sends files.
    pub(crate) fn send(self, source: &Path, url: &str) -> Command {
        let mut command = self.command(source.parent().unwrap_or(Path::new(".")));
        command.arg("--upload-file").arg(source).arg(url);
        command
    }

    /// One file by a peer. `root` is the certificate that the server's is signed with.
    pub(crate) fn fetch(self, url: &str, output: &Path, root: Option<&Path>) -> Command {
        let folder = output.parent().unwrap_or(Path::new("."));
        let mut command = self.command(folder);
        match self {
            Self::Curl => command.arg("--output").arg(output),
            Self::Wget2 => command.arg("--output-document").arg(output),
            Self::Aria2 | Self::Aria2x16 => {
                command.arg("--dir").arg(folder).arg("--out").arg(output.file_name().unwrap_or_default())
            }
            Self::Direct => {
                let (address, path) = split(url);
                command.arg("direct").arg(address).arg(path).arg(output);
                return command;
            }
            Self::Longhaul | Self::Sqlite | Self::Tsp | Self::Pueue => {
                unreachable!("{} is no peer", self.name())
            }
        };
        if let Some(root) = root {
            let option = if self == Self::Curl { "--cacert" } else { "--ca-certificate" };
            command.arg(option).arg(root);
        }
        command.arg(url);
        command
    }

    /// Goes on with a file of which a part is there.
    pub(crate) fn resume(self, url: &str, output: &Path) -> Command {
        let mut command = self.fetch(url, output, None);
        match self {
            Self::Curl => command.args(["--continue-at", "-"]),
            Self::Wget2 | Self::Aria2 | Self::Aria2x16 => command.arg("--continue"),
            Self::Longhaul | Self::Direct | Self::Sqlite | Self::Tsp | Self::Pueue => {
                unreachable!("{} is no peer", self.name())
            }
        };
        command
    }

    /// Many files into one folder, each under the last part of its address.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(crate) fn fetch_all(self, urls: &[String], folder: &Path, list: &Path) -> Result<Command> {
        let mut command = self.command(folder);
        let mut text = String::new();
        for url in urls {
            match self {
                Self::Curl => {
                    let name = url.rsplit('/').next().unwrap_or_default();
                    text.push_str(&format!(
                        "url = \"{url}\"\noutput = \"{}\"\n",
                        folder.join(name).display()
                    ));
                }
                _ => text.push_str(&format!("{url}\n")),
            }
        }
        std::fs::write(list, text)?;
        match self {
            Self::Curl => command.args(["--parallel", "--parallel-max", "16", "--config"]).arg(list),
            Self::Wget2 => command
                .args(["--max-threads=16", "--directory-prefix"])
                .arg(folder)
                .arg("--input-file")
                .arg(list),
            Self::Aria2 | Self::Aria2x16 => command
                .args(["--max-concurrent-downloads=16", "--dir"])
                .arg(folder)
                .arg("--input-file")
                .arg(list),
            Self::Longhaul | Self::Direct | Self::Sqlite | Self::Tsp | Self::Pueue => {
                unreachable!("{} is no peer", self.name())
            }
        };
        Ok(command)
    }
}

/// Address and path of a plain URL.
fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}
