//! A long queue: what it weighs, how fast the service starts with it, how fast a page of it comes, and whether a
//! creation still costs the same. Beside it aria2 with the same list.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use longhaul_lab::process::{program, spawn};
use longhaul_lab::service::free_address;
use longhaul_lab::{Endpoint, Service, wait_until};
use serde_json::json;

use crate::bench::Bench;
use crate::contender::Tool;
use crate::meter::Watched;
use crate::report::{Bound, Metric, Report};
use crate::rows::creations;
use crate::service::{self, Connection};

const METRICS: &[Metric] = &[
    Metric::new("memory a queued operation", "B", 0).goals(Bound::AtMost(1024.0), Bound::AtMost(200.0)),
    Metric::new("start", "s", 3).goals(Bound::AtMost(1.0), Bound::AtMost(0.2)),
    Metric::new("first list page", "ms", 2).goals(Bound::AtMost(20.0), Bound::AtMost(5.0)),
    Metric::new("p50 of a creation, empty queue", "ms", 3),
    Metric::new("p50 of a creation, full queue", "ms", 3),
];
const START_DEADLINE: Duration = Duration::from_mins(2);

pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Report>> {
    let count = bench.scaled(100_000);
    let folder = bench.results("queue")?;
    let mut report = Report::new(format!("{count} queued operations"), METRICS);
    for round in 0..bench.rounds().min(3) {
        for tool in bench.turns(&[Tool::Longhaul, Tool::Aria2]) {
            bench.settle()?;
            let values = match tool {
                Tool::Aria2 => aria2(&folder, count)?,
                _ => longhaul(&folder, count)?,
            };
            report.add(tool, round, values);
        }
    }
    report.note(
        "Memory is what the service's anonymous memory grows by between an empty queue and a start with the full one, \
         divided by the operations. Start is from the spawn to the first answer. aria2 reads the same list, paused, \
         from a file; its start ends when it counts them all.",
    );
    Ok(vec![report])
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes here are far below 2^53")]
fn growth(full: u64, empty: u64, count: u64) -> Option<f64> {
    Some(full.saturating_sub(empty) as f64 / count as f64)
}

fn longhaul(folder: &Path, count: u64) -> Result<Vec<Option<f64>>> {
    let mut service = service::start(None);
    let empty = Watched::new(service.pid()).anonymous()?;
    let mut next = 0;
    let creation_empty = creations::median_creation(&service, folder, 200, &mut next)?;
    creations::queue(&service, folder, count, &mut next)?;
    let creation_full = creations::median_creation(&service, folder, 200, &mut next)?;
    service.stop();
    let started = Instant::now();
    service.launch();
    let start = started.elapsed().as_secs_f64();
    let full = Watched::new(service.pid()).anonymous()?;
    let page = first_page(&service)?;
    Ok(vec![growth(full, empty, next), Some(start), Some(page), creation_empty, creation_full])
}

/// Milliseconds until the first page of the list has come.
fn first_page(service: &Service) -> Result<f64> {
    let mut connection = Connection::open(service)?;
    let started = Instant::now();
    let page = connection.call("GET", "/background-transfers/downloads?limit=100", b"", 200)?;
    let took = started.elapsed().as_secs_f64() * 1e3;
    let page: serde_json::Value = serde_json::from_slice(&page)?;
    page["items"].as_array().filter(|items| !items.is_empty()).context("the first page is empty")?;
    Ok(took)
}

fn aria2(folder: &Path, count: u64) -> Result<Vec<Option<f64>>> {
    let list = folder.join("aria2.list");
    let text: String = (0..count)
        .map(|index| format!("http://127.0.0.1:9/queued/{index}.bin\n out={index}.bin\n"))
        .collect();
    std::fs::write(&list, text)?;
    let launch = |list: Option<&Path>| -> Result<(f64, u64)> {
        let address = free_address();
        let mut command = Command::new(program("aria2c", "aria2"));
        command.args(["--no-conf", "--quiet", "--enable-rpc", "--pause=true"]);
        command.arg(format!("--rpc-listen-port={}", address.port())).arg("--dir").arg(folder);
        if let Some(list) = list {
            command.arg("--input-file").arg(list);
        }
        command.env("HOME", folder).stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let running = spawn(command)?;
        let expected = if list.is_some() { count } else { 0 };
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "aria2.getGlobalStat"});
        wait_until("aria2 has read its list", START_DEADLINE, || {
            let answer = Endpoint::tcp(address).post("/jsonrpc", &call).ok()?.json();
            (answer["result"]["numWaiting"].as_str()? == expected.to_string()).then_some(())
        });
        Ok((started.elapsed().as_secs_f64(), Watched::new(running.pid()).anonymous()?))
    };
    let (_, empty) = launch(None)?;
    let (start, full) = launch(Some(&list))?;
    Ok(vec![growth(full, empty, count), Some(start), None, None, None])
}
