//! One large file over loopback.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use longhaul_lab::{Content, Service};

use crate::bench::Bench;
use crate::contender::Tool;
use crate::meter;
use crate::report::{Bound, Metric, Report};
use crate::server::{Server, ServerOptions};
use crate::service;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

const HTTP: &[Metric] = &[
    Metric::new("wall", "s", 2),
    Metric::new("durable wall", "s", 2).goals(Bound::RatioAtMost(1.0), Bound::RatioAtMost(0.65)),
    Metric::new("CPU", "s", 2).goals(Bound::RatioAtMost(1.0), Bound::RatioAtMost(0.70)),
    Metric::new("peak memory", "MiB", 1).goals(Bound::AtMost(40.0), Bound::AtMost(24.0)),
];
const HTTPS: &[Metric] = &[
    Metric::new("wall", "s", 2),
    Metric::new("durable wall", "s", 2).goals(Bound::RatioAtMost(1.0), Bound::RatioAtMost(0.80)),
    Metric::new("CPU", "s", 2).goals(Bound::RatioAtMost(0.8), Bound::RatioAtMost(0.60)),
    Metric::new("peak memory", "MiB", 1).goals(Bound::AtMost(40.0), Bound::AtMost(24.0)),
];

pub(crate) fn measure(bench: &mut Bench, size: u64, scheme: Scheme) -> Result<Report> {
    let size = bench.scaled(size);
    let root = bench.results("root")?;
    let name = format!("{size}.bin");
    let source = root.join(&name);
    let content = Content::new(size, size);
    if !source.exists() {
        content.write_to(&source);
    }
    let options = ServerOptions { address: Ipv4Addr::LOCALHOST.into(), offers_http2: bench.offers_http2() };
    let server = Server::start(&root, &options)?;
    let (url, certificate, metrics) = match scheme {
        Scheme::Http => (server.url(&name), None, HTTP),
        Scheme::Https => (server.https_url(&name), Some(server.root_certificate()), HTTPS),
    };
    let mut fitting = vec![Tool::Longhaul, Tool::Curl, Tool::Wget2, Tool::Aria2, Tool::Aria2x16];
    if scheme == Scheme::Http {
        fitting.push(Tool::Direct);
    }
    let results = bench.results(&format!("{scheme:?}-{size}"))?;
    let service = service::start_if_wanted(bench, certificate.as_deref());
    let mut report = Report::new(format!("{} MiB over {scheme:?}", size >> 20), metrics);
    for round in 0..bench.rounds() {
        for tool in bench.turns(&fitting) {
            let output = results.join(format!("{round}-{tool:?}.bin"));
            bench.settle()?;
            meter::touch_memory(size + (256 << 20));
            let samples = take(tool, service.as_ref(), &url, &output, certificate.as_deref())?;
            if round == 0 {
                content.assert_file(&output);
            }
            make_room(&output)?;
            report.add(tool, round, samples);
        }
    }
    report.note(
        "Durable wall is the wall time until the bytes are on disk: an fsync follows every contender, and costs those \
         that have synced already next to nothing. CPU is user and system time of all processes of a contender, the \
         service and the command line together for Longhaul. Peak memory is that of the service, or of the peer.",
    );
    Ok(report)
}

/// Fetches, and makes the bytes durable: wall and durable wall seconds, processor seconds, peak MiB.
pub(super) fn take(
    tool: Tool,
    service: Option<&Service>,
    url: &str,
    output: &Path,
    root: Option<&Path>,
) -> Result<Vec<Option<f64>>> {
    let (wall, cpu, peak) = fetch(tool, service, url, output, root)?;
    let durable = wall + meter::sync_file(output)?.as_secs_f64();
    Ok([wall, durable, cpu, peak].map(Some).to_vec())
}

/// The inode stays until the end of the run; its blocks and pages need not.
pub(super) fn make_room(output: &Path) -> Result<()> {
    Ok(std::fs::File::options().write(true).open(output)?.set_len(0)?)
}

/// Wall seconds, processor seconds and peak MiB.
#[expect(clippy::cast_precision_loss, reason = "a few gibibytes fit a double many times over")]
fn fetch(
    tool: Tool,
    service: Option<&Service>,
    url: &str,
    output: &Path,
    root: Option<&Path>,
) -> Result<(f64, f64, f64)> {
    let (wall, cpu, peak) = if tool == Tool::Longhaul {
        let both = service::get(service, &[url, "--output", &output.display().to_string()])?;
        (both.wall, both.cpu, both.peak)
    } else {
        let used = meter::run_well(&mut tool.fetch(url, output, root))?;
        (used.wall, used.cpu, used.peak)
    };
    Ok((wall.as_secs_f64(), cpu.as_secs_f64(), peak as f64 / f64::from(1 << 20)))
}
