//! Start and stop: puts the rooms together in the right order, and takes them apart again.

mod doors;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_contract::paths::NoHome;
use longhaul_contract::{AppId, HostState};
use longhaul_engine::Engine;
use longhaul_host::{HostWatch, Inhibitors, Machine};
use longhaul_store::{GroupStore, Keys, Reader, StoreError, Writer};
use longhaul_transfer::Transfers;
use longhaul_transfer::transfers::SettingsError;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::access_files::AccessFiles;
use crate::admission::Places;
use crate::apps::{Apps, Watcher};
use crate::asks::Asks;
use crate::config::{ConfigError, Configuration};
use crate::foreground::{self, ForegroundDesk};
use crate::heart::{Beat, Circumstances, Heart, Inbox, Parts};
use crate::host_desk::{HostDesk, Sensed, Told};
use crate::http::{Door, Names, Rooms, router, serve};
use crate::identity::Doorkeeper;
use crate::ids::Ids;
use crate::journal::StoreJournal;
use crate::metrics::Metrics;
use crate::news::News;
use crate::notices::Notices;
use crate::push::PushDesk;
use crate::runs::{self, Runs};
use crate::sealing;
use crate::sense;
use crate::wants::{FirstWants, WantDesk};
use crate::workers::{self, Workers};

pub use doors::GivenSockets;
use doors::{SocketFile, open_doors};

/// Files that are read whole at one time (`verify`).
const VERIFICATIONS_AT_ONCE: usize = 2;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// Another service uses the state folder.
    #[error(transparent)]
    AlreadyRunning(StoreError),
    /// What seals the secrets of the database is not at hand.
    #[error(transparent)]
    Key(StoreError),
    #[error(transparent)]
    Store(StoreError),
    #[error("another service answers on {0}: stop it, or choose another socket")]
    SocketInUse(PathBuf),
    #[error("cannot listen on {path}: {source}")]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{0} is no loopback address: longhaul answers on this machine only")]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Transfers(#[from] SettingsError),
    #[error("the log filter {filter:?} cannot be read: {problem}")]
    Log { filter: String, problem: String },
    #[error("the system refuses what the service needs: {0}")]
    System(#[from] std::io::Error),
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse { .. } => Self::AlreadyRunning(error),
            StoreError::KeyMissing { .. } | StoreError::UnusableKey { .. } => Self::Key(error),
            _ => Self::Store(error),
        }
    }
}

/// A running service.
pub struct Service {
    heart: Heart,
    writer: Writer,
    stopping: watch::Sender<bool>,
    addresses: Vec<SocketAddr>,
    socket: Option<SocketFile>,
    configuration: Configuration,
    beat: JoinHandle<()>,
    sensing: [JoinHandle<()>; 6],
    server: JoinHandle<()>,
}

impl Service {
    /// Opens the store of the state folder and starts. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Says what stands in the way; nothing is left running then.
    pub async fn start(configuration: Configuration, given: GivenSockets) -> Result<Self, StartError> {
        let folder = PathBuf::from(&configuration.service.state);
        let credentials = configuration.credentials.clone();
        let opened = blocking(move || open_store(&folder, &sealing::keys(credentials.as_deref())?)).await?;
        let (store, readers) = opened?;
        Self::start_with(configuration, given, store, Arc::new(readers)).await
    }

    /// Starts on a store that is open already.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub async fn start_with<S: GroupStore>(
        mut configuration: Configuration,
        given: GivenSockets,
        store: S,
        reader: Arc<dyn Reader>,
    ) -> Result<Self, StartError> {
        let uid = rustix::process::geteuid().as_raw();
        let access_files = read_access(&mut configuration, uid).await?;
        let (sensed, watch) = sense::look().await;
        let Adopted { store, engine, told, push, wants, restricted } =
            adopt(&configuration, sensed, store, Arc::clone(&reader)).await?;
        let host = told.host();
        let (doors, socket) = open_doors(&configuration.service, given).await?;
        let addresses: Vec<SocketAddr> = doors.iter().filter_map(Door::address).collect();
        let writer = Writer::start(store)?;
        let journal = Arc::new(StoreJournal { writer: writer.clone() });
        let transfers = Transfers::new(configuration.transfer.clone(), journal)?;
        let wants = Arc::new(WantDesk::new(wants, watch.wants(), writer.clone()));
        let (heart, inbox) = Heart::new();
        let apps = Arc::new(Apps::new(PathBuf::from(&configuration.service.apps), uid));
        let foreground = Arc::new(ForegroundDesk::new(heart.clone(), writer.clone(), restricted.clone()));
        let host_desk = Arc::new(HostDesk::new(heart.clone(), writer.clone(), told, watch.support()));
        let metrics = Arc::new(Metrics::new());
        let (blockers, orders) = sense::Blockers::new();
        let hands = Hands {
            reader,
            writer: writer.clone(),
            heart: heart.clone(),
            apps,
            news: Arc::new(News::new(configuration.service.events_kept)),
            metrics: Arc::clone(&metrics),
        };
        let (workers, runs) = hands.engage(&configuration, &transfers, blockers);
        let desks = (Arc::clone(&wants), restricted);
        let parts = hands.parts(inbox, (&workers, &runs), desks, &configuration, host);
        let beat = Beat::new(parts, engine)?;
        let beat = tokio::spawn(beat.run());
        let sense = Senses {
            watch,
            desk: Arc::clone(&host_desk),
            wants: Arc::clone(&wants),
            transfers,
            workers: workers.clone(),
            orders,
            access: access_files.watch(heart.clone(), configuration.engine.tasks.access_rules.clone()),
        };
        let sensing = hands.sense(&configuration, sense).await;
        let (stopping, stops) = watch::channel(false);
        let desks =
            Desks { workers, runs, host: host_desk, push, foreground, wants, stopping: stops.clone() };
        let rooms = Arc::new(hands.rooms(&configuration, &addresses, desks));
        let server = open(doors, &rooms, &configuration, stops);
        Ok(Self { heart, writer, stopping, addresses, socket, configuration, beat, sensing, server })
    }

    /// Where it listens on TCP.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Resolves once the loop has turned; answers whether it goes on.
    pub(crate) async fn is_alive(&self) -> bool {
        self.heart.turns().await
    }

    /// Stops: no new calls, all workers make their bytes durable and let go, the store closes. Bounded by
    /// `service.stop-timeout`.
    pub async fn stop(self) {
        let deadline = Instant::now() + self.configuration.service.stop_timeout;
        self.stopping.send_replace(true);
        self.sensing.iter().for_each(JoinHandle::abort);
        self.heart.stop(deadline).await;
        if let Err(error) = self.beat.await {
            tracing::error!(%error, "the loop failed");
        }
        let server = self.server;
        if tokio::time::timeout_at(deadline, server).await.is_err() {
            tracing::warn!("some connections were still open");
        }
        if let Some(socket) = self.socket {
            socket.remove();
        }
        if let Err(error) = self.writer.close().await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }
}

/// What those who do the work are given.
struct Hands {
    reader: Arc<dyn Reader>,
    writer: Writer,
    heart: Heart,
    apps: Arc<Apps>,
    news: Arc<News>,
    metrics: Arc<Metrics>,
}

/// What those who watch are given beside that.
struct Senses<A> {
    watch: HostWatch,
    desk: Arc<HostDesk>,
    wants: Arc<WantDesk>,
    transfers: Transfers,
    workers: Workers,
    orders: sense::Orders,
    /// Carries on what administrators say of background access.
    access: A,
}

/// Those whom calls are passed on to.
struct Desks {
    workers: Workers,
    runs: Runs,
    host: Arc<HostDesk>,
    push: PushDesk,
    foreground: Arc<ForegroundDesk>,
    wants: Arc<WantDesk>,
    /// True from the moment the service stops.
    stopping: watch::Receiver<bool>,
}

impl Hands {
    fn engage(
        &self,
        configuration: &Configuration,
        transfers: &Transfers,
        blockers: sense::Blockers,
    ) -> (Workers, Runs) {
        let workers = Workers::new(workers::Parts {
            transfers: transfers.clone(),
            reader: Arc::clone(&self.reader),
            proxying: Arc::new(configuration.proxying.clone()),
            writer: self.writer.clone(),
            heart: self.heart.clone(),
            news: Arc::clone(&self.news),
            metrics: Arc::clone(&self.metrics),
            blockers,
        });
        let runs = Runs::new(runs::Parts {
            reader: Arc::clone(&self.reader),
            writer: self.writer.clone(),
            heart: self.heart.clone(),
            apps: Arc::clone(&self.apps),
            news: Arc::clone(&self.news),
            socket: PathBuf::from(&configuration.service.socket),
            inhibitors: Inhibitors::of(&Machine::here()),
            launcher: configuration.launcher.clone(),
            components: configuration.components,
        });
        (workers, runs)
    }

    /// What the loop is made of.
    fn parts(
        &self,
        inbox: Inbox,
        (workers, runs): (&Workers, &Runs),
        (wants, held_back): (Arc<WantDesk>, BTreeSet<AppId>),
        configuration: &Configuration,
        host: HostState,
    ) -> Parts {
        let Self { reader, writer, heart, apps, news, metrics } = self;
        Parts {
            inbox,
            writer: writer.clone(),
            workers: workers.clone(),
            runs: runs.clone(),
            notices: Notices { reader: Arc::clone(reader), apps: Arc::clone(apps), heart: heart.clone() },
            asks: Asks::new(Arc::clone(reader), heart.clone()),
            wants,
            news: Arc::clone(news),
            metrics: Arc::clone(metrics),
            policy: configuration.engine.clone(),
            limits: configuration.limits.clone(),
            host,
            held_back,
        }
    }

    fn rooms(self, configuration: &Configuration, addresses: &[SocketAddr], desks: Desks) -> Rooms {
        let Self { reader, writer, heart, apps, news, metrics } = self;
        let Desks { workers, runs, host, push, foreground, wants, stopping } = desks;
        let settings = configuration.service.clone();
        Rooms {
            heart,
            writer,
            workers,
            runs,
            apps,
            host,
            push,
            foreground,
            wants,
            task_policy: configuration.engine.tasks.clone(),
            components: configuration.components,
            news,
            metrics,
            doorkeeper: Doorkeeper::new(Arc::clone(&reader), rustix::process::geteuid().as_raw()),
            reader,
            places: Arc::new(Places::new(Path::new(&settings.state), configuration.apps.clone())),
            ids: Ids::default(),
            names: Names::new(addresses, &settings.hosts, &settings.origins),
            boot: hex::encode(rand::random::<[u8; 6]>()),
            streams: Arc::new(Semaphore::new(settings.event_streams_max)),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS_AT_ONCE)),
            stopping,
            settings,
        }
    }

    /// Begins to watch the machine, what stands in the way of downloads, and manifests.
    async fn sense(
        &self,
        configuration: &Configuration,
        senses: Senses<impl Future<Output = ()> + Send + 'static>,
    ) -> [JoinHandle<()>; 6] {
        let Self { reader, writer, heart, apps, .. } = self;
        let (reader, heart) = (Arc::clone(reader), heart.clone());
        let Senses { watch, desk, wants, transfers, workers, orders, access } = senses;
        // How long bytes that have arrived may wait to be made durable.
        let unsaved_max = configuration.transfer.checkpoint_interval;
        let databases = configuration.service.package_databases.clone();
        let devices = sense::Devices::attend(heart.clone(), Arc::clone(&reader));
        let (keep, kept) = mpsc::unbounded_channel();
        let keeping = heart.clone();
        let watcher = Watcher::begin(
            Arc::clone(apps),
            databases.into(),
            heart.clone(),
            writer.clone(),
            Arc::clone(&reader),
        )
        .await;
        [
            tokio::spawn(sense::meter(Arc::clone(&desk), workers)),
            tokio::spawn(sense::sense(watch, desk, heart.clone(), transfers, devices, unsaved_max, keep)),
            tokio::spawn(async move { wants.keep_all(keeping, kept).await }),
            tokio::spawn(sense::keep_watch(orders, reader, heart)),
            tokio::spawn(access),
            tokio::spawn(async move {
                match watcher {
                    Ok(watcher) => watcher.run().await,
                    Err(error) => tracing::error!(%error, "manifests are not watched"),
                }
            }),
        ]
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
}

fn open(
    doors: Vec<Door>,
    rooms: &Arc<Rooms>,
    configuration: &Configuration,
    stops: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let settings = &configuration.service;
    let metrics = Arc::clone(&rooms.metrics);
    let (connections_max, timeout) = (settings.connections_max, settings.request_timeout);
    tokio::spawn(serve(doors, router(rooms), metrics, connections_max, timeout, stops))
}

/// What administrators say of background access counts from the first decision on.
async fn read_access(configuration: &mut Configuration, uid: u32) -> std::io::Result<AccessFiles> {
    let files = AccessFiles::new(&configuration.policy_files, uid);
    let read = files.clone();
    configuration.engine.tasks.access_rules = blocking(move || read.read()).await?;
    Ok(files)
}

/// What the store has kept, taken over.
struct Adopted<S> {
    store: S,
    engine: Engine,
    told: Told,
    push: PushDesk,
    wants: FirstWants,
    /// Applications whose transfers run only in the foreground.
    restricted: BTreeSet<AppId>,
}

/// Makes the engine of what the store holds, in a thread that may block.
async fn adopt<S: GroupStore>(
    configuration: &Configuration,
    sensed: Sensed,
    mut store: S,
    reader: Arc<dyn Reader>,
) -> Result<Adopted<S>, StartError> {
    let (policy, limits) = (configuration.engine.clone(), configuration.limits.clone());
    let plans = configuration.data_plans.clone();
    let adopted = blocking(move || {
        let told = Told::with_kept(sensed, plans, &*reader);
        let restricted = foreground::kept(&*reader)?;
        let held_back = restricted.clone();
        let circumstances = Circumstances { policy, limits, host: told.host(), held_back };
        let (engine, sourced) = circumstances.engine_of(&mut store)?;
        let push = PushDesk::load(&sourced, &*reader)?;
        let wants = FirstWants::load(&sourced, &*reader)?;
        Ok::<_, StoreError>(Adopted { store, engine, told, push, wants, restricted })
    });
    Ok(adopted.await??)
}

fn open_store(
    folder: &Path,
    keys: &Keys,
) -> Result<(longhaul_store::SqliteStore, longhaul_store::SqliteReaders), StoreError> {
    let longhaul_store::Opened { store, readers, notice } = longhaul_store::open(folder, keys)?;
    if let Some(notice) = notice {
        tracing::error!("{notice}");
    }
    Ok((store, readers))
}
