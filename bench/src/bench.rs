//! One run: its options, its folder, its dice.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tempfile::TempDir;

use crate::contender::Tool;
use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of each row; every contender runs once in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Multiplies sizes and counts, to look at something quickly.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Contenders to measure; all that fit the row when none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    tools: Vec<Tool>,
    /// Folder for sources, results and state: on the disk that is to be measured.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Writes every sample, the medians and the ratios into this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seed of the order in which contenders take turns.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let servers offer HTTP/2 over TLS.
    #[arg(long)]
    http2: bool,
    /// Rate of the lossy link in Mbit/s.
    #[arg(long, default_value_t = 200.0)]
    link_rate: f64,
    /// Round-trip time of the lossy link in milliseconds.
    #[arg(long, default_value_t = 40.0)]
    link_delay: f64,
    /// Share of packets the lossy link loses, in per cent.
    #[arg(long, default_value_t = 0.1)]
    link_loss: f64,
    /// Congestion control of the server on the lossy link.
    #[arg(long, default_value = "cubic")]
    congestion: String,
}

/// What the lossy link is like.
#[derive(Debug, Clone)]
pub(crate) struct LinkOptions {
    pub(crate) bits_per_second: f64,
    pub(crate) round_trip_seconds: f64,
    /// Between 0 and 1.
    pub(crate) loss: f64,
    pub(crate) congestion: String,
}

pub(crate) struct Bench {
    options: Options,
    folder: TempDir,
    random: SmallRng,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Result<Self> {
        std::fs::create_dir_all(&options.folder)
            .with_context(|| format!("{} cannot be made", options.folder.display()))?;
        let parent = options.folder.canonicalize()?;
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&parent)?;
        // Whatever the lab puts into temporary folders lies on the same disk.
        let _ = tempfile::env::override_temp_dir(folder.path());
        let random = SmallRng::seed_from_u64(options.seed);
        Ok(Self { options, folder, random })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn rounds(&self) -> usize {
        self.options.rounds
    }

    pub(crate) fn offers_http2(&self) -> bool {
        self.options.http2
    }

    pub(crate) fn link(&self) -> LinkOptions {
        LinkOptions {
            bits_per_second: self.options.link_rate * 1e6,
            round_trip_seconds: self.options.link_delay / 1e3,
            loss: self.options.link_loss / 100.0,
            congestion: self.options.congestion.clone(),
        }
    }

    /// A size or a count, by the scale asked for.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a scaled size is a round figure"
    )]
    pub(crate) fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.options.scale) as u64).max(1)
    }

    /// The contenders of a row in a new random order.
    pub(crate) fn turns(&mut self, fitting: &[Tool]) -> Vec<Tool> {
        let mut tools: Vec<Tool> = fitting.iter().copied().filter(|tool| self.wants(*tool)).collect();
        tools.shuffle(&mut self.random);
        tools
    }

    pub(crate) fn wants(&self, tool: Tool) -> bool {
        self.options.tools.is_empty() || self.options.tools.contains(&tool)
    }

    pub(crate) fn random(&mut self) -> &mut SmallRng {
        &mut self.random
    }

    /// A fresh folder for the results of a row, kept until the end of the run: file systems are slow to use the
    /// inodes of deleted files again, and that must not fall on whoever comes next.
    pub(crate) fn results(&self, row: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(row);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Nothing of what ran before is left to be written.
    pub(crate) fn settle(&self) -> Result<()> {
        Ok(rustix::fs::syncfs(File::open(self.folder.path())?)?)
    }

    pub(crate) fn describe(&self) -> Result<String> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = std::thread::available_parallelism()?;
        let model = read("/proc/cpuinfo");
        let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let mut text = format!(
            "# Longhaul beside its peers\n\n{} x {}, kernel {}, {} rounds, scale {}, seed {}\n\n",
            cpus,
            model.trim_start_matches(['\t', ' ', ':']),
            read("/proc/sys/kernel/osrelease").trim(),
            self.options.rounds,
            self.options.scale,
            self.options.seed
        );
        for tool in Tool::PEERS {
            text.push_str(&format!("- {}: {}\n", tool.name(), tool.version()?));
        }
        Ok(text)
    }

    pub(crate) fn write_json(&self, reports: &[Report]) -> Result<()> {
        let Some(path) = &self.options.json else { return Ok(()) };
        let rows: Vec<_> = reports.iter().map(Report::json).collect();
        let document = serde_json::json!({
            "rounds": self.options.rounds,
            "scale": self.options.scale,
            "seed": self.options.seed,
            "rows": rows,
        });
        std::fs::write(path, format!("{document:#}\n"))
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}
