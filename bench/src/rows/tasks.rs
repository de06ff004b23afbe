//! Starting tasks: from asking for a run to the task's own code, and how many a second.
//!
//! A task is this program itself, which writes down when it was reached. Every contender is asked one after the other
//! for the first figure, and for as many as it takes at once for the second.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use longhaul_lab::Service;
use longhaul_lab::process::{Guarded, program, spawn};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::contender::Tool;
use crate::report::{Bound, Metric, Report, median};
use crate::service::{self, Connection};

const TASKS: &str = "/background-tasks";
const APP: &str = "org.longhaul.Bench";
const PATIENCE: Duration = Duration::from_mins(3);

const LATENCY: &[Metric] = &[
    Metric::new("median", "ms", 2),
    Metric::new("99th percentile", "ms", 2)
        .goals(Bound::TimesOf(Tool::Pueue, 1.0), Bound::TimesOf(Tool::Tsp, 1.0)),
];
const RATE: &[Metric] = &[Metric::new("tasks started a second", "", 0)
    .larger_is_better()
    .goals(Bound::AtLeast(200.0), Bound::AtLeast(800.0))];

pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Report>> {
    let folder = bench.results("tasks")?;
    let mut latency = Report::new("From asking for a task to its own code", LATENCY);
    let mut rate = Report::new("Many tasks at once", RATE);
    let service = bench.wants(Tool::Longhaul).then(prepare).transpose()?;
    let pueue = bench.wants(Tool::Pueue).then(|| Pueue::start(&folder)).transpose()?;
    let one_by_one = bench.scaled(200);
    let at_once = bench.scaled(1_000);
    let mut number = 0;
    for round in 0..bench.rounds() {
        for tool in bench.turns(&[Tool::Longhaul, Tool::Tsp, Tool::Pueue]) {
            bench.settle()?;
            number += 1;
            let stamps = folder.join(format!("{number}.one"));
            let mut asked = asker(tool, service.as_ref(), pueue.as_ref(), &folder, &stamps)?;
            let few = if tool == Tool::Pueue { one_by_one.min(20) } else { one_by_one };
            let times = one_after_the_other(&mut *asked, few, &stamps)?;
            latency.add(tool, round, vec![median(times.clone()), percentile(times, 99)]);

            let stamps = folder.join(format!("{number}.many"));
            let mut asked = asker(tool, service.as_ref(), pueue.as_ref(), &folder, &stamps)?;
            let many = if tool == Tool::Pueue { at_once.min(50) } else { at_once };
            rate.add(tool, round, vec![Some(all_at_once(&mut *asked, many, &stamps)?)]);
        }
    }
    latency.note("Longhaul registers a one-shot task whose registration fires it: two durable commits before the process is made. tsp and pueue keep nothing durably. The bar compares with pueue, the target with tsp.");
    rate.note("pueue is asked for 50 only: it takes seconds for them.");
    Ok(vec![latency, rate])
}

/// What the task itself does: writes the monotonic clock in microseconds as one line.
pub(crate) fn stamp(path: &Path) -> Result<()> {
    use std::io::Write as _;
    let line = format!("{}\n", micros());
    std::fs::File::options().create(true).append(true).open(path)?.write_all(line.as_bytes())?;
    Ok(())
}

fn micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

fn stamps_in(path: &Path) -> Vec<i64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn wait_for(path: &Path, count: usize) -> Result<Vec<i64>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stamps = stamps_in(path);
        if stamps.len() >= count {
            return Ok(stamps);
        }
        if Instant::now() > deadline {
            bail!("{} of {count} tasks ran within {PATIENCE:?}", stamps.len());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

type Ask<'a> = dyn FnMut() -> Result<()> + 'a;

#[expect(clippy::cast_precision_loss, reason = "milliseconds here are far below 2^53")]
fn one_after_the_other(ask: &mut Ask<'_>, count: u64, stamps: &Path) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for index in 1..=count {
        let asked = micros();
        ask()?;
        let reached = wait_for(stamps, usize::try_from(index)?)?;
        let last = reached.last().copied().unwrap_or(asked);
        times.push((last - asked) as f64 / 1e3);
    }
    Ok(times)
}

/// Tasks a second, from the first call to the last task's own code.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
fn all_at_once(ask: &mut Ask<'_>, count: u64, stamps: &Path) -> Result<f64> {
    let asked = micros();
    for _ in 0..count {
        ask()?;
    }
    let reached = wait_for(stamps, usize::try_from(count)?)?;
    let last = reached.into_iter().max().unwrap_or(asked);
    Ok(count as f64 / ((last - asked) as f64 / 1e6))
}

fn percentile(mut times: Vec<f64>, percent: usize) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(place).copied()
}

fn asker<'a>(
    tool: Tool,
    service: Option<&'a Service>,
    pueue: Option<&'a Pueue>,
    folder: &'a Path,
    stamps: &'a Path,
) -> Result<Box<Ask<'a>>> {
    let this = std::env::current_exe()?;
    Ok(match tool {
        Tool::Longhaul => {
            let service = service.context("the service was not started")?;
            let mut connection = Connection::open(service)?;
            let mut next = 0_u64;
            let prefix = stamps.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Box::new(move || {
                next += 1;
                let body = registration(&format!("{prefix} {next}"), stamps).to_string();
                connection.call_as(APP, "POST", TASKS, body.as_bytes(), 201).map(drop)
            })
        }
        Tool::Tsp => {
            let tsp = program("tsp", "task-spooler");
            let socket = folder.join("tsp.socket");
            let set_up = Command::new(&tsp).args(["-S", "4"]).env("TS_SOCKET", &socket).status()?;
            if !set_up.success() {
                bail!("tsp ended with {set_up}");
            }
            Box::new(move || {
                run_quietly(
                    Command::new(&tsp)
                        .arg("-n")
                        .arg(&this)
                        .arg("stamp")
                        .arg(stamps)
                        .env("TS_SOCKET", &socket)
                        .env("TS_MAXFINISHED", "10"),
                )
            })
        }
        Tool::Pueue => {
            let pueue = pueue.context("pueue was not started")?;
            Box::new(move || {
                run_quietly(pueue.command("pueue").args([
                    "add",
                    "--",
                    &format!("{} stamp {}", this.display(), stamps.display()),
                ]))
            })
        }
        _ => bail!("{} starts no tasks", tool.name()),
    })
}

fn run_quietly(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().to_string_lossy());
    }
    Ok(())
}

/// A service with an application whose only class is [`stamp`]; where to write comes by a variable of the registration.
fn prepare() -> Result<Service> {
    let service = service::start(None);
    let apps = service.folder().join("config/longhaul/apps");
    std::fs::create_dir_all(&apps)?;
    let manifest = format!(
        "[app]\nid = \"{APP}\"\n\n[[entry-point]]\nclass = \"stamp\"\nexec = [{:?}, \"stamp\"]\n",
        std::env::current_exe()?.display().to_string()
    );
    std::fs::write(apps.join(format!("{APP}.toml")), manifest)?;
    Connection::open(&service)?.call_as(APP, "POST", "/background-tasks/access", b"", 200)?;
    Ok(service)
}

fn registration(name: &str, stamps: &Path) -> Value {
    json!({
        "name": name,
        "entryPoint": "stamp",
        "trigger": {
            "type": "TimeTrigger",
            "freshnessTime": 43_200,
            "oneShot": true,
            "parameters": {"first": "now"},
        },
        "env": {"BENCH_STAMPS": stamps.display().to_string()},
    })
}

/// A pueue daemon with folders of its own.
struct Pueue {
    folder: PathBuf,
    _daemon: Guarded,
}

impl Pueue {
    fn start(folder: &Path) -> Result<Self> {
        let folder = folder.join("pueue");
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("pueue.yml");
        std::fs::write(
            &config,
            format!(
                "shared:\n  pueue_directory: {0}\n  runtime_directory: {0}\n  use_unix_socket: true\n",
                folder.display()
            ),
        )?;
        let mut command = Self::program(&folder, "pueued");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let pueue = Self { _daemon: spawn(command)?, folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while run_quietly(pueue.command("pueue").arg("parallel").arg("4")).is_err() {
            if Instant::now() > deadline {
                bail!("pueued does not answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(pueue)
    }

    fn command(&self, name: &str) -> Command {
        Self::program(&self.folder, name)
    }

    fn program(folder: &Path, name: &str) -> Command {
        let mut command = Command::new(Tool::Pueue.sibling(name));
        command.arg("--config").arg(folder.join("pueue.yml")).env("HOME", folder);
        command
    }
}
