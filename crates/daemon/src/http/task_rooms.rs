//! What the handlers of tasks share: records and views of the caller's registrations and instances.

use std::sync::Arc;

use longhaul_contract::{AppId, BackgroundTask, ErrorCode, Instance, InstanceId, TaskId};
use longhaul_engine::task::{TaskAnswer, TaskLive, TaskWish};
use longhaul_engine::{Engine, Wish};
use longhaul_store::StoredTask;

use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::identity::Caller;
use crate::runs::Live;
use crate::task_view;

impl Rooms {
    /// The record of a task of this caller, with what the engine says of it; whatever else there is does not exist for
    /// it.
    pub(crate) async fn task(&self, caller: &Caller, id: TaskId) -> Answer<(StoredTask, TaskLive)> {
        let app = caller.app.clone();
        let live = self.heart.ask(move |engine, now| engine.task_live(now, &app, id)).await?;
        let live = live.ok_or_else(no_task)?;
        let record = self.read(move |reader| reader.task(id)).await?;
        record.filter(|record| record.row.app == caller.app).map(|record| (record, live)).ok_or_else(no_task)
    }

    /// The caller has or had a task with this id, and its instances are kept.
    pub(crate) async fn check_history(&self, caller: &Caller, id: TaskId) -> Answer<()> {
        let app = caller.app.clone();
        if self.heart.ask(move |engine, now| engine.task_live(now, &app, id).is_some()).await? {
            return Ok(());
        }
        let past = self.read(move |reader| reader.past_task(id)).await?;
        past.filter(|past| past.app == caller.app).map(drop).ok_or_else(no_task)
    }

    /// Views of these tasks, whosever they are, in the same order. Those that are gone are left out.
    pub(crate) async fn task_views(&self, ids: Vec<TaskId>) -> Answer<Vec<BackgroundTask>> {
        let records = self.read(move |reader| reader.tasks(&ids)).await?;
        let asked: Vec<(AppId, TaskId)> =
            records.iter().map(|record| (record.row.app.clone(), record.row.id)).collect();
        let lives = self
            .heart
            .ask(move |engine: &Engine, now| {
                asked.iter().map(|(app, id)| engine.task_live(now, app, *id)).collect::<Vec<_>>()
            })
            .await?;
        let reach = self.host.reach();
        let views = records.iter().zip(lives);
        Ok(views.filter_map(|(record, live)| Some(task_view::task(record, live?, &reach))).collect())
    }

    /// All tasks of an application, grouped ones too, oldest first.
    pub(crate) async fn all_task_views(&self, app: AppId) -> Answer<Vec<BackgroundTask>> {
        let asked = app.clone();
        let ids = self
            .heart
            .ask(move |engine: &Engine, _| {
                let groups = engine.task_groups(&asked);
                let grouped = groups.iter().flat_map(|group| engine.task_ids(&asked, Some(group)));
                let mut ids: Vec<TaskId> = engine.task_ids(&asked, None).into_iter().chain(grouped).collect();
                ids.sort_unstable();
                ids
            })
            .await?;
        self.task_views(ids).await
    }

    /// An instance of a task of this caller, as it is now.
    pub(crate) async fn instance(&self, caller: &Caller, task: TaskId, id: InstanceId) -> Answer<Instance> {
        self.check_history(caller, task).await?;
        let found = self.read(move |reader| reader.instance(id)).await?;
        let found = found.filter(|instance| instance.task_id == task).ok_or_else(no_instance)?;
        Ok(task_view::instance(found, &self.runs))
    }

    /// The run that is told something by its own task. Its registration may be gone already.
    pub(crate) async fn run_of(&self, caller: &Caller, task: TaskId, id: InstanceId) -> Answer<Arc<Live>> {
        let found = self.runs.find(id).filter(|live| live.task == task);
        match found.filter(|live| live.app == caller.app) {
            Some(live) => Ok(live),
            None => {
                self.instance(caller, task, id).await?;
                Err(Refused::new(ErrorCode::InstanceOver, "the instance is over"))
            }
        }
    }

    /// Gives a wish about tasks to the engine.
    pub(crate) async fn wish_task(&self, wish: TaskWish) -> Answer<Option<TaskAnswer>> {
        self.heart.wish(Wish::Task(wish)).await.map(|granted| granted.task)
    }
}

pub(crate) fn no_task() -> Refused {
    Refused::new(ErrorCode::NotFound, "the application has no task with this id")
}

fn no_instance() -> Refused {
    Refused::new(ErrorCode::NotFound, "the task has no instance with this id, or none that is still kept")
}
