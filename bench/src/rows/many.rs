//! Many small files over loopback.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use longhaul_lab::Content;

use crate::bench::Bench;
use crate::contender::Tool;
use crate::meter;
use crate::report::{Bound, Metric, Report};
use crate::server::{Server, ServerOptions};
use crate::service;

const METRICS: &[Metric] = &[
    Metric::new("wall", "s", 2),
    Metric::new("durable wall", "s", 2)
        .goals(Bound::TimesOf(Tool::Aria2, 0.5), Bound::TimesOf(Tool::Aria2, 0.15)),
    Metric::new("CPU", "s", 2),
    Metric::new("peak memory", "MiB", 1),
    Metric::new("durable files a second", "", 0).larger_is_better(),
];

/// Each file takes its bytes from a seed of its own.
fn content(index: u64, size: u64) -> Content {
    Content::new(index + 1, size)
}

pub(crate) fn measure(bench: &mut Bench, count: u64, size: u64) -> Result<Report> {
    let count = bench.scaled(count);
    let sources = format!("root/{size}");
    let root = bench.results(&sources)?;
    let names: Vec<String> = (0..count).map(|index| format!("{index:06}.bin")).collect();
    for (index, name) in (0..).zip(&names) {
        content(index, size).write_to(&root.join(name));
    }
    let options = ServerOptions { address: Ipv4Addr::LOCALHOST.into(), offers_http2: false };
    let server = Server::start(&root, &options)?;
    let urls: Vec<String> = names.iter().map(|name| server.url(name)).collect();
    let service = service::start_if_wanted(bench, None);
    let mut report = Report::new(format!("{count} files of {} KiB", size >> 10), METRICS);
    for round in 0..bench.rounds() {
        for tool in bench.turns(&[Tool::Longhaul, Tool::Curl, Tool::Wget2, Tool::Aria2]) {
            let folder = bench.results(&format!("{size}-{round}-{tool:?}"))?;
            let list = bench.folder().join(format!("{size}-{round}-{tool:?}.list"));
            bench.settle()?;
            meter::touch_memory(2 * count * size.max(16 << 10) + (256 << 20));
            let (wall, cpu, peak) = if tool == Tool::Longhaul {
                std::fs::write(&list, urls.join("\n") + "\n")?;
                let (list, folder) = (list.display().to_string(), folder.display().to_string());
                let both = service::get(service.as_ref(), &["--input-file", &list, "--directory", &folder])?;
                (both.wall, both.cpu, both.peak)
            } else {
                let used = meter::run_well(&mut tool.fetch_all(&urls, &folder, &list)?)?;
                (used.wall, used.cpu, used.peak)
            };
            let durable = (wall + meter::sync_file_system(&folder)?).as_secs_f64();
            check(&folder, &names, size, round == 0);
            report.add(tool, round, values(wall.as_secs_f64(), durable, cpu.as_secs_f64(), peak, count));
        }
    }
    report.note(
        "Durable wall is the wall time until everything is on disk: one syncfs follows every contender. curl and wget2 \
         keep nothing of what they have still to do; Longhaul and aria2 do.",
    );
    Ok(report)
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes here are far below 2^53")]
fn values(wall: f64, durable: f64, cpu: f64, peak: u64, count: u64) -> Vec<Option<f64>> {
    let peak = peak as f64 / f64::from(1 << 20);
    vec![Some(wall), Some(durable), Some(cpu), Some(peak), Some(count as f64 / durable)]
}

/// Every file is there and has its size, and its bytes where they are to be looked at.
fn check(folder: &Path, names: &[String], size: u64, with_bytes: bool) {
    for (index, name) in (0..).zip(names) {
        let path = folder.join(name);
        if with_bytes {
            content(index, size).assert_file(&path);
        } else {
            let length = path.metadata().map(|metadata| metadata.len()).ok();
            assert_eq!(length, Some(size), "size of {}", path.display());
        }
    }
}
