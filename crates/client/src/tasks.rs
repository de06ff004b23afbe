//! Background tasks: registering them, a handle on one, its instances, and what the application may do.

use std::collections::BTreeMap;

use http::Method;
use longhaul_contract::instance::InstanceOutput;
use longhaul_contract::task::{
    BackgroundAccessStatus, RequestAccess, TaskGroup, TaskRequest, TaskRequestAnswer, TaskRunAnswer,
};
use longhaul_contract::trigger::TriggerType;
use longhaul_contract::{
    AccessStatus, BackgroundTask, BackgroundTaskDetail, Explanation, Instance, InstanceId, OnConflict, Page,
    PastTask, RegisterTaskRequest, RequestResult, TaskGroupId, TaskId,
};
use serde::de::DeserializeOwned;

use crate::calls::segment;
use crate::{Client, ClientError, ContentReader, Supposition};

pub(crate) const TASKS: &str = "/background-tasks";
const ACCESS: &str = "/background-tasks/access";
const GROUPS: &str = "/background-tasks/groups";

/// What becomes of a running instance when its task is unregistered (Unregister's `cancelTask`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunningInstance {
    /// It is cancelled with the reason Abort.
    #[default]
    Cancel,
    /// It may finish.
    LetFinish,
}

impl Client {
    /// Registers a task. When this returns, the record is on disk.
    ///
    /// ```no_run
    /// # async fn example(client: longhaul_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use longhaul_client::contract::{Condition, OnConflict, RegisterTaskRequest, TriggerKind, TriggerSpec};
    ///
    /// let hourly = TriggerSpec { freshness_time: Some(60), ..TriggerSpec::new(TriggerKind::TimeTrigger) };
    /// // The class is one that the application's manifest declares.
    /// let mut request = RegisterTaskRequest::new("upload".parse()?, "Example.Photos.UploadTask", hourly);
    /// request.conditions = vec![Condition::FreeNetworkAvailable];
    /// client.request_access(None).await?;
    /// let task = client.register_task(&request, OnConflict::Fail).await?;
    /// println!("{} is {}", task.name, task.id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `invalid-trigger`, `trigger-unsupported`, `invalid-condition`,
    /// `unknown-entry-point`, `task-name-taken`, `task-quota` and others.
    pub async fn register_task(
        &self,
        request: &RegisterTaskRequest,
        on_conflict: OnConflict,
    ) -> Result<BackgroundTask, ClientError> {
        let target = match on_conflict {
            OnConflict::Fail => TASKS.to_owned(),
            OnConflict::Replace => format!("{TASKS}?onConflict=replace"),
            OnConflict::Allow => format!("{TASKS}?onConflict=allow"),
        };
        self.call(Method::POST, target, request).await
    }

    /// The application's tasks that are in no group, oldest first (AllTasks).
    ///
    /// # Errors
    /// As every call.
    pub async fn tasks(&self) -> Result<Vec<BackgroundTask>, ClientError> {
        self.get(TASKS).await
    }

    /// The application's tasks that have unregistered themselves, the last one first; a handle on one reads its instances.
    ///
    /// # Errors
    /// As every call.
    pub async fn past_tasks(&self) -> Result<Vec<PastTask>, ClientError> {
        self.get("/background-tasks/past").await
    }

    /// A handle; nothing is asked of the service.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Task {
        Task { client: self.clone(), id }
    }

    /// The groups that have tasks, with their members (AllTaskGroups).
    ///
    /// # Errors
    /// As every call.
    pub async fn task_groups(&self) -> Result<Vec<TaskGroup>, ClientError> {
        let mut groups = Vec::new();
        let mut target = GROUPS.to_owned();
        loop {
            let page: Page<TaskGroup> = self.get(target).await?;
            groups.extend(page.items);
            let Some(cursor) = page.next_cursor else { return Ok(groups) };
            target = format!("{GROUPS}?cursor={}", segment(&cursor));
        }
    }

    /// # Errors
    /// `not-found` when no task is in the group.
    pub async fn task_group(&self, id: &TaskGroupId) -> Result<TaskGroup, ClientError> {
        self.get(format!("{GROUPS}/{}", segment(id.as_str()))).await
    }

    /// What the application may do in the background (GetAccessStatus).
    ///
    /// # Errors
    /// As every call.
    pub async fn access_status(&self) -> Result<AccessStatus, ClientError> {
        let answer: BackgroundAccessStatus = self.get(ACCESS).await?;
        Ok(answer.status)
    }

    /// Asks to run in the background (RequestAccessAsync), or with a `request` for a kind of access
    /// (RequestAccessKindAsync). The status in the answer says what came of it.
    ///
    /// # Errors
    /// As every call.
    pub async fn request_access(&self, request: Option<&RequestAccess>) -> Result<AccessStatus, ClientError> {
        let answer: BackgroundAccessStatus = match request {
            Some(request) => self.call(Method::POST, ACCESS, request).await?,
            None => self.post(ACCESS).await?,
        };
        Ok(answer.status)
    }

    /// Gives the access back (RemoveAccess): the status is Unspecified again, unless the owner has decided.
    ///
    /// # Errors
    /// As every call.
    pub async fn remove_access(&self) -> Result<(), ClientError> {
        self.answer(&self.outgoing(Method::DELETE, ACCESS)).await.map(drop)
    }

    /// All trigger types, and which of them this host can fire.
    ///
    /// # Errors
    /// As every call.
    pub async fn trigger_types(&self) -> Result<Vec<TriggerType>, ClientError> {
        self.get("/background-tasks/triggers").await
    }
}

/// A handle on one registration (BackgroundTaskRegistration). Every call can fail with `not-found` once it is
/// unregistered.
#[derive(Debug, Clone)]
pub struct Task {
    client: Client,
    id: TaskId,
}

impl Task {
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// # Errors
    /// As every call.
    pub async fn get(&self) -> Result<BackgroundTaskDetail, ClientError> {
        self.client.get(self.target("")).await
    }

    /// Why it does or does not run, from the deciding code itself.
    ///
    /// # Errors
    /// As every call.
    pub async fn explain(&self) -> Result<Explanation, ClientError> {
        self.client.get(self.target("/explain")).await
    }

    /// What would be decided if this were so.
    ///
    /// # Errors
    /// `invalid-parameter` for a word that the service does not know.
    pub async fn explain_if(&self, supposition: &Supposition) -> Result<Explanation, ClientError> {
        self.client.get(self.target(&supposition.target())).await
    }

    /// Forgets the registration (Unregister); it is gone when this returns.
    ///
    /// # Errors
    /// As every call.
    pub async fn unregister(&self, running: RunningInstance) -> Result<(), ClientError> {
        let query = match running {
            RunningInstance::Cancel => "?cancelRunningTask=true",
            RunningInstance::LetFinish => "?cancelRunningTask=false",
        };
        self.client.answer(&self.client.outgoing(Method::DELETE, self.target(query))).await.map(drop)
    }

    /// Fires an ApplicationTrigger, MediaProcessingTrigger or DeviceUseTrigger (RequestAsync). `Allowed` means
    /// accepted, not started.
    ///
    /// # Errors
    /// `invalid-state` for a trigger that is not fired by a call.
    pub async fn request(&self, arguments: BTreeMap<String, String>) -> Result<RequestResult, ClientError> {
        let answer: TaskRequestAnswer = self.send("/request", &TaskRequest { arguments }).await?;
        Ok(answer.result)
    }

    /// Runs it now, whatever its trigger and conditions say. `None`: an instance runs already, and this run follows.
    ///
    /// # Errors
    /// As every call.
    pub async fn run(&self) -> Result<Option<InstanceId>, ClientError> {
        let answer: TaskRunAnswer = self.client.post(self.target("/run")).await?;
        Ok(answer.instance_id)
    }

    /// The newest instances, newest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn instances(&self) -> Result<Vec<Instance>, ClientError> {
        let page: Page<Instance> = self.client.get(self.target("/instances")).await?;
        Ok(page.items)
    }

    /// # Errors
    /// `not-found` also when the instance is no longer kept.
    pub async fn instance(&self, instance: InstanceId) -> Result<Instance, ClientError> {
        self.client.get(self.target(&format!("/instances/{instance}"))).await
    }

    /// What the instance has written so far.
    ///
    /// # Errors
    /// `not-found` also when the instance is no longer kept.
    pub async fn output(&self, instance: InstanceId) -> Result<InstanceOutput, ClientError> {
        self.client.get(self.target(&format!("/instances/{instance}/output"))).await
    }

    /// What the instance writes, from its beginning, as text in UTF-8; the end comes when the instance is over and its
    /// result is known.
    ///
    /// # Errors
    /// `not-found` also when the instance is no longer kept.
    pub async fn follow_output(&self, instance: InstanceId) -> Result<ContentReader, ClientError> {
        let target = self.target(&format!("/instances/{instance}/output?follow=true"));
        ContentReader::open(&self.client, target, 0, None).await
    }

    /// Asks one running instance to end.
    ///
    /// # Errors
    /// `instance-over` when it has ended.
    pub async fn cancel(&self, instance: InstanceId) -> Result<(), ClientError> {
        let target = self.target(&format!("/instances/{instance}"));
        self.client.answer(&self.client.outgoing(Method::DELETE, target)).await.map(drop)
    }

    fn target(&self, rest: &str) -> String {
        format!("{TASKS}/{}{rest}", self.id)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ClientError> {
        self.client.call(Method::POST, self.target(rest), body).await
    }
}
