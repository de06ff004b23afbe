//! Creations of operations, each acknowledged only when it is on disk.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use longhaul_lab::Service;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::contender::Tool;
use crate::report::{Bound, Metric, Report, median};
use crate::service::{self, Connection};

const DOWNLOADS: &str = "/background-transfers/downloads";
const BATCH: &str = "/background-transfers/downloads/batch";

const ONE: &[Metric] =
    &[Metric::new("p50", "ms", 3)
        .goals(Bound::TimesOf(Tool::Sqlite, 5.0), Bound::TimesOf(Tool::Sqlite, 2.0))];
const SIXTEEN: &[Metric] = &[Metric::new("creations a second", "", 0)
    .larger_is_better()
    .goals(Bound::AtLeast(2_000.0), Bound::AtLeast(5_000.0))];
const BATCHES: &[Metric] = &[Metric::new("creations a second", "", 0)
    .larger_is_better()
    .goals(Bound::AtLeast(20_000.0), Bound::AtLeast(50_000.0))];

pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Report>> {
    let service = service::start(None);
    let folder = bench.results("creations")?;
    let mut one = Report::new("One durable creation, on one connection", ONE);
    let mut sixteen = Report::new("Durable creations on 16 connections", SIXTEEN);
    let mut batches = Report::new("Durable creations in batches of 1,000", BATCHES);
    let single = bench.scaled(300);
    let mut commits = Commits::open(&folder.join("commits.sqlite"))?;
    let mut next = 0;
    for round in 0..bench.rounds() {
        bench.settle()?;
        let (creation, commit) = one_connection(&service, &folder, &mut commits, single, &mut next)?;
        one.add(Tool::Longhaul, round, vec![creation]);
        one.add(Tool::Sqlite, round, vec![commit]);
        let rate = many_connections(&service, &folder, bench.scaled(4_000), &mut next)?;
        sixteen.add(Tool::Longhaul, round, vec![Some(rate)]);
        let rate = in_batches(&service, &folder, bench.scaled(20), &mut next)?;
        batches.add(Tool::Longhaul, round, vec![Some(rate)]);
    }
    one.note(format!("{next} operations were queued at the end. A commit is one row into SQLite, WAL, synchronous=FULL, between the creations of the same round."));
    Ok(vec![one, sixteen, batches])
}

/// A download that is queued and will not start during the measurement.
pub(crate) fn queued(folder: &Path, index: u64) -> Value {
    json!({
        "requestedUri": format!("http://127.0.0.1:9/queued/{index}.bin"),
        "resultFile": folder.join(format!("{index}.bin")),
        "notBefore": "2199-01-01T00:00:00Z",
    })
}

/// Queues `count` operations in batches of at most 1,000.
pub(crate) fn queue(service: &Service, folder: &Path, count: u64, next: &mut u64) -> Result<()> {
    let mut connection = Connection::open(service)?;
    let end = *next + count;
    while *next < end {
        let upto = end.min(*next + 1_000);
        let operations: Vec<Value> = (*next..upto).map(|index| queued(folder, index)).collect();
        connection.post(BATCH, &json!({"operations": operations}), 201)?;
        *next = upto;
    }
    Ok(())
}

/// Median milliseconds of a creation on one connection.
pub(crate) fn median_creation(
    service: &Service,
    folder: &Path,
    count: u64,
    next: &mut u64,
) -> Result<Option<f64>> {
    let mut connection = Connection::open(service)?;
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(timed_creation(&mut connection, folder, next)?);
    }
    Ok(median(times))
}

fn timed_creation(connection: &mut Connection, folder: &Path, next: &mut u64) -> Result<f64> {
    let body = queued(folder, *next).to_string();
    *next += 1;
    let started = Instant::now();
    connection.call("POST", DOWNLOADS, body.as_bytes(), 201)?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// Median milliseconds of a creation and of a commit, by turns.
fn one_connection(
    service: &Service,
    folder: &Path,
    commits: &mut Commits,
    count: u64,
    next: &mut u64,
) -> Result<(Option<f64>, Option<f64>)> {
    let mut connection = Connection::open(service)?;
    let (mut creations, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..count {
        creations.push(timed_creation(&mut connection, folder, next)?);
        let row = queued(folder, *next).to_string();
        let started = Instant::now();
        commits.insert(&row)?;
        plain.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok((median(creations), median(plain)))
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
fn many_connections(service: &Service, folder: &Path, count: u64, next: &mut u64) -> Result<f64> {
    const CONNECTIONS: u64 = 16;
    let each = count.div_ceil(CONNECTIONS);
    let first = *next;
    *next += each * CONNECTIONS;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|worker| {
                scope.spawn(move || -> Result<()> {
                    let mut connection = Connection::open(service)?;
                    let mut own = first + worker * each;
                    for _ in 0..each {
                        timed_creation(&mut connection, folder, &mut own)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    Ok((each * CONNECTIONS) as f64 / started.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
fn in_batches(service: &Service, folder: &Path, batches: u64, next: &mut u64) -> Result<f64> {
    let started = Instant::now();
    queue(service, folder, batches * 1_000, next)?;
    Ok((batches * 1_000) as f64 / started.elapsed().as_secs_f64())
}

/// The loop that a creation is compared with.
struct Commits {
    database: rusqlite::Connection,
}

impl Commits {
    fn open(path: &Path) -> Result<Self> {
        let database = rusqlite::Connection::open(path)?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "FULL")?;
        database.execute("CREATE TABLE commits (id INTEGER PRIMARY KEY, body TEXT NOT NULL)", [])?;
        Ok(Self { database })
    }

    fn insert(&mut self, body: &str) -> Result<()> {
        self.database.prepare_cached("INSERT INTO commits (body) VALUES (?1)")?.execute([body])?;
        Ok(())
    }
}
