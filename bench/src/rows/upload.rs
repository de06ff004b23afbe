//! One large file sent over loopback.

use std::net::Ipv4Addr;

use anyhow::Result;
use longhaul_lab::Content;

use crate::bench::Bench;
use crate::contender::Tool;
use crate::meter;
use crate::report::{Bound, Metric, Report};
use crate::server::{Server, ServerOptions};
use crate::service;

const METRICS: &[Metric] = &[
    Metric::new("wall", "s", 2).goals(Bound::RatioAtMost(1.0), Bound::RatioAtMost(0.9)),
    Metric::new("CPU", "s", 2).goals(Bound::RatioAtMost(1.0), Bound::RatioAtMost(0.8)),
    Metric::new("peak memory", "MiB", 1).goals(Bound::AtMost(40.0), Bound::AtMost(24.0)),
];

#[expect(clippy::cast_precision_loss, reason = "a few gibibytes fit a double many times over")]
pub(crate) fn measure(bench: &mut Bench, size: u64) -> Result<Report> {
    let size = bench.scaled(size);
    let root = bench.results("upload-root")?;
    let taken = root.join("dav");
    std::fs::create_dir_all(&taken)?;
    let source = bench.results("upload-source")?.join(format!("{size}.bin"));
    let content = Content::new(size, size);
    content.write_to(&source);
    let server =
        Server::start(&root, &ServerOptions { address: Ipv4Addr::LOCALHOST.into(), offers_http2: false })?;
    let service = service::start_if_wanted(bench, None);
    let mut report = Report::new(format!("{} MiB by PUT to nginx", size >> 20), METRICS);
    for round in 0..bench.rounds() {
        for tool in bench.turns(&[Tool::Longhaul, Tool::Curl]) {
            let name = format!("{round}-{tool:?}.bin");
            let url = server.url(&format!("dav/{name}"));
            bench.settle()?;
            meter::touch_memory(size + (256 << 20));
            let (wall, cpu, peak) = if tool == Tool::Longhaul {
                let file = source.display().to_string();
                let both = service::put(service.as_ref(), &[&file, &url])?;
                (both.wall, both.cpu, both.peak)
            } else {
                let used = meter::run_well(&mut tool.send(&source, &url))?;
                (used.wall, used.cpu, used.peak)
            };
            if round == 0 {
                content.assert_file(&taken.join(&name));
            }
            std::fs::File::options().write(true).open(taken.join(&name))?.set_len(0)?;
            let samples = [wall.as_secs_f64(), cpu.as_secs_f64(), peak as f64 / f64::from(1 << 20)];
            report.add(tool, round, samples.map(Some).to_vec());
        }
    }
    report.note(
        "nginx writes the file to its own temporary folder on the same disk and renames it. CPU is user and system time of \
         the sending side, the service and the command line together for Longhaul.",
    );
    Ok(report)
}
