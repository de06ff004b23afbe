//! What is measured: one module a kind of work.

mod creations;
mod ftp;
mod interrupted;
mod large;
mod lossy;
mod many;
mod queue;
pub(crate) mod tasks;
mod upload;

use anyhow::Result;

use crate::bench::Bench;
use crate::report::Report;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Row {
    /// One file of 1 GiB over HTTP.
    #[value(name = "http-1g")]
    Http1g,
    /// One file of 4 GiB over HTTP.
    #[value(name = "http-4g")]
    Http4g,
    /// One file of 1 GiB over HTTPS.
    #[value(name = "https-1g")]
    Https1g,
    /// One file of 4 GiB over HTTPS.
    #[value(name = "https-4g")]
    Https4g,
    /// 10,000 files of 4 KiB.
    Small,
    /// 1,000 files of 1 MiB.
    Medium,
    /// Acknowledged creations a second.
    Creations,
    /// 100,000 queued operations: memory, start, list.
    Queue,
    /// Bytes fetched again after kill -9.
    Interrupted,
    /// A long link that loses packets.
    Lossy,
    /// One file of 1 GiB sent by PUT.
    #[value(name = "put-1g")]
    Put1g,
    /// One file of 1 GiB by FTP.
    #[value(name = "ftp-1g")]
    Ftp1g,
    /// Starting background tasks, beside task-spooler and pueue.
    Tasks,
}

impl Row {
    pub(crate) const ALL: [Self; 13] = [
        Self::Http1g,
        Self::Http4g,
        Self::Https1g,
        Self::Https4g,
        Self::Small,
        Self::Medium,
        Self::Creations,
        Self::Queue,
        Self::Interrupted,
        Self::Lossy,
        Self::Put1g,
        Self::Ftp1g,
        Self::Tasks,
    ];

    pub(crate) fn measure(self, bench: &mut Bench) -> Result<Vec<Report>> {
        const GIB: u64 = 1 << 30;
        Ok(vec![match self {
            Self::Http1g => large::measure(bench, GIB, large::Scheme::Http)?,
            Self::Http4g => large::measure(bench, 4 * GIB, large::Scheme::Http)?,
            Self::Https1g => large::measure(bench, GIB, large::Scheme::Https)?,
            Self::Https4g => large::measure(bench, 4 * GIB, large::Scheme::Https)?,
            Self::Small => many::measure(bench, 10_000, 4 << 10)?,
            Self::Medium => many::measure(bench, 1_000, 1 << 20)?,
            Self::Creations => return creations::measure(bench),
            Self::Queue => return queue::measure(bench),
            Self::Interrupted => interrupted::measure(bench)?,
            Self::Lossy => lossy::measure(bench)?,
            Self::Put1g => upload::measure(bench, GIB)?,
            Self::Ftp1g => ftp::measure(bench, GIB)?,
            Self::Tasks => return tasks::measure(bench),
        }])
    }
}
