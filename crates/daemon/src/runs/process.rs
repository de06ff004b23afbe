//! A run that is a program: one of its own, or one on the message bus.

use std::sync::Arc;

use longhaul_engine::task::{InstanceEnd, InstanceOutcome};
use longhaul_runner::{Ended, Outcome, Running, StartError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::failed;
use super::live::{Live, Said, Tree, Wanted};

/// Signals by which a program breaks, and the one by which the kernel ends it for want of memory.
const CRASHES: [i32; 8] = [
    libc_signal(rustix::process::Signal::ILL),
    libc_signal(rustix::process::Signal::TRAP),
    libc_signal(rustix::process::Signal::ABORT),
    libc_signal(rustix::process::Signal::BUS),
    libc_signal(rustix::process::Signal::FPE),
    libc_signal(rustix::process::Signal::KILL),
    libc_signal(rustix::process::Signal::SEGV),
    libc_signal(rustix::process::Signal::SYS),
];

const fn libc_signal(signal: rustix::process::Signal) -> i32 {
    signal.as_raw()
}

pub(super) async fn run(
    starting: impl Future<Output = Result<Running, StartError>>,
    tree: impl FnOnce(&Running) -> Tree,
    live: &Arc<Live>,
    report_running: impl FnOnce(),
) -> InstanceEnd {
    let mut wanted = live.wanted();
    let running = tokio::select! {
        started = starting => match started {
            Ok(running) => running,
            Err(error) => return not_started(&error),
        },
        _ = wanted.wait_for(|wanted| wanted.is_killed) => {
            return InstanceEnd { was_killed: true, ..failed("it was killed before it began") };
        }
    };
    live.set_output(running.output());
    live.set_limits(running.enforcement().limits());
    live.set_tree(tree(&running));
    report_running();
    let mut progress = running.progress();
    let mut told = Wanted::default();
    let ended = loop {
        let now = *wanted.borrow_and_update();
        pass_on(&running, now, told);
        told = now;
        tokio::select! {
            ended = running.wait() => break ended,
            Ok(()) = progress.changed() => take_progress(&mut progress, live),
            changed = wanted.changed() => {
                if changed.is_err() {
                    break running.wait().await;
                }
            }
        }
    };
    take_progress(&mut progress, live);
    if ended.is_success() {
        until_completed(live).await;
    }
    end_of(&ended, live)
}

/// Waits for the deferrals of a program that is over, as long as the run may last.
async fn until_completed(live: &Live) {
    let (mut wanted, mut said) = (live.wanted(), live.said());
    loop {
        let Wanted { canceled, is_killed } = *wanted.borrow_and_update();
        if is_killed || !said.borrow_and_update().is_deferred() {
            return;
        }
        let given_up = async {
            match canceled {
                Some(canceled) => tokio::time::sleep_until(canceled.until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = said.changed() => {}
            _ = wanted.changed() => {}
            () = given_up => return,
        }
    }
}

/// Of a program on the bus; any other tells it over the service's socket.
fn take_progress(progress: &mut watch::Receiver<Option<u32>>, live: &Live) {
    if let Some(progress) = *progress.borrow_and_update() {
        live.set_progress(progress);
    }
}

fn not_started(error: &StartError) -> InstanceEnd {
    failed(&error.to_string())
}

fn pass_on(running: &Running, now: Wanted, told: Wanted) {
    if now.is_killed && !told.is_killed {
        running.kill();
    }
    if let Some(canceled) = now.canceled
        && told.canceled.is_none_or(|told| told.until != canceled.until)
    {
        let grace = canceled.until.saturating_duration_since(Instant::now());
        running.cancel(&canceled.reason.to_string(), grace);
    }
}

fn end_of(ended: &Ended, live: &Live) -> InstanceEnd {
    let said: Said = live.said().borrow().clone();
    let failure = |detail: String, is_host_crash| InstanceOutcome::Failed { detail, is_host_crash };
    let is_deferred = said.is_deferred();
    let (outcome, exit_code, signal, was_killed) = match &ended.outcome {
        Outcome::Exited { code } => {
            let outcome = match (said.completed.flatten(), code) {
                (Some(detail), _) => failure(detail, false),
                (None, 0) if is_deferred => failure("its deferrals were not completed".to_owned(), false),
                (None, 0) => InstanceOutcome::Completed,
                (None, code) => failure(format!("it exited with code {code}"), false),
            };
            (outcome, Some(*code), None, false)
        }
        Outcome::Signaled { signal, .. } => {
            // What runs a component tells first why it breaks.
            let why = if ended.ran_out_of_memory { ": its memory limit was reached" } else { "" };
            let by_signal = || format!("it was ended by signal {signal}{why}");
            let detail = said.completed.flatten().unwrap_or_else(by_signal);
            (failure(detail, CRASHES.contains(signal)), None, Some(*signal), false)
        }
        Outcome::Returned => (InstanceOutcome::Completed, None, None, false),
        Outcome::Failed { error, message } => {
            (failure(format!("it answered with {error}: {message}"), false), None, None, false)
        }
        Outcome::Killed => (failure("it was killed".to_owned(), false), None, None, true),
        Outcome::Lost { why } => (failure(format!("nobody saw its end: {why}"), true), None, None, false),
    };
    let usage = &ended.usage;
    // What a program on the bus used is its service manager's to know.
    let is_known = !matches!(ended.outcome, Outcome::Returned | Outcome::Failed { .. });
    let cpu = is_known.then(|| (usage.cpu_user + usage.cpu_system).as_millis());
    InstanceEnd {
        outcome,
        exit_code,
        signal,
        was_killed,
        progress: live.progress(),
        suspended_count: live.suspended_count(),
        cpu_milliseconds: cpu.and_then(|cpu| u64::try_from(cpu).ok()),
        memory_peak: usage.memory_peak.or(Some(usage.resident_max)).filter(|bytes| *bytes > 0),
        ran_out_of_memory: ended.ran_out_of_memory,
        limits: live.limits(),
        keep_awake: None,
    }
}
