//! What the handlers share: the ways to the engine, to the store and to the workers.

use std::collections::HashMap;
use std::sync::Arc;

use longhaul_contract::{AppId, ErrorCode, Operation, OperationId, Scope};
use longhaul_engine::{Command, Engine, TaskPolicy, Wish};
use longhaul_store::{Reader, StoreError, StoredOperation, Writer};
use tokio::sync::{Semaphore, watch};

use super::extract::Target;
use super::guard::Names;
use super::refused::{Answer, Refused};
use crate::admission::Places;
use crate::apps::Apps;
use crate::config::ServiceSettings;
use crate::foreground::ForegroundDesk;
use crate::heart::{Granted, Heart};
use crate::host_desk::HostDesk;
use crate::identity::{Caller, Doorkeeper};
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::news::News;
use crate::push::PushDesk;
use crate::runs::Runs;
use crate::view;
use crate::wants::WantDesk;
use crate::workers::Workers;

/// Everything behind the routes.
pub(crate) struct Rooms {
    pub(crate) heart: Heart,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) writer: Writer,
    pub(crate) workers: Workers,
    pub(crate) runs: Runs,
    pub(crate) apps: Arc<Apps>,
    pub(crate) host: Arc<HostDesk>,
    pub(crate) push: PushDesk,
    pub(crate) foreground: Arc<ForegroundDesk>,
    pub(crate) wants: Arc<WantDesk>,
    pub(crate) task_policy: TaskPolicy,
    /// WebAssembly components can be run.
    pub(crate) components: bool,
    pub(crate) news: Arc<News>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) doorkeeper: Doorkeeper,
    pub(crate) places: Arc<Places>,
    pub(crate) ids: Ids,
    pub(crate) names: Names,
    pub(crate) settings: ServiceSettings,
    /// Names this life of the service in event numbers.
    pub(crate) boot: String,
    /// Room for readers that stay: events and unfinished content.
    pub(crate) streams: Arc<Semaphore>,
    /// Room for work that reads whole files.
    pub(crate) verifications: Arc<Semaphore>,
    /// True from the moment the service stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Rooms {
    /// Reads from the store, in a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<T> {
        let reader = Arc::clone(&self.reader);
        let result = tokio::task::spawn_blocking(move || read(&*reader)).await;
        Ok(result.map_err(|error| Refused::internal(&error))??)
    }

    /// The record of an operation of this caller and kind; whatever else there is does not exist for it.
    pub(crate) async fn record(&self, caller: &Caller, target: Target) -> Answer<StoredOperation> {
        let Target { id, kind } = target;
        let record = self.read(move |reader| reader.operation(id)).await?;
        record
            .filter(|record| record.row.app == caller.app && record.row.kind == kind)
            .ok_or_else(Refused::not_found)
    }

    pub(crate) async fn operation(&self, caller: &Caller, target: Target) -> Answer<Operation> {
        let record = self.record(caller, target).await?;
        self.views(vec![record]).await?.pop().ok_or_else(Refused::not_found)
    }

    /// The views of records as of now, in the same order. Those that were forgotten since they were read are left out.
    pub(crate) async fn views(&self, records: Vec<StoredOperation>) -> Answer<Vec<Operation>> {
        let mut views: Vec<Option<Operation>> = std::iter::repeat_with(|| None).take(records.len()).collect();
        let stale = self.views_so_far(records.into_iter().enumerate().collect(), &mut views).await?;
        // Final since it was read: then the store has the last word. Live again is impossible.
        if !stale.is_empty() {
            let places: HashMap<OperationId, usize> = stale.iter().map(|(place, id)| (*id, *place)).collect();
            let ids: Vec<OperationId> = stale.into_iter().map(|(_, id)| id).collect();
            let records = self.read(move |reader| reader.operations(&ids)).await?;
            let records = records
                .into_iter()
                .filter_map(|record| places.get(&record.row.id).map(|place| (*place, record)));
            self.views_so_far(records.collect(), &mut views).await?;
        }
        Ok(views.into_iter().flatten().collect())
    }

    /// Gives the places and ids of records that say "live" while the engine does not hold them any more.
    async fn views_so_far(
        &self,
        records: Vec<(usize, StoredOperation)>,
        views: &mut [Option<Operation>],
    ) -> Answer<Vec<(usize, OperationId)>> {
        let questions: Vec<(AppId, OperationId)> = records
            .iter()
            .filter(|(_, record)| view::final_state(&record.row.phase).is_none())
            .map(|(_, record)| (record.row.app.clone(), record.row.id))
            .collect();
        let mut answers = Vec::new();
        if !questions.is_empty() {
            let ask = move |engine: &Engine, now| {
                questions.iter().map(|(app, id)| engine.live(now, app, *id)).collect::<Vec<_>>()
            };
            answers = self.heart.ask(ask).await?;
        }
        let mut answers = answers.into_iter();
        let mut stale = Vec::new();
        for (place, record) in records {
            let id = record.row.id;
            if let Some(state) = view::final_state(&record.row.phase) {
                views[place] = Some(view::of_record(record, state, None));
                continue;
            }
            match answers.next().flatten() {
                Some(live) if live.is_forgotten => {}
                Some(live) => {
                    let progress = self.workers.handle(id).map(|handle| handle.progress());
                    views[place] = Some(view::of_record(record, live.into(), progress));
                }
                None => stale.push((place, id)),
            }
        }
        Ok(stale)
    }

    /// Gives a command to an operation of the caller.
    pub(crate) async fn command(&self, caller: &Caller, target: Target, command: Command) -> Answer<Granted> {
        caller.need(Scope::Submit)?;
        let is_for_results = matches!(command, Command::Consume | Command::Remove);
        if !is_for_results {
            self.check_not_over(caller, target).await?;
        } else {
            self.record(caller, target).await?;
        }
        let wish = Wish::Command { app: caller.app.clone(), id: target.id, command };
        match self.heart.wish(wish).await {
            // It came to its end between the look and the wish.
            Err(refused) if refused.problem().code == ErrorCode::NotFound => {
                self.check_not_over(caller, target).await?;
                Err(refused)
            }
            answer => answer,
        }
    }

    async fn check_not_over(&self, caller: &Caller, target: Target) -> Answer<()> {
        let record = self.record(caller, target).await?;
        match view::final_state(&record.row.phase) {
            Some(state) => {
                let detail = format!("the operation is {} and stays so", state.status);
                Err(Refused::new(ErrorCode::InvalidState, detail))
            }
            None => Ok(()),
        }
    }
}
