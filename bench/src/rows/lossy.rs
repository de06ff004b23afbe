//! A long link that loses packets: one connection cannot fill it when the server's congestion control takes every
//! loss for congestion.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use longhaul_lab::Content;

use crate::bench::{Bench, LinkOptions};
use crate::contender::Tool;
use crate::link;
use crate::meter;
use crate::report::{Bound, Metric, Report};
use crate::server::{Server, ServerOptions};
use crate::service;

const METRICS: &[Metric] = &[
    Metric::new("share of the link", "", 3)
        .larger_is_better()
        .goals(Bound::RatioAtLeast(1.0), Bound::AtLeast(0.85)),
    Metric::new("wall", "s", 2),
];
const SIZE: u64 = 128 << 20;
/// A single connection takes minutes a round here.
const ROUNDS_MAX: usize = 3;

pub(crate) fn measure(bench: &mut Bench) -> Result<Report> {
    let size = bench.scaled(SIZE);
    let root = bench.results("root")?;
    let content = Content::new(size, size);
    let name = format!("{size}.bin");
    if !root.join(&name).exists() {
        content.write_to(&root.join(&name));
    }
    let options = bench.link();
    let is_over = AtomicBool::new(false);
    let (to_client, from_server) = channel();
    let (keep_serving, served) = channel();
    std::thread::scope(|scope| {
        let (root, name, options, is_over) = (&root, &name, &options, &is_over);
        let server = scope.spawn(move || serve(root, options, &to_client, &served));
        let client = scope.spawn(move || {
            let report = receive(bench, &content, name, options, &from_server, scope, is_over);
            is_over.store(true, Ordering::Relaxed);
            drop(keep_serving);
            report
        });
        let report = client.join().expect("the client does not panic");
        server.join().expect("the server does not panic")?;
        report
    })
}

/// The server's end of the link, and the address of the file there.
type Served = (File, String);

/// Serves until `served` is closed by its other end.
fn serve(root: &Path, link: &LinkOptions, to_client: &Sender<Served>, served: &Receiver<()>) -> Result<()> {
    let device = link::enter_namespace(link::SERVER, &link.congestion)?;
    let options = ServerOptions { address: link::SERVER.into(), offers_http2: false };
    let server = Server::start(root, &options)?;
    to_client.send((device, server.url("")))?;
    let _ = served.recv();
    Ok(())
}

fn receive<'scope>(
    bench: &mut Bench,
    content: &Content,
    name: &str,
    link: &'scope LinkOptions,
    from_server: &Receiver<Served>,
    scope: &'scope std::thread::Scope<'scope, '_>,
    is_over: &'scope AtomicBool,
) -> Result<Report> {
    let client = link::enter_namespace(link::CLIENT, &link.congestion)?;
    let (server, address) = from_server.recv().context("the server did not start")?;
    let url = format!("{address}{name}");
    scope.spawn(move || link::carry(&client, &server, link, is_over));
    let results = bench.results("lossy")?;
    let service = service::start_if_wanted(bench, None);
    let mut report = Report::new(title(link), METRICS);
    for round in 0..bench.rounds().min(ROUNDS_MAX) {
        for tool in bench.turns(&[Tool::Longhaul, Tool::Curl, Tool::Aria2, Tool::Aria2x16]) {
            let output = results.join(format!("{round}-{tool:?}.bin"));
            let wall = match tool {
                Tool::Longhaul => {
                    service::get(service.as_ref(), &[&url, "--output", &output.display().to_string()])?.wall
                }
                _ => meter::run_well(&mut tool.fetch(&url, &output, None))?.wall,
            };
            content.assert_file(&output);
            #[expect(clippy::cast_precision_loss, reason = "sizes here are far below 2^53")]
            let share = content.length as f64 * 8.0 / wall.as_secs_f64() / link.bits_per_second;
            report.add(tool, round, vec![Some(share), Some(wall.as_secs_f64())]);
        }
    }
    report.note(
        "Packets pass through a relay between two network namespaces, which loses those from the server at random and \
         queues at most one bandwidth-delay product. Nobody was given an option about connections but `aria2 -x16`.",
    );
    Ok(report)
}

fn title(link: &LinkOptions) -> String {
    format!(
        "{:.0} Mbit/s, {:.0} ms, {} % loss, {}",
        link.bits_per_second / 1e6,
        link.round_trip_seconds * 1e3,
        link.loss * 100.0,
        link.congestion
    )
}
