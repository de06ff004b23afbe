//! The side of the running task: its progress, its deferrals, and being asked to end (IBackgroundTaskInstance).

use std::time::Duration;

use http::Method;
use longhaul_contract::instance::{Cancellation, CompleteInstance, Deferral, PutProgress};
use longhaul_contract::{AppId, CancelReason, InstanceId, TaskId, paths};

use crate::calls::segment;
use crate::endpoint::InvalidEndpoint;
use crate::tasks::TASKS;
use crate::watch::{RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN};
use crate::{Client, ClientError, Endpoint};

/// Names the registration in a task's environment.
pub const TASK_VARIABLE: &str = "LONGHAUL_TASK_ID";
/// Names the instance in a task's environment.
pub const INSTANCE_VARIABLE: &str = "LONGHAUL_INSTANCE_ID";
/// Names the application in a task's environment.
pub const APP_VARIABLE: &str = "LONGHAUL_APP";

/// How long one question for a cancellation is left open, in seconds.
const CANCELLATION_WAIT_SECONDS: u64 = 60;

/// Why a process is no task, or cannot reach its service.
#[derive(Debug, thiserror::Error)]
pub enum NoInstance {
    #[error("{variable} is not set: this process was not started as a background task")]
    VariableMissing { variable: &'static str },
    #[error("{variable} holds {value:?}, which it cannot")]
    VariableInvalid { variable: &'static str, value: String },
    #[error(transparent)]
    InvalidEndpoint(#[from] InvalidEndpoint),
}

/// What a running task says to its service, and hears from it. Clones are the same instance.
///
/// ```no_run
/// use longhaul_client::InstanceConnection;
///
/// # async fn work(_: u32) {}
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let instance = InstanceConnection::from_environment()?;
/// for percent in 0..100 {
///     tokio::select! {
///         () = work(percent) => instance.set_progress(percent + 1).await?,
///         reason = instance.cancelled() => {
///             eprintln!("asked to end: {}", reason?);
///             break;
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct InstanceConnection {
    client: Client,
    task: TaskId,
    instance: InstanceId,
}

impl InstanceConnection {
    /// The instance that this process was started as, by the variables `LONGHAUL_TASK_ID`, `LONGHAUL_INSTANCE_ID`,
    /// `LONGHAUL_APP` and `LONGHAUL_SOCKET`.
    ///
    /// # Errors
    /// A variable is missing or holds something else.
    pub fn from_environment() -> Result<Self, NoInstance> {
        let text = |variable| match std::env::var_os(variable) {
            Some(value) if !value.is_empty() => Ok(value.to_string_lossy().into_owned()),
            _ => Err(NoInstance::VariableMissing { variable }),
        };
        let invalid =
            |variable, value: &str| NoInstance::VariableInvalid { variable, value: value.to_owned() };
        let (task, instance, app) = (text(TASK_VARIABLE)?, text(INSTANCE_VARIABLE)?, text(APP_VARIABLE)?);
        let socket = text(paths::SOCKET_VARIABLE)?;
        let app = AppId::new(&app).map_err(|_| invalid(APP_VARIABLE, &app))?;
        Ok(Self::new(
            Client::new(Endpoint::unix(socket)?).for_app(app),
            task.parse().map_err(|_| invalid(TASK_VARIABLE, &task))?,
            instance.parse().map_err(|_| invalid(INSTANCE_VARIABLE, &instance))?,
        ))
    }

    #[must_use]
    pub fn new(client: Client, task: TaskId, instance: InstanceId) -> Self {
        Self { client, task, instance }
    }

    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.task
    }

    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.instance
    }

    /// Any number, mostly per cent (Progress). It is kept and shown; more than a few a second are a waste.
    ///
    /// # Errors
    /// `instance-over` when the instance has ended.
    pub async fn set_progress(&self, progress: u32) -> Result<(), ClientError> {
        self.client.tell(Method::PUT, self.target("progress"), &PutProgress { progress }).await
    }

    /// The instance lives until all its deferrals are completed, within its time limit (GetDeferral).
    ///
    /// # Errors
    /// `instance-over` when the instance has ended.
    pub async fn defer(&self) -> Result<InstanceDeferral, ClientError> {
        let deferral: Deferral = self.client.post(self.target("deferrals")).await?;
        Ok(InstanceDeferral { connection: self.clone(), id: deferral.deferral_id })
    }

    /// A deferral by its id, for another process than the one that took it.
    #[must_use]
    pub fn deferral(&self, id: impl Into<String>) -> InstanceDeferral {
        InstanceDeferral { connection: self.clone(), id: id.into() }
    }

    /// Whether it is asked to end. Waits up to `wait`, in whole seconds, while it is not.
    ///
    /// # Errors
    /// `instance-over` when the instance has ended.
    pub async fn cancellation(&self, wait: Duration) -> Result<Cancellation, ClientError> {
        let target = format!("{}?wait={}", self.target("cancellation"), wait.as_secs());
        self.client.get(target).await
    }

    /// Waits until it is asked to end, over restarts of the service, and says why. It may be dropped at any time.
    ///
    /// # Errors
    /// `instance-over` when the instance has ended, and other refusals that trying again would not change.
    pub async fn cancelled(&self) -> Result<CancelReason, ClientError> {
        let mut delay = RECONNECT_DELAY_MIN;
        loop {
            match self.cancellation(Duration::from_secs(CANCELLATION_WAIT_SECONDS)).await {
                Ok(Cancellation { reason: Some(reason), .. }) => return Ok(reason),
                Ok(Cancellation { reason: None, .. }) => delay = RECONNECT_DELAY_MIN,
                Err(error) if error.is_passing() => {
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RECONNECT_DELAY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Times it was suspended by resource policy (SuspendedCount).
    ///
    /// # Errors
    /// `instance-over` when the instance has ended.
    pub async fn suspended_count(&self) -> Result<u32, ClientError> {
        Ok(self.cancellation(Duration::ZERO).await?.suspended_count)
    }

    /// The task has returned, with or without a failure. A process need not call this: its exit says the same.
    ///
    /// # Errors
    /// `instance-over` when the instance has ended.
    pub async fn complete(&self, failure: Option<&str>) -> Result<(), ClientError> {
        let body = CompleteInstance { failure: failure.map(str::to_owned) };
        self.client.tell(Method::POST, self.target("complete"), &body).await
    }

    fn target(&self, rest: &str) -> String {
        format!("{TASKS}/{}/instances/{}/{rest}", self.task, self.instance)
    }
}

/// Keeps an instance alive until it is completed (BackgroundInstanceDeferral). One that is dropped instead stays open,
/// until the instance's time is over.
#[derive(Debug)]
pub struct InstanceDeferral {
    connection: InstanceConnection,
    id: String,
}

impl InstanceDeferral {
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// # Errors
    /// `not-found` when it has been completed, `instance-over` when the instance has ended.
    pub async fn complete(self) -> Result<(), ClientError> {
        let Self { connection, id } = self;
        let target = connection.target(&format!("deferrals/{}", segment(&id)));
        connection.client.answer(&connection.client.outgoing(Method::DELETE, target)).await.map(drop)
    }
}
