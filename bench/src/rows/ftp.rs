//! One large file from vsftpd over loopback.

use anyhow::Result;
use longhaul_lab::Content;
use longhaul_lab::ftp_servers::{FtpKind, FtpMode, FtpServer};

use super::large;
use crate::bench::Bench;
use crate::contender::Tool;
use crate::meter;
use crate::report::{Bound, Metric, Report};
use crate::service;

const METRICS: &[Metric] = &[
    Metric::new("wall", "s", 2),
    Metric::new("durable wall", "s", 2).goals(Bound::RatioAtMost(1.0), Bound::RatioAtMost(0.70)),
    Metric::new("CPU", "s", 2).goals(Bound::RatioAtMost(1.0), Bound::RatioAtMost(0.65)),
    Metric::new("peak memory", "MiB", 1).goals(Bound::AtMost(40.0), Bound::AtMost(24.0)),
];

pub(crate) fn measure(bench: &mut Bench, size: u64) -> Result<Report> {
    let size = bench.scaled(size);
    let content = Content::new(size, size);
    let server = FtpServer::start(FtpKind::Vsftpd, FtpMode::Plain);
    let name = format!("{size}.bin");
    content.write_to(&server.root().join(&name));
    let url = server.url(&format!("/{name}"));
    let results = bench.results(&format!("ftp-{size}"))?;
    let service = service::start_if_wanted(bench, None);
    let mut report = Report::new(format!("{} MiB by FTP", size >> 20), METRICS);
    for round in 0..bench.rounds() {
        for tool in bench.turns(&[Tool::Longhaul, Tool::Curl, Tool::Aria2]) {
            let output = results.join(format!("{round}-{tool:?}.bin"));
            bench.settle()?;
            meter::touch_memory(size + (256 << 20));
            let samples = large::take(tool, service.as_ref(), &url, &output, None)?;
            if round == 0 {
                content.assert_file(&output);
            }
            large::make_room(&output)?;
            report.add(tool, round, samples);
        }
    }
    report.note("From vsftpd, over one data connection each. Durable wall, CPU and peak memory are those of the rows over HTTP.");
    Ok(report)
}
