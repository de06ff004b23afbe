//! The service under test, and its API over one lasting connection.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use longhaul_lab::{Service, ServiceOptions};
use serde_json::Value;

use crate::bench::Bench;
use crate::contender::Tool;
use crate::meter::{self, Used, Watched};

/// Starts the service, which trusts `root` besides what the machine trusts.
pub(crate) fn start(root: Option<&Path>) -> Service {
    let arguments =
        root.map_or_else(Vec::new, |root| vec!["--ca-certificate".to_owned(), root.display().to_string()]);
    Service::start(ServiceOptions { arguments, ..ServiceOptions::default() })
}

/// The same, where Longhaul is among the contenders that were asked for.
pub(crate) fn start_if_wanted(bench: &Bench, root: Option<&Path>) -> Option<Service> {
    bench.wants(Tool::Longhaul).then(|| start(root))
}

/// What a command cost on both sides: the program that was called and the service that did the work.
pub(crate) struct Both {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// Largest resident size of the service in bytes.
    pub(crate) peak: u64,
}

/// Runs `longhaul get` to its end.
pub(crate) fn get(service: Option<&Service>, arguments: &[&str]) -> Result<Both> {
    run(service, &[&["get"], arguments].concat())
}

/// Runs `longhaul put` to its end.
pub(crate) fn put(service: Option<&Service>, arguments: &[&str]) -> Result<Both> {
    run(service, &[&["put"], arguments].concat())
}

fn run(service: Option<&Service>, arguments: &[&str]) -> Result<Both> {
    let service = service.context("the service was not started")?;
    let watched = Watched::new(service.pid());
    let before = watched.cpu()?;
    watched.reset_peak()?;
    let talk = service.folder().join("command.log");
    let mut command = service.cli(arguments);
    command.stdout(Stdio::null()).stderr(File::create(&talk)?);
    let Used { wall, cpu, status, .. } = meter::run(&mut command)?;
    if !status.success() {
        bail!(
            "longhaul {} ended with {status}\n{}\n{}",
            arguments.join(" "),
            std::fs::read_to_string(&talk)?,
            service.log()
        );
    }
    Ok(Both { wall, cpu: cpu + (watched.cpu()? - before), peak: watched.peak()? })
}

/// One connection to the service that stays open between calls.
pub(crate) struct Connection {
    reader: BufReader<UnixStream>,
}

impl Connection {
    pub(crate) fn open(service: &Service) -> Result<Self> {
        let stream = UnixStream::connect(service.socket()).context("the service does not listen")?;
        stream.set_read_timeout(Some(Duration::from_mins(5)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a call and returns the body of its answer, which must have the status `expected`.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &[u8], expected: u16) -> Result<Vec<u8>> {
        self.call_as("io.longhaul.cli", method, path, body, expected)
    }

    /// The same, in the name of an application.
    pub(crate) fn call_as(
        &mut self,
        app: &str,
        method: &str,
        path: &str,
        body: &[u8],
        expected: u16,
    ) -> Result<Vec<u8>> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nLonghaul-App: {app}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.reader.get_mut().write_all(&request)?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status: u16 = line.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no answer")?;
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        self.reader.read_exact(&mut answer)?;
        if status != expected {
            bail!("{method} {path} answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value, expected: u16) -> Result<Value> {
        Ok(serde_json::from_slice(&self.call("POST", path, body.to_string().as_bytes(), expected)?)?)
    }
}
