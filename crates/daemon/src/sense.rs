//! Carries what the host senses to the loop and to the workers. Deliberately absent: what follows from it.

use std::sync::Arc;

use longhaul_contract::{HostState, Signal};
use longhaul_host::network::{NetworkError, NetworkWatch};
use longhaul_transfer::Transfers;

use crate::host_desk::HostDesk;

/// The first look at the host, and the watch that tells of changes; without one, its signals stay unknown.
pub(crate) fn look() -> (HostState, Option<NetworkWatch>) {
    let mut host = HostState::unmeasured();
    match NetworkWatch::open() {
        Ok(watch) => {
            host.network.level = watch.level();
            (host, Some(watch))
        }
        Err(error) => {
            host.network.level = unknown(&error);
            (host, None)
        }
    }
}

/// Reports every change until the watch breaks and cannot be opened again.
pub(crate) async fn sense(watch: Option<NetworkWatch>, desk: Arc<HostDesk>, transfers: Transfers) {
    let Some(mut watch) = watch else { return };
    let mut host = desk.of_sources();
    loop {
        let is_moved = match watch.news().await {
            Ok(news) => {
                host.network.level = news.level;
                news.is_moved
            }
            Err(broken) => {
                tracing::warn!(error = %broken, "the network is watched anew");
                match NetworkWatch::open() {
                    Ok(next) => {
                        host.network.level = next.level();
                        watch = next;
                        true
                    }
                    Err(error) => {
                        tracing::error!(%error, "the network is no longer watched");
                        host.network.level = unknown(&error);
                        desk.sensed(host);
                        return;
                    }
                }
            }
        };
        tracing::info!(level = ?host.network.level.value(), is_moved, "the network changed");
        if is_moved {
            transfers.network_changed();
        }
        desk.sensed(host.clone());
    }
}

fn unknown<T>(error: &NetworkError) -> Signal<T> {
    Signal::Unknown { reason: error.to_string() }
}
