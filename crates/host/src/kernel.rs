//! Carries what the kernel tells to where all sources meet, and opens a source again that broke.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::ClockWatch;
use crate::console::{ConsoleWatch, Consoles};
use crate::devices::DeviceEvent;
use crate::facts::{Fact, Found, Reports};
use crate::network::NetworkWatch;
use crate::power::SupplyWatch;
use crate::pressure::PressureWatch;
use crate::time_zone::{TimeZoneError, TimeZoneWatch};
use crate::uevent::UeventWatch;
use crate::watch::HostChange;

/// Before a source that broke is opened again; three times in a row, then it is given up.
const PAUSE: Duration = Duration::from_secs(1);
const OPENINGS_MAX: u32 = 3;

pub(crate) async fn follow_network(reports: Reports) {
    let mut is_again = false;
    for _ in 0..OPENINGS_MAX {
        let error = match NetworkWatch::open() {
            Ok(mut watch) => {
                if is_again {
                    reports.change(HostChange::Moved);
                }
                report_level(&reports, &watch);
                loop {
                    match watch.news().await {
                        Ok(news) => {
                            report_level(&reports, &watch);
                            if news.is_moved {
                                reports.change(HostChange::Moved);
                            }
                        }
                        Err(error) => break error,
                    }
                }
            }
            Err(error) => error,
        };
        is_again = true;
        tracing::warn!(%error, "the network is watched anew");
        reports.fact(Fact::Reach(Err(error.to_string())));
        tokio::time::sleep(PAUSE).await;
    }
}

fn report_level(reports: &Reports, watch: &NetworkWatch) {
    if let Some(level) = watch.level().value() {
        reports.fact(Fact::Reach(Ok(*level)));
    }
}

pub(crate) async fn follow_zone(root: PathBuf, variable: Option<String>, reports: Reports) {
    for _ in 0..OPENINGS_MAX {
        let error = match TimeZoneWatch::open(&root, variable.clone()) {
            Ok(mut watch) => loop {
                let zone = watch.look().map(|zone| (zone.name, zone.source));
                reports.fact(Fact::Zone(zone.map_err(|error: TimeZoneError| error.to_string())));
                if let Err(error) = watch.changed().await {
                    break error;
                }
            },
            Err(error) => error,
        };
        tracing::warn!(%error, "the time zone is watched anew");
        reports.fact(Fact::Zone(Err(format!("the folder of /etc/localtime cannot be watched: {error}"))));
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) async fn follow_supplies(root: PathBuf, reports: Reports) {
    for _ in 0..OPENINGS_MAX {
        let error = match SupplyWatch::open(&root) {
            Ok(mut watch) => loop {
                let power = watch.look();
                reports.fact(Fact::Supplies(
                    power.map_err(|error| format!("/sys/class/power_supply cannot be read: {error}")),
                ));
                if let Err(error) = watch.changed().await {
                    break error;
                }
            },
            Err(error) => error,
        };
        tracing::warn!(%error, "the power supplies are watched anew");
        reports.fact(Fact::Supplies(Err(format!("the kernel tells nothing of power supplies: {error}"))));
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) async fn follow_clock(reports: Reports) {
    for _ in 0..OPENINGS_MAX {
        let error = match ClockWatch::open() {
            Ok(mut watch) => loop {
                match watch.changed().await {
                    Ok(change) => {
                        reports.change(HostChange::Clock(change));
                        if change.has_slept() {
                            reports.change(HostChange::Resumed);
                        }
                    }
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        tracing::warn!(%error, "the clocks are watched anew");
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) async fn follow_devices(reports: Reports) {
    for _ in 0..OPENINGS_MAX {
        let error = match UeventWatch::open() {
            Ok(mut watch) => {
                reports.fact(Fact::Devices(Ok(())));
                loop {
                    match watch.next().await {
                        Ok(Some(event)) => {
                            if let Some(event) = DeviceEvent::of(event) {
                                reports.change(HostChange::Device(Some(event)));
                            }
                        }
                        Ok(None) => reports.change(HostChange::Device(None)),
                        Err(error) => break error,
                    }
                }
            }
            Err(error) => error,
        };
        tracing::warn!(%error, "devices are watched anew");
        reports.fact(Fact::Devices(Err(format!("the kernel tells nothing of devices: {error}"))));
        tokio::time::sleep(PAUSE).await;
    }
}

/// The kernel tells of pressure with a delay of up to two windows.
const PRESSURE_TOLD: Duration = Duration::from_secs(5);
/// While there is pressure the kernel is asked again only now and then: it would tell of every window.
const PRESSURE_REST: Duration = Duration::from_secs(20);

/// The kernel tells of windows that were too full, and never that one was not: the time of calm is measured, but only
/// after there was pressure.
pub(crate) async fn follow_pressure(root: PathBuf, reports: Reports) {
    let error = loop {
        let mut watch = match PressureWatch::open(&root) {
            Ok(watch) => watch,
            Err(error) => break error,
        };
        reports.fact(Fact::Pressure(Ok(false)));
        watch.stalled().await;
        // One full window is nothing yet.
        if tokio::time::timeout(PRESSURE_TOLD, watch.stalled()).await.is_err() {
            continue;
        }
        drop(watch);
        reports.fact(Fact::Pressure(Ok(true)));
        if let Err(error) = until_calm(&root).await {
            break error;
        }
    };
    reports.fact(Fact::Pressure(Err(format!("the kernel tells nothing of pressure: {error}"))));
}

async fn until_calm(root: &Path) -> std::io::Result<()> {
    loop {
        tokio::time::sleep(PRESSURE_REST).await;
        let mut watch = PressureWatch::open(root)?;
        if tokio::time::timeout(PRESSURE_TOLD, watch.stalled()).await.is_err() {
            return Ok(());
        }
    }
}

/// Follows the terminals for as long as logind does not tell of sessions.
pub(crate) async fn follow_consoles(
    root: PathBuf,
    uid: Option<u32>,
    mut has_login: watch::Receiver<Option<bool>>,
    reports: Reports,
) {
    loop {
        let Ok(has_login_now) = has_login.wait_for(Option::is_some).await.map(|known| *known) else { return };
        if has_login_now == Some(true) {
            reports.fact(Fact::Consoles(Err("logind tells of sessions".to_owned())));
            if has_login.wait_for(|known| *known != Some(true)).await.is_err() {
                return;
            }
            continue;
        }
        // What cannot be watched now is tried again when logind went away once more: nothing tells earlier.
        let watching = async {
            let error = consoles(&root, uid, &reports).await;
            reports.fact(Fact::Consoles(Err(format!("terminals cannot be watched: {error}"))));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = watching => {}
            changed = has_login.wait_for(|known| *known == Some(true)) => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn consoles(root: &Path, uid: Option<u32>, reports: &Reports) -> std::io::Error {
    let mut watch = match ConsoleWatch::open(root, uid) {
        Ok(watch) => watch,
        Err(error) => return error,
    };
    loop {
        let found: Found<Consoles> =
            watch.look().map_err(|error| format!("/run/utmp cannot be read: {error}"));
        reports.fact(Fact::Consoles(found));
        if let Err(error) = watch.changed().await {
            return error;
        }
    }
}
