//! Carries what the kernel tells to where all sources meet, and opens a source again that broke.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::ClockWatch;
use crate::facts::{Fact, Reports};
use crate::network::NetworkWatch;
use crate::power::SupplyWatch;
use crate::time_zone::{TimeZoneError, TimeZoneWatch};
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
