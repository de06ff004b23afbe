//! Bytes fetched again after kill -9.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use longhaul_lab::process::spawn;
use longhaul_lab::{Content, wait_until};
use rand::Rng;
use serde_json::json;

use crate::bench::Bench;
use crate::contender::Tool;
use crate::line::Line;
use crate::report::{Bound, Metric, Report};
use crate::server::{Server, ServerOptions};
use crate::service::{self, Connection};

const METRICS: &[Metric] = &[
    Metric::new("bytes fetched again for each kill", "MiB", 2)
        .goals(Bound::AtMost(32.0), Bound::AtMost(16.0)),
    Metric::new("share of the file fetched again", "%", 2),
];
const SIZE: u64 = 512 << 20;
const RATE: u64 = 50 << 20;
const KILLS: u64 = 4;
const DEADLINE: Duration = Duration::from_mins(5);

pub(crate) fn measure(bench: &mut Bench) -> Result<Report> {
    let size = bench.scaled(SIZE);
    let root = bench.results("root")?;
    let content = Content::new(size, size);
    let name = format!("{size}.bin");
    if !root.join(&name).exists() {
        content.write_to(&root.join(&name));
    }
    let options = ServerOptions { address: Ipv4Addr::LOCALHOST.into(), offers_http2: false };
    let server = Server::start(&root, &options)?;
    let results = bench.results("interrupted")?;
    let mut report = Report::new(format!("{} MiB at 50 MiB/s, {KILLS} times kill -9", size >> 20), METRICS);
    for round in 0..bench.rounds() {
        for tool in bench.turns(&[Tool::Longhaul, Tool::Curl, Tool::Wget2, Tool::Aria2]) {
            let line = Line::start(server.address(), RATE)?;
            let output = results.join(format!("{round}-{tool:?}.bin"));
            // One kill somewhere in each part of the file, the last of which is left alone.
            let part = size / (KILLS + 1);
            let deaths: Vec<u64> =
                (0..KILLS).map(|index| index * part + bench.random().random_range(part / 4..part)).collect();
            match tool {
                Tool::Longhaul => longhaul(&line, &name, &output, &deaths)?,
                _ => peer(tool, &line, &name, &output, &deaths)?,
            }
            content.assert_file(&output);
            let again = float(line.carried().saturating_sub(size));
            report.add(
                tool,
                round,
                vec![Some(again / float(KILLS << 20)), Some(100.0 * again / float(size))],
            );
        }
    }
    report.note(
        "Counted on the line, all connections together. What lay in the sockets when the process died counts too and is \
         fetched again by everybody. curl and wget2 were told to go on with what is there, and trust it without a check.",
    );
    Ok(report)
}

#[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn longhaul(line: &Line, name: &str, output: &Path, deaths: &[u64]) -> Result<()> {
    let mut service = service::start(None);
    let path = "/background-transfers/downloads";
    let body = json!({"requestedUri": line.url(name), "resultFile": output});
    let operation = Connection::open(&service)?.post(path, &body, 201)?;
    let id = operation["id"].as_str().context("an operation has an id")?.to_owned();
    for death in deaths {
        wait_until("the next kill", DEADLINE, || (line.carried() >= *death).then_some(()));
        service.kill();
        service.launch();
    }
    wait_until("the download", DEADLINE, || {
        let answer = service.api().get(&format!("{path}/{id}")).ok()?.json();
        (answer["status"] == "Completed").then_some(())
    });
    Ok(())
}

fn peer(tool: Tool, line: &Line, name: &str, output: &Path, deaths: &[u64]) -> Result<()> {
    let url = line.url(name);
    let mut running = spawn(tool.fetch(&url, output, None))?;
    for death in deaths {
        wait_until("the next kill", DEADLINE, || {
            (line.carried() >= *death || running.has_ended().is_some()).then_some(())
        });
        running.kill();
        running = spawn(tool.resume(&url, output))?;
    }
    running.wait(DEADLINE);
    Ok(())
}
