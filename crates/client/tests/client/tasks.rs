//! The calls about background tasks, and the side of the running task.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::scripted::{Reply, ScriptedService, json};
use longhaul_client::contract::{
    AccessRequestKind, AccessStatus, AppId, CancelReason, ErrorCode, HostSignal, InstanceId, OnConflict,
    Problem, RegisterTaskRequest, RequestResult, TaskId, TriggerKind, TriggerSpec, task::RequestAccess,
};
use longhaul_client::{InstanceConnection, RunningInstance};

const TASK: TaskId = TaskId(uuid::Uuid::nil());
const INSTANCE: InstanceId = InstanceId(uuid::Uuid::nil());
const NIL: &str = "00000000-0000-0000-0000-000000000000";
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn thin(name: &str) -> String {
    format!(
        r#"{{"id":"{NIL}","name":"{name}","triggerType":"TimeTrigger","isActive":false,"conditions":["ExternalPower"]}}"#
    )
}

fn request() -> RegisterTaskRequest {
    let trigger = TriggerSpec { freshness_time: Some(15), ..TriggerSpec::new(TriggerKind::TimeTrigger) };
    RegisterTaskRequest::new("a b".parse().unwrap(), "Example.Task", trigger)
}

#[tokio::test]
async fn registering_says_what_becomes_of_a_name_that_is_taken() {
    let mut service = ScriptedService::start(|_| Reply::Keep(json("201 Created", &thin("a b")))).await;
    for on_conflict in [OnConflict::Fail, OnConflict::Replace, OnConflict::Allow] {
        let task = service.client.register_task(&request(), on_conflict).await.unwrap();
        assert_eq!((task.id, task.name.as_str()), (TASK, "a b"));
    }
    let received = service.received();
    let calls: Vec<_> = received.iter().map(|request| request.call.as_str()).collect();
    assert_eq!(
        calls,
        [
            "POST /background-tasks",
            "POST /background-tasks?onConflict=replace",
            "POST /background-tasks?onConflict=allow"
        ]
    );
    let body: serde_json::Value = serde_json::from_str(&received[0].body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "name": "a b", "entryPoint": "Example.Task", "isNetworkRequested": false, "cancelOnConditionLoss": false,
            "trigger": { "type": "TimeTrigger", "freshnessTime": 15, "oneShot": false }
        })
    );
}

#[tokio::test]
async fn lists_of_the_given_contract_are_plain_and_groups_come_in_pages() {
    let mut service = ScriptedService::start(|request| {
        let tasks = format!("[{}]", thin("a"));
        let answer = match request.call.as_str() {
            "GET /background-tasks" => tasks,
            "GET /background-tasks/groups" => {
                format!(r#"{{"items":[{{"id":"one","tasks":{tasks}}}],"nextCursor":"c d"}}"#)
            }
            "GET /background-tasks/groups?cursor=c%20d" => {
                r#"{"items":[{"id":"two","tasks":[]}]}"#.to_owned()
            }
            "GET /background-tasks/groups/a%2Fb" => format!(r#"{{"id":"a/b","tasks":{tasks}}}"#),
            other => panic!("{other}"),
        };
        Reply::Keep(json("200 OK", &answer))
    })
    .await;
    assert_eq!(service.client.tasks().await.unwrap().len(), 1);
    let groups = service.client.task_groups().await.unwrap();
    let ids: Vec<_> = groups.iter().map(|group| group.id.as_str()).collect();
    assert_eq!(ids, ["one", "two"]);
    assert_eq!(service.client.task_group(&"a/b".parse().unwrap()).await.unwrap().tasks.len(), 1);
    assert_eq!(service.received().len(), 4);
}

#[tokio::test]
async fn a_registration_is_asked_run_and_forgotten() {
    let mut service = ScriptedService::start(|request| {
        Reply::Keep(match request.call.split_once('/').unwrap().1.rsplit('/').next().unwrap() {
            "request" => json("200 OK", r#"{"result":"CurrentlyRunning"}"#),
            "run" => json("202 Accepted", "{}"),
            _ => NO_CONTENT.to_owned(),
        })
    })
    .await;
    let task = service.client.task(TASK);
    let arguments = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(task.request(arguments).await.unwrap(), RequestResult::CurrentlyRunning);
    assert_eq!(task.run().await.unwrap(), None);
    task.cancel(INSTANCE).await.unwrap();
    task.unregister(RunningInstance::LetFinish).await.unwrap();
    let received = service.received();
    let calls: Vec<_> = received.iter().map(|request| request.call.as_str()).collect();
    assert_eq!(
        calls,
        [
            format!("POST /background-tasks/{NIL}/request"),
            format!("POST /background-tasks/{NIL}/run"),
            format!("DELETE /background-tasks/{NIL}/instances/{NIL}"),
            format!("DELETE /background-tasks/{NIL}?cancelRunningTask=false"),
        ]
    );
    assert_eq!(received[0].body, r#"{"arguments":{"a":"b"}}"#);
}

#[tokio::test]
async fn access_is_asked_for_given_back_and_decided() {
    let mut service = ScriptedService::start(|request| {
        let is_answered = !request.call.starts_with("DELETE") && !request.call.starts_with("PUT");
        let answer = json("200 OK", r#"{"status":"AllowedSubjectToSystemPolicy"}"#);
        Reply::Keep(if is_answered { answer } else { NO_CONTENT.to_owned() })
    })
    .await;
    let client = service.client.clone();
    assert!(client.access_status().await.unwrap().is_allowed());
    client.request_access(None).await.unwrap();
    let kind = RequestAccess { kind: Some(AccessRequestKind::AlwaysAllowed), reason: Some("why".to_owned()) };
    client.request_access(Some(&kind)).await.unwrap();
    client.remove_access().await.unwrap();
    let app = AppId::new("org.example.Photos").unwrap();
    client.put_access(&app, AccessStatus::DeniedByUser).await.unwrap();
    client.set_host_signal(HostSignal::Power, "battery:40").await.unwrap();
    client.unset_host_signal(HostSignal::Power).await.unwrap();
    let received: Vec<_> =
        service.received().into_iter().map(|request| (request.call, request.body)).collect();
    let expected = [
        ("GET /background-tasks/access", ""),
        ("POST /background-tasks/access", ""),
        ("POST /background-tasks/access", r#"{"kind":"AlwaysAllowed","reason":"why"}"#),
        ("DELETE /background-tasks/access", ""),
        ("PUT /apps/org.example.Photos/access", r#"{"status":"DeniedByUser"}"#),
        ("PUT /host/power", r#"{"value":"battery:40"}"#),
        ("DELETE /host/power", ""),
    ];
    assert_eq!(received, expected.map(|(call, body)| (call.to_owned(), body.to_owned())));
}

#[tokio::test]
async fn a_running_task_speaks_of_itself() {
    let mut service = ScriptedService::start(|request| {
        Reply::Keep(if request.call.ends_with("/deferrals") {
            json("201 Created", r#"{"deferralId":"a/1"}"#)
        } else {
            NO_CONTENT.to_owned()
        })
    })
    .await;
    let instance = InstanceConnection::new(service.client.clone(), TASK, INSTANCE);
    instance.set_progress(40).await.unwrap();
    let deferral = instance.defer().await.unwrap();
    assert_eq!(deferral.id(), "a/1");
    deferral.complete().await.unwrap();
    instance.complete(None).await.unwrap();
    instance.complete(Some("no paper")).await.unwrap();
    let base = format!("/background-tasks/{NIL}/instances/{NIL}");
    let received: Vec<_> =
        service.received().into_iter().map(|request| (request.call, request.body)).collect();
    let expected = [
        (format!("PUT {base}/progress"), r#"{"progress":40}"#),
        (format!("POST {base}/deferrals"), ""),
        (format!("DELETE {base}/deferrals/a%2F1"), ""),
        (format!("POST {base}/complete"), r#"{"failure":null}"#),
        (format!("POST {base}/complete"), r#"{"failure":"no paper"}"#),
    ];
    assert_eq!(received, expected.map(|(call, body)| (call, body.to_owned())));
}

#[tokio::test]
async fn waiting_for_a_cancellation_outlives_silence_and_losses() {
    let mut count = 0;
    let mut service = ScriptedService::start(move |_| {
        count += 1;
        match count {
            1 => Reply::Keep(json("200 OK", r#"{"suspendedCount":0}"#)),
            2 => Reply::Close(String::new()),
            3 => Reply::Keep(json("503 No", &problem(ErrorCode::ShuttingDown))),
            _ => Reply::Keep(json(
                "200 OK",
                r#"{"reason":"ConditionLoss","millisecondsLeft":5000,"suspendedCount":2}"#,
            )),
        }
    })
    .await;
    let instance = InstanceConnection::new(service.client.clone(), TASK, INSTANCE);
    let reason = tokio::time::timeout(Duration::from_secs(20), instance.cancelled()).await.unwrap().unwrap();
    assert_eq!(reason, CancelReason::ConditionLoss);
    assert!(service.received().iter().all(|request| request.call.ends_with("/cancellation?wait=60")));
    let gone =
        ScriptedService::start(|_| Reply::Keep(json("409 No", &problem(ErrorCode::InstanceOver)))).await;
    let instance = InstanceConnection::new(gone.client.clone(), TASK, INSTANCE);
    assert_eq!(instance.cancelled().await.unwrap_err().code(), Some(ErrorCode::InstanceOver));
}

fn problem(code: ErrorCode) -> String {
    serde_json::to_string(&Problem::new(code, "")).unwrap()
}
