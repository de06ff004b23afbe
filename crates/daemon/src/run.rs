//! `longhaul daemon`: the service as a process, with its signals and its manners towards systemd.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Configuration, Options};
use crate::log;
use crate::service::{GivenSockets, Service, StartError};

/// More threads than this bring nothing: bytes move in the kernel, and one loop decides.
const THREADS_MAX: usize = 4;

/// Threads for calls that block: reads of the store, looks at paths, hashes of whole files.
const BLOCKING_THREADS_MAX: usize = 32;

/// Runs the service until SIGTERM or SIGINT. SIGHUP is ignored, so that it outlives the terminal it was started from.
///
/// # Errors
/// Says why it did not start.
pub fn run(options: &Options) -> Result<(), StartError> {
    let given = GivenSockets::take();
    let uid = rustix::process::geteuid().as_raw();
    let configuration = Configuration::load(options, uid, std::env::vars_os())?;
    log::begin(&configuration.service.log)?;
    leave_no_core()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("longhaul")
        .enable_all()
        .build()?;
    runtime.block_on(serve(configuration, given))
}

/// An image of the memory would hold the secrets of transfers. Programs of tasks may raise their own limit again.
fn leave_no_core() -> std::io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    let none = rustix::process::Rlimit { current: Some(0), maximum: limit.maximum };
    Ok(rustix::process::setrlimit(rustix::process::Resource::Core, none)?)
}

async fn serve(configuration: Configuration, given: GivenSockets) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let began = std::time::Instant::now();
    let service = Service::start(configuration, given).await?;
    let settings = &service.configuration().service;
    tracing::info!(
        socket = %settings.socket,
        addresses = ?service.addresses(),
        state = %settings.state,
        took = ?began.elapsed(),
        "ready"
    );
    tell_systemd(NotifyState::Ready);
    give_back_memory();
    let mut watchdog = sd_notify::watchdog_enabled().map(|period| tokio::time::interval(period / 2));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {}
            () = tick(watchdog.as_mut()) => {
                if tokio::time::timeout(WATCHDOG_PATIENCE, service.is_alive()).await == Ok(true) {
                    tell_systemd(NotifyState::Watchdog);
                }
            }
        }
    }
    tracing::info!("stopping");
    tell_systemd(NotifyState::Stopping);
    service.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Start-up needs several MiB for a moment, which the allocator of glibc would keep for as long as the service lives.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call only hands free pages back; it may be made at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// For the loop to answer before systemd is left without a sign of life.
const WATCHDOG_PATIENCE: Duration = Duration::from_secs(5);

/// Without a watchdog there is no tick.
async fn tick(watchdog: Option<&mut tokio::time::Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
