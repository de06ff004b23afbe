//! The runs of tasks: at most one worker for an instance, started, cancelled and killed as the engine asks.
//!
//! What is asked for is a state and not an act, so asking again is harmless. Whatever becomes of a run, the engine hears
//! that the instance has ended. Progress stays here in memory: it is sampled by watchers and kept with the end.

mod activations;
mod details;
mod in_process;
mod live;
mod output;
mod prepare;
mod process;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_contract::instance::KeepAwake;
use longhaul_contract::{AppId, InstanceId, TaskId};
use longhaul_engine::Fact;
use longhaul_engine::task::{InstanceEnd, InstanceOutcome, TaskEffect, TaskFact};
use longhaul_host::{AwakeLock, Inhibitors};
use longhaul_runner::cgroup::Delegation;
use longhaul_runner::{Bus, Runner, Running};
use longhaul_store::{OutputWrite, Reader, Write, Writer};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use crate::apps::Apps;
use crate::heart::{Heart, Life};
use crate::news::{Item, News};

pub(crate) use activations::Activations;
use live::Tree;
pub(crate) use live::{Live, ProtocolError};
pub(crate) use output::{Decoder, text_of};

/// All runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Runs {
    room: Arc<Room>,
}

/// What runs are made of.
pub(crate) struct Parts {
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) writer: Writer,
    pub(crate) heart: Heart,
    pub(crate) apps: Arc<Apps>,
    pub(crate) news: Arc<News>,
    /// Of the service, for the tasks to call.
    pub(crate) socket: PathBuf,
    /// For tasks that ask for the network.
    pub(crate) inhibitors: Inhibitors,
    /// The binary that can be the launcher; this process's own when absent.
    pub(crate) launcher: Option<PathBuf>,
    /// Whether that one can run WebAssembly components.
    pub(crate) components: bool,
}

struct Room {
    parts: Parts,
    activations: Arc<Activations>,
    floor: Mutex<Floor>,
    /// How many there are; changes with the floor.
    count: watch::Sender<usize>,
    /// Made when the first program is started: an idle service has no launcher.
    runner: OnceCell<Result<Runner, String>>,
}

#[derive(Default)]
struct Floor {
    life: Life,
    runs: HashMap<InstanceId, Arc<Live>>,
    is_closing: bool,
}

impl Runs {
    pub(crate) fn new(parts: Parts) -> Self {
        let activations = Arc::new(Activations::new(parts.heart.clone()));
        let room = Room {
            parts,
            activations,
            floor: Mutex::default(),
            count: watch::Sender::new(0),
            runner: OnceCell::new(),
        };
        Self { room: Arc::new(room) }
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.room.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on facts are reported for `life`; what runs of earlier lives is killed, because the engine of this one
    /// takes it for interrupted.
    pub(crate) fn begin_life(&self, life: Life) {
        let mut floor = self.floor();
        floor.life = life;
        for live in floor.runs.values().filter(|live| live.life != life) {
            live.kill();
        }
        drop(floor);
        self.room.activations.begin_life(life);
    }

    /// The service ends: no run begins any more.
    pub(crate) fn let_go(&self) {
        self.floor().is_closing = true;
    }

    /// Waits until no run is left, at most until `deadline`.
    pub(crate) async fn none_left(&self, deadline: Instant) {
        let mut count = self.room.count.subscribe();
        let none = count.wait_for(|count| *count == 0);
        if tokio::time::timeout_at(deadline, none).await.is_err() {
            tracing::warn!(left = self.floor().runs.len(), "instances of tasks have not ended in time");
        }
    }

    /// Does what the engine asks for, after it was written down.
    pub(crate) fn bring_about(&self, effect: TaskEffect) {
        match effect {
            TaskEffect::EnsureStarted { app, id, instance, details, keeps_network } => {
                let life = self.floor().life;
                self.ensure_started(Live::new(app, id, instance, life, details), keeps_network);
            }
            TaskEffect::EnsureCanceled { instance, reason, grace_ms } => match self.find(instance) {
                Some(live) => live.cancel(reason, Duration::from_millis(grace_ms)),
                None => self.report_missing(instance),
            },
            TaskEffect::EnsureKilled { instance } => match self.find(instance) {
                Some(live) => live.kill(),
                None => self.report_missing(instance),
            },
        }
    }

    pub(crate) fn find(&self, instance: InstanceId) -> Option<Arc<Live>> {
        self.floor().runs.get(&instance).cloned()
    }

    /// Progress of every run of `app`; of all when there is none.
    pub(crate) fn progress(&self, app: Option<&AppId>) -> Vec<(TaskId, InstanceId, u32)> {
        let floor = self.floor();
        let runs = floor.runs.values().filter(|live| app.is_none_or(|app| *app == live.app));
        runs.map(|live| (live.task, live.id, live.progress())).collect()
    }

    /// Changes whenever a run begins or ends.
    pub(crate) fn subscribe(&self) -> watch::Receiver<usize> {
        self.room.count.subscribe()
    }

    pub(crate) fn activations(&self) -> &Arc<Activations> {
        &self.room.activations
    }

    fn ensure_started(&self, live: Live, keeps_network: bool) {
        let mut floor = self.floor();
        if floor.is_closing || floor.runs.contains_key(&live.id) {
            return;
        }
        let live = Arc::new(live);
        floor.runs.insert(live.id, Arc::clone(&live));
        self.room.count.send_replace(floor.runs.len());
        let runs = self.clone();
        tokio::spawn(async move { runs.work(live, keeps_network).await });
    }

    /// The whole life of one run.
    async fn work(&self, live: Arc<Live>, keeps_network: bool) {
        // A panic in a run must not leave the engine waiting for ever.
        let run = tokio::spawn({
            let (runs, live) = (self.clone(), Arc::clone(&live));
            async move {
                // Given back when the run is over, however that comes.
                let _awake = if keeps_network { runs.keep_awake(&live).await } else { None };
                let end = runs.perform(&live).await;
                InstanceEnd { keep_awake: live.keep_awake(), ..end }
            }
        });
        let end = run.await.unwrap_or_else(|error| {
            tracing::error!(instance = %live.id, %error, "a run failed");
            failed("the service could not look after the run; its log has the details")
        });
        // Nobody has to wait any more to learn what it consists of.
        live.set_tree(Tree::None);
        if let Some(output) = live.output().map(|output| text_of(&output.read_all())) {
            // Written along with the end of the instance, which follows.
            let write = Write::Output(OutputWrite { instance: live.id, output });
            drop(self.room.parts.writer.submit(vec![write]));
        }
        let fact = TaskFact::Ended { id: live.task, instance: live.id, end: Box::new(end) };
        self.room.parts.heart.report(Some(live.life), Fact::Task(fact));
        let mut floor = self.floor();
        floor.runs.remove(&live.id);
        self.room.count.send_replace(floor.runs.len());
    }

    async fn perform(&self, live: &Arc<Live>) -> InstanceEnd {
        let parts = &self.room.parts;
        let (reader, apps) = (Arc::clone(&parts.reader), Arc::clone(&parts.apps));
        let (socket, asked, components) = (parts.socket.clone(), Arc::clone(live), parts.components);
        let prepare = move || prepare::prepare(&*reader, &apps, &asked, &socket, components);
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let work = match prepared {
            Ok(Ok(work)) => work,
            Ok(Err(detail)) => return failed(&detail),
            Err(error) => return failed(&format!("the run cannot be prepared: {error}")),
        };
        match work {
            prepare::Work::Process(launch) => match self.runner().await {
                Ok(runner) => {
                    let tree = |running: &Running| Tree::Processes(running.leftovers_order());
                    process::run(runner.start(*launch), tree, live, || self.report_running(live)).await
                }
                Err(problem) => failed(problem),
            },
            prepare::Work::OnBus(launch) => match self.runner().await {
                Ok(runner) => {
                    let starting = runner.start_on_bus(*launch);
                    process::run(starting, |_| Tree::None, live, || self.report_running(live)).await
                }
                Err(problem) => failed(problem),
            },
            prepare::Work::InProcess(activation) => {
                live.set_tree(Tree::None);
                in_process::run(&self.room.activations, *activation, live, || self.report_running(live)).await
            }
        }
    }

    /// Holds off sleep, which would take the network away; without a lock the run says why, and goes on.
    async fn keep_awake(&self, live: &Live) -> Option<AwakeLock> {
        let held =
            self.room.parts.inhibitors.hold(&format!("A task of {} needs the network", live.app)).await;
        let (lock, detail) = match held {
            Ok(lock) => {
                let detail = format!("logind holds off {}", lock.what().replace(':', " and "));
                (Some(lock), detail)
            }
            Err(reason) => (None, reason),
        };
        live.set_keep_awake(KeepAwake { is_held: lock.is_some(), detail });
        lock
    }

    async fn runner(&self) -> Result<&Runner, &str> {
        let parts = &self.room.parts;
        let made = self.room.runner.get_or_init(|| async {
            let settings = longhaul_runner::Settings {
                run_folder: parts.socket.with_extension("instances"),
                launcher: parts.launcher.clone(),
                cgroups: delegation().await,
            };
            let made = tokio::task::spawn_blocking(|| Runner::new(settings)).await;
            match made {
                Ok(made) => made.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        });
        made.await.as_ref().map_err(String::as_str)
    }

    /// That its code runs is no commit of its own: watchers hear of it from here.
    fn report_running(&self, live: &Live) {
        live.set_up();
        self.room.parts.news.publish_tasks(vec![(live.app.clone(), Item::Instance(live.id))]);
        let fact = TaskFact::Running { id: live.task, instance: live.id };
        self.room.parts.heart.report(Some(live.life), Fact::Task(fact));
    }

    /// Of an instance that is not here: it has ended, and the engine has not heard of it in this life.
    fn report_missing(&self, instance: InstanceId) {
        let runs = self.clone();
        let life = self.floor().life;
        tokio::spawn(async move {
            let reader = Arc::clone(&runs.room.parts.reader);
            let found = tokio::task::spawn_blocking(move || reader.instance(instance)).await;
            if let Ok(Ok(Some(found))) = found {
                let end = Box::new(failed("nothing of it was left"));
                let fact = TaskFact::Ended { id: found.task_id, instance, end };
                runs.room.parts.heart.report(Some(life), Fact::Task(fact));
            }
        });
    }
}

/// Without a part of the cgroup tree of our own, limits hold for each process only.
async fn delegation() -> Option<Delegation> {
    let reason = match Delegation::of_this_process() {
        Ok(delegation) => return Some(delegation),
        Err(reason) => reason,
    };
    match Delegation::by_user_manager(&Bus::Session).await {
        Ok(delegation) => Some(delegation),
        Err(otherwise) => {
            tracing::info!(%reason, %otherwise, "tasks get no cgroup of their own");
            None
        }
    }
}

fn failed(detail: &str) -> InstanceEnd {
    InstanceEnd {
        outcome: InstanceOutcome::Failed { detail: detail.to_owned(), is_host_crash: false },
        exit_code: None,
        signal: None,
        was_killed: false,
        progress: 0,
        suspended_count: 0,
        cpu_milliseconds: None,
        memory_peak: None,
        ran_out_of_memory: false,
        limits: Vec::new(),
        keep_awake: None,
    }
}
