//! The in-process model: a program that serves entry points itself, over the activation stream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use longhaul_contract::instance::Activation;
use longhaul_contract::{CancelReason, InstanceId, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use url::form_urlencoded;

use crate::event_stream::EventStream;
use crate::instance::InstanceConnection;
use crate::server_sent_events::Message;
use crate::watch::{RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN};
use crate::{Client, ClientError};

/// Code that runs when its trigger fires (IBackgroundTask).
///
/// ```no_run
/// use longhaul_client::{BackgroundTask, TaskError, TaskInstance};
///
/// struct Upload;
///
/// impl BackgroundTask for Upload {
///     async fn run(&self, instance: TaskInstance) -> Result<(), TaskError> {
///         for step in 0..10_u32 {
///             if let Some(reason) = instance.cancel_reason() {
///                 return Err(TaskError::new(format!("stopped at {step}: {reason}")));
///             }
///             std::fs::read("/etc/hostname")?; // some work
///             instance.set_progress((step + 1) * 10).await?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait BackgroundTask: Send + Sync + 'static {
    /// One run. The instance ends when this has returned and all deferrals are dropped. Who is asked to end
    /// ([`TaskInstance::cancelled`]) has five seconds.
    fn run(&self, instance: TaskInstance) -> impl Future<Output = Result<(), TaskError>> + Send;
}

/// Why a run failed, for its record. Any error becomes one with `?`.
pub struct TaskError {
    detail: String,
}

impl TaskError {
    #[must_use]
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }
}

impl<E: std::error::Error> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// One run of a [`BackgroundTask`] (IBackgroundTaskInstance). Clones are the same run.
#[derive(Debug, Clone)]
pub struct TaskInstance {
    activation: Arc<Activation>,
    connection: InstanceConnection,
    cancellation: watch::Receiver<Option<CancelReason>>,
    deferrals: mpsc::WeakSender<Infallible>,
}

impl TaskInstance {
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.activation.instance_id
    }

    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.activation.task_id
    }

    #[must_use]
    pub fn task_name(&self) -> &str {
        &self.activation.task_name
    }

    #[must_use]
    pub fn entry_point(&self) -> &str {
        &self.activation.entry_point
    }

    /// What the trigger said (TriggerDetails).
    #[must_use]
    pub fn trigger_details(&self) -> &serde_json::Value {
        &self.activation.trigger_details
    }

    /// # Errors
    /// `instance-over` when the service no longer knows the run, for instance because it was restarted.
    pub async fn set_progress(&self, progress: u32) -> Result<(), ClientError> {
        self.connection.set_progress(progress).await
    }

    /// Times it was suspended by resource policy (SuspendedCount).
    ///
    /// # Errors
    /// As [`TaskInstance::set_progress`].
    pub async fn suspended_count(&self) -> Result<u32, ClientError> {
        self.connection.suspended_count().await
    }

    /// Keeps the instance alive after `run` has returned, for work in other tasks (GetDeferral). `None` when it is
    /// over already.
    #[must_use]
    pub fn defer(&self) -> Option<TaskDeferral> {
        self.deferrals.upgrade().map(|alive| TaskDeferral { _alive: alive })
    }

    /// Why it is asked to end, once it is.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        *self.cancellation.borrow()
    }

    /// Waits until it is asked to end (Canceled). Never returns when the run ends before that.
    pub async fn cancelled(&self) -> CancelReason {
        let mut cancellation = self.cancellation.clone();
        loop {
            if let Some(reason) = *cancellation.borrow_and_update() {
                return reason;
            }
            if cancellation.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Keeps an instance alive until it is dropped (BackgroundTaskDeferral).
#[derive(Debug)]
pub struct TaskDeferral {
    _alive: mpsc::Sender<Infallible>,
}

type Outcome = Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>;
type Runner = Arc<dyn Fn(TaskInstance) -> Outcome + Send + Sync>;

/// Serves entry points of the client's application that its manifest declares with `in-process = true`.
///
/// ```no_run
/// # use longhaul_client::{BackgroundTask, Client, ClientError, Endpoint, TaskError, TaskHost, TaskInstance};
/// # struct Upload;
/// # impl BackgroundTask for Upload {
/// #     async fn run(&self, _: TaskInstance) -> Result<(), TaskError> { Ok(()) }
/// # }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect(Endpoint::of_this_user()?).await?.for_app("org.example.Photos".parse()?);
/// let error = TaskHost::new(client).serve("Example.Photos.UploadTask", Upload).run().await;
/// eprintln!("no longer served: {error}");
/// # Ok(())
/// # }
/// ```
pub struct TaskHost {
    client: Client,
    classes: HashMap<String, Runner>,
}

impl TaskHost {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, classes: HashMap::new() }
    }

    /// Adds a class; a later one of the same name takes its place.
    #[must_use]
    pub fn serve(mut self, entry_point: impl Into<String>, task: impl BackgroundTask) -> Self {
        let task = Arc::new(task);
        let runner: Runner = Arc::new(move |instance| {
            let task = Arc::clone(&task);
            Box::pin(async move { task.run(instance).await })
        });
        self.classes.insert(entry_point.into(), runner);
        self
    }

    fn target(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let mut classes: Vec<_> = self.classes.keys().collect();
        classes.sort();
        for class in classes {
            query.append_pair("entryPoint", class);
        }
        format!("/background-tasks/activations?{}", query.finish())
    }

    /// Runs what is activated, over losses of the connection and restarts of the service. Returns what trying again
    /// would not help: a refusal such as `forbidden`, or an answer that is no event stream. Dropping it ends the runs.
    pub async fn run(self) -> ClientError {
        let target = self.target();
        let mut runs = Runs { host: self, cancellations: HashMap::new(), ends: JoinSet::new() };
        let mut delay = RECONNECT_DELAY_MIN;
        loop {
            let mut is_alive = false;
            let error = runs.stay_connected(&target, &mut is_alive).await;
            if !error.is_passing() {
                return error;
            }
            if is_alive {
                delay = RECONNECT_DELAY_MIN;
            }
            runs.wait(delay).await;
            delay = (delay * 2).min(RECONNECT_DELAY_MAX);
        }
    }
}

impl fmt::Debug for TaskHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHost").field("classes", &self.classes.keys()).finish_non_exhaustive()
    }
}

/// What runs in this program now. An instance stays here until the service has heard of its end, so that an activation
/// that comes again does not run it twice.
struct Runs {
    host: TaskHost,
    cancellations: HashMap<InstanceId, watch::Sender<Option<CancelReason>>>,
    ends: JoinSet<InstanceId>,
}

impl Runs {
    /// One connection, from its request to its end.
    async fn stay_connected(&mut self, target: &str, is_alive: &mut bool) -> ClientError {
        let mut stream = match EventStream::open(&self.host.client, target, None).await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        *is_alive = true;
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Ok(message) => {
                        if let Err(error) = self.take(&message) {
                            return stream.protocol(format!("an activation cannot be read: {error}"));
                        }
                    }
                    Err(error) => return error,
                },
                Some(ended) = self.ends.join_next() => self.forget(&ended),
            }
        }
    }

    async fn wait(&mut self, delay: std::time::Duration) {
        let sleep = tokio::time::sleep(delay);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => return,
                Some(ended) = self.ends.join_next() => self.forget(&ended),
            }
        }
    }

    fn forget(&mut self, ended: &Result<InstanceId, tokio::task::JoinError>) {
        // The runs catch their panics, and nobody aborts them.
        if let Ok(instance) = ended {
            self.cancellations.remove(instance);
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), serde_json::Error> {
        if message.kind != "activation" {
            return Ok(());
        }
        let activation: Activation = serde_json::from_str(&message.data)?;
        let reason = activation.cancel_reason;
        match self.cancellations.get(&activation.instance_id) {
            Some(cancellation) if reason.is_some() => {
                cancellation.send_replace(reason);
            }
            Some(_) => {}
            None => self.start(activation),
        }
        Ok(())
    }

    fn start(&mut self, activation: Activation) {
        let (sender, cancellation) = watch::channel(activation.cancel_reason);
        self.cancellations.insert(activation.instance_id, sender);
        let runner = self.host.classes.get(&activation.entry_point).cloned();
        let connection =
            InstanceConnection::new(self.host.client.clone(), activation.task_id, activation.instance_id);
        self.ends.spawn(run_instance(activation, connection, cancellation, runner));
    }
}

async fn run_instance(
    activation: Activation,
    connection: InstanceConnection,
    cancellation: watch::Receiver<Option<CancelReason>>,
    runner: Option<Runner>,
) -> InstanceId {
    let (alive, mut deferrals) = mpsc::channel(1);
    let id = activation.instance_id;
    let failure = match runner {
        None => Some(format!("this program does not serve {:?}", activation.entry_point)),
        // An instance whose cancellation comes first has been lost by an earlier life of this program.
        Some(_) if activation.cancel_reason.is_some() => Some("it never ran in this program".to_owned()),
        Some(runner) => {
            let instance = TaskInstance {
                activation: Arc::new(activation),
                connection: connection.clone(),
                cancellation,
                deferrals: alive.downgrade(),
            };
            match AssertUnwindSafe(async { runner(instance).await }).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.detail),
                Err(_) => Some("the task panicked".to_owned()),
            }
        }
    };
    drop(alive);
    while deferrals.recv().await.is_some() {}
    let mut delay = RECONNECT_DELAY_MIN;
    while let Err(error) = connection.complete(failure.as_deref()).await
        && error.is_passing()
    {
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(RECONNECT_DELAY_MAX);
    }
    id
}
