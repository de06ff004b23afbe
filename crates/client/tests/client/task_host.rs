//! The in-process model: activations that come, come again, are cancelled and reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::scripted::{Received, Reply, ScriptedService, events, json};
use longhaul_client::contract::{CancelReason, ErrorCode, InstanceId, Problem};
use longhaul_client::{BackgroundTask, TaskError, TaskHost, TaskInstance};
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(20);
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn instance(number: u64) -> InstanceId {
    InstanceId::from_parts(number, &[0; 10])
}

fn activation(number: u64, class: &str, reason: Option<&str>) -> String {
    let id = instance(number);
    let document = serde_json::json!({
        "taskId": id, "instanceId": id, "entryPoint": class, "taskName": "a", "triggerDetails": { "number": number },
        "cancelReason": reason,
    });
    format!("event: activation\ndata: {document}\n\n")
}

/// A service whose stream says these things, one text for each connection, and that passes on what is completed: the
/// instance and the failure.
async fn service(
    streams: Vec<Reply>,
) -> (ScriptedService, mpsc::UnboundedReceiver<(String, serde_json::Value)>) {
    let (sender, completed) = mpsc::unbounded_channel();
    let mut streams = streams.into_iter();
    let service = ScriptedService::start(move |request: &Received| {
        if request.call.starts_with("GET /background-tasks/activations") {
            return streams.next().unwrap_or(Reply::Hold(events("")));
        }
        if request.call.ends_with("/complete") {
            let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            let id = request.call.split('/').nth(4).unwrap().to_owned();
            sender.send((id, body["failure"].clone())).unwrap();
        }
        Reply::Keep(NO_CONTENT.to_owned())
    })
    .await;
    (service, completed)
}

async fn next<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(DEADLINE, receiver.recv()).await.expect("it comes in time").expect("it comes")
}

/// Runs until it is cancelled, and counts its runs.
struct Waiting(Arc<AtomicUsize>);

impl BackgroundTask for Waiting {
    async fn run(&self, instance: TaskInstance) -> Result<(), TaskError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert_eq!(instance.trigger_details()["number"], 1);
        assert_eq!(instance.cancel_reason(), None);
        instance.set_progress(10).await?;
        assert_eq!(instance.cancelled().await, CancelReason::EnergySaver);
        Err(TaskError::new("stopped"))
    }
}

#[tokio::test]
async fn an_activation_that_comes_again_runs_once_and_hears_of_its_cancellation() {
    let first = activation(1, "Waiting", None);
    let (mut service, mut completed) = service(vec![
        Reply::Close(events(&first)),
        Reply::Close(String::new()),
        Reply::Hold(events(
            &(": hello\n\n".to_owned() + &first + &activation(1, "Waiting", Some("EnergySaver"))),
        )),
    ])
    .await;
    let runs = Arc::new(AtomicUsize::new(0));
    let host =
        TaskHost::new(service.client.clone()).serve("Waiting", Waiting(Arc::clone(&runs))).serve("A b", Fine);
    let host = tokio::spawn(host.run());
    assert_eq!(next(&mut completed).await, (instance(1).to_string(), "stopped".into()));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let received = service.received();
    assert_eq!(received[0].call, "GET /background-tasks/activations?entryPoint=A+b&entryPoint=Waiting");
    assert!(received.iter().any(|request| request.call.ends_with("/progress")));
    host.abort();
}

struct Fine;

impl BackgroundTask for Fine {
    async fn run(&self, _: TaskInstance) -> Result<(), TaskError> {
        Ok(())
    }
}

struct Broken;

impl BackgroundTask for Broken {
    async fn run(&self, instance: TaskInstance) -> Result<(), TaskError> {
        if instance.trigger_details()["number"] == 2 {
            panic!("on purpose");
        }
        std::fs::read("/this/file/is/not/there")?;
        Ok(())
    }
}

#[tokio::test]
async fn how_a_run_ended_is_reported_in_words() {
    let stream = [
        activation(1, "Fine", None),
        activation(2, "Broken", None),
        activation(3, "Broken", None),
        activation(4, "Unknown", None),
        activation(5, "Fine", Some("Abort")),
    ];
    let (service, mut completed) = service(vec![Reply::Hold(events(&stream.concat()))]).await;
    let host = TaskHost::new(service.client.clone()).serve("Fine", Fine).serve("Broken", Broken);
    let host = tokio::spawn(host.run());
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..stream.len() {
        let (id, failure) = next(&mut completed).await;
        ends.insert(id, failure);
    }
    let failures: Vec<_> = ends.values().map(|failure| failure.as_str().unwrap_or("none")).collect();
    assert_eq!(
        failures,
        [
            "none",
            "the task panicked",
            "No such file or directory (os error 2)",
            "this program does not serve \"Unknown\"",
            "it never ran in this program",
        ]
    );
    host.abort();
}

/// Returns at once and lives on in a deferral that the test drops.
struct Deferring(mpsc::UnboundedSender<(TaskInstance, longhaul_client::TaskDeferral)>);

impl BackgroundTask for Deferring {
    async fn run(&self, instance: TaskInstance) -> Result<(), TaskError> {
        let deferral = instance.defer().expect("it runs");
        self.0.send((instance, deferral)).map_err(|error| TaskError::new(error.to_string()))
    }
}

#[tokio::test]
async fn a_deferral_keeps_the_instance_alive_behind_run() {
    let (service, mut completed) =
        service(vec![Reply::Hold(events(&activation(1, "Deferring", None)))]).await;
    let (sender, mut deferred) = mpsc::unbounded_channel();
    let host =
        tokio::spawn(TaskHost::new(service.client.clone()).serve("Deferring", Deferring(sender)).run());
    let (running, first) = next(&mut deferred).await;
    let second = running.defer().expect("the first keeps it alive");
    drop(first);
    assert!(completed.try_recv().is_err());
    drop(second);
    assert_eq!(next(&mut completed).await, (instance(1).to_string(), serde_json::Value::Null));
    assert!(running.defer().is_none());
    host.abort();
}

#[tokio::test]
async fn a_refusal_that_stays_ends_the_host() {
    let body = serde_json::to_string(&Problem::new(ErrorCode::Forbidden, "no")).unwrap();
    let service = ScriptedService::start(move |_| Reply::Keep(json("403 No", &body))).await;
    let ended =
        tokio::time::timeout(DEADLINE, TaskHost::new(service.client.clone()).serve("Fine", Fine).run());
    assert_eq!(ended.await.unwrap().code(), Some(ErrorCode::Forbidden));
}
