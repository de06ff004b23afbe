//! Carries what the host senses to the loop and to the workers. Deliberately absent: what follows from it.

mod blockers;

use std::sync::Arc;

use longhaul_contract::{HostState, Signal};
use longhaul_engine::Fact;
use longhaul_host::network::{NetworkError, NetworkWatch};
use longhaul_store::Reader;
use longhaul_transfer::Transfers;
use tokio::task::JoinHandle;

use crate::heart::Heart;

pub(crate) use blockers::Blockers;
use blockers::{Orders, keep_watch};

/// What is sensed, before anybody listens.
pub(crate) struct Senses {
    pub(crate) host: HostState,
    pub(crate) blockers: Blockers,
    network: Option<NetworkWatch>,
    orders: Orders,
}

impl Senses {
    /// The first look at the host, and the watch that tells of changes; without one, its signals stay unknown.
    pub(crate) fn open() -> Self {
        let mut host = HostState::unmeasured();
        let network = NetworkWatch::open();
        host.network.level = match &network {
            Ok(watch) => watch.level(),
            Err(error) => unknown(error),
        };
        let (blockers, orders) = Blockers::new();
        Self { host, blockers, network: network.ok(), orders }
    }

    /// Reports from now on, until the tasks are aborted.
    pub(crate) fn begin(
        self,
        heart: &Heart,
        transfers: Transfers,
        reader: Arc<dyn Reader>,
    ) -> [JoinHandle<()>; 2] {
        [
            tokio::spawn(sense_network(self.network, self.host, heart.clone(), transfers)),
            tokio::spawn(keep_watch(self.orders, reader, heart.clone())),
        ]
    }
}

/// Reports every change until the watch breaks and cannot be opened again.
async fn sense_network(watch: Option<NetworkWatch>, mut host: HostState, heart: Heart, transfers: Transfers) {
    let Some(mut watch) = watch else { return };
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
                        heart.report(None, Fact::Host(Box::new(host)));
                        return;
                    }
                }
            }
        };
        tracing::info!(level = ?host.network.level.value(), is_moved, "the network changed");
        if is_moved {
            transfers.network_changed();
        }
        heart.report(None, Fact::Host(Box::new(host.clone())));
    }
}

fn unknown<T>(error: &NetworkError) -> Signal<T> {
    Signal::Unknown { reason: error.to_string() }
}
