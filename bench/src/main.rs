//! Longhaul beside other downloaders, in one command: `cargo run --release -p longhaul-bench`.
//!
//! Only ratios within one run count: machines are noisy and shared. Contenders therefore take turns in random order,
//! in every round, and each row gives the median of the ratio per round. Deliberately absent: a verdict on the machine.

mod bench;
mod contender;
mod direct;
mod line;
mod link;
mod meter;
mod report;
mod rows;
mod server;
mod service;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use crate::bench::Bench;
use crate::rows::Row;

#[derive(Parser)]
#[command(about = "Measures Longhaul beside curl, wget2 and aria2", version)]
struct Arguments {
    /// Rows to measure; all when none is named.
    #[arg(value_enum)]
    rows: Vec<Row>,
    #[command(flatten)]
    options: bench::Options,
    #[command(subcommand)]
    inner: Option<Inner>,
}

/// Contenders that are small loops of this program itself.
#[derive(Subcommand)]
enum Inner {
    /// Receives one file and writes it past the page cache: what the machine can do.
    #[command(hide = true)]
    Direct { address: String, path: String, output: PathBuf },
    /// The work of a task: writes down when it was reached.
    #[command(hide = true)]
    Stamp {
        #[arg(env = "BENCH_STAMPS")]
        file: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.inner {
        Some(Inner::Direct { address, path, output }) => return direct::receive(&address, &path, &output),
        Some(Inner::Stamp { file }) => return rows::tasks::stamp(&file),
        None => {}
    }
    if std::env::var_os("LONGHAUL_BIN").is_none() {
        return build_and_start_again();
    }
    let rows = if arguments.rows.is_empty() { Row::ALL.to_vec() } else { arguments.rows };
    let mut bench = Bench::new(arguments.options)?;
    println!("{}", bench.describe()?);
    let mut reports = Vec::new();
    for row in rows {
        for report in row.measure(&mut bench).with_context(|| format!("row {row:?}"))? {
            println!("{}", report.markdown());
            reports.push(report);
        }
    }
    bench.write_json(&reports)
}

/// The program under test is built by cargo in its release profile, and found by everything through `LONGHAUL_BIN`.
fn build_and_start_again() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "longhaul", "--bin", "longhaul"])
        .current_dir(&root)
        .status()
        .context("cargo cannot be run; set LONGHAUL_BIN to a release build of longhaul")?;
    if !status.success() {
        bail!("longhaul does not build: {status}");
    }
    let this = std::env::current_exe()?;
    let built = this.with_file_name("longhaul");
    if !built.is_file() {
        bail!(
            "{} is not there; run this program by `cargo run --release`, or set LONGHAUL_BIN",
            built.display()
        );
    }
    Err(Command::new(&this).args(std::env::args_os().skip(1)).env("LONGHAUL_BIN", built).exec())
        .context("cannot start again")
}
