//! The watch over losses, resyncs and refusals.

use std::time::Duration;

use crate::scripted::{Reply, ScriptedService, events, json};
use longhaul_client::contract::{ErrorCode, Event, EventKind, OperationId, Problem};
use longhaul_client::{ClientError, Watch, Watched};

const DEADLINE: Duration = Duration::from_secs(20);

async fn next(watch: &mut Watch) -> Result<Option<Watched>, ClientError> {
    tokio::time::timeout(DEADLINE, watch.next()).await.expect("the watch says something in time")
}

/// What comes next, in a word: `connected`, `lost` or the kind of the event.
async fn next_word(watch: &mut Watch) -> &'static str {
    match next(watch).await.unwrap().expect("the watch goes on") {
        Watched::Connected => "connected",
        Watched::Lost { .. } => "lost",
        Watched::Event(event) => event.kind().word(),
    }
}

fn snapshot(id: u32, is_last: bool) -> String {
    format!(
        "id: {id}\nevent: snapshot\ndata: {{\"kind\":\"snapshot\",\"operations\":[],\"isLast\":{is_last}}}\n\n"
    )
}

fn removed(id: u32) -> String {
    let operation = OperationId::from_parts(u64::from(id), &[0; 10]);
    format!("id: {id}\nevent: removed\ndata: {{\"kind\":\"removed\",\"id\":\"{operation}\"}}\n\n")
}

#[tokio::test]
async fn a_watch_goes_on_behind_the_last_event_it_saw() {
    let mut connections = 0;
    let mut service = ScriptedService::start(move |_| {
        connections += 1;
        match connections {
            1 => Reply::Close(events(&(snapshot(4, true) + &removed(5)))),
            2 => Reply::Close(String::new()),
            _ => Reply::Hold(events(&removed(6))),
        }
    })
    .await;
    let mut watch = service.client.watch(&[EventKind::Snapshot, EventKind::Removed]);
    let mut words = Vec::new();
    while words.len() < 7 {
        words.push(next_word(&mut watch).await);
    }
    assert_eq!(words, ["connected", "snapshot", "removed", "lost", "lost", "connected", "removed"]);
    let requests = service.received();
    let last: Vec<_> = requests.iter().map(|request| request.header("last-event-id")).collect();
    assert_eq!(last, [None, Some("5"), Some("5")]);
    assert!(requests.iter().all(|request| request.call == "GET /events?kinds=snapshot,removed"));
    assert_eq!(requests[0].header("accept"), Some("text/event-stream"));
}

#[tokio::test]
async fn a_snapshot_that_was_cut_off_is_asked_for_again() {
    let mut connections = 0;
    let mut service = ScriptedService::start(move |_| {
        connections += 1;
        if connections == 1 {
            Reply::Close(events(&snapshot(9, false)))
        } else {
            Reply::Hold(events(&snapshot(9, true)))
        }
    })
    .await;
    let mut watch = service.client.watch(&[]);
    for expected in ["connected", "snapshot", "lost", "connected", "snapshot"] {
        assert_eq!(next_word(&mut watch).await, expected);
    }
    assert_eq!(service.received()[1].header("last-event-id"), None);
}

#[tokio::test]
async fn a_resync_reaches_the_consumer_before_its_snapshot() {
    let service = ScriptedService::start(|_| {
        let resync = "event: resync\ndata: {\"kind\":\"resync\"}\n\n";
        let unknown = "id: 2\nevent: fromTheFuture\ndata: ?\n\n";
        Reply::Hold(events(&format!("{unknown}: comment\n\n{resync}{}", snapshot(3, true))))
    })
    .await;
    let mut watch = service.client.watch(&[]);
    for expected in ["connected", "resync", "snapshot"] {
        assert_eq!(next_word(&mut watch).await, expected);
    }
}

#[tokio::test]
async fn progress_carries_no_number_and_moves_no_position() {
    let mut connections = 0;
    let mut service = ScriptedService::start(move |_| {
        connections += 1;
        let progress = format!(
            "event: progress\ndata: {{\"kind\":\"progress\",\"id\":\"{}\",\"progress\":{{\"bytesReceived\":7}}}}\n\n",
            OperationId::from_parts(1, &[0; 10])
        );
        if connections == 1 {
            Reply::Close(events(&(snapshot(1, true) + &progress)))
        } else {
            Reply::Hold(events(""))
        }
    })
    .await;
    let mut watch = service.client.watch(&[]);
    for expected in ["connected", "snapshot"] {
        assert_eq!(next_word(&mut watch).await, expected);
    }
    match next(&mut watch).await.unwrap() {
        Some(Watched::Event(Event::Progress { progress, .. })) => assert_eq!(progress.bytes_received, 7),
        other => panic!("{other:?}"),
    }
    for expected in ["lost", "connected"] {
        assert_eq!(next_word(&mut watch).await, expected);
    }
    assert_eq!(service.received()[1].header("last-event-id"), Some("1"));
}

#[tokio::test]
async fn a_refusal_that_stays_ends_the_watch_and_one_that_passes_does_not() {
    let mut connections = 0;
    let service = ScriptedService::start(move |_| {
        connections += 1;
        let code = if connections == 1 { ErrorCode::ShuttingDown } else { ErrorCode::Unauthorized };
        let body = serde_json::to_string(&Problem::new(code, "")).unwrap();
        Reply::Keep(json(&format!("{} No", code.http_status()), &body))
    })
    .await;
    let mut watch = service.client.watch(&[]);
    assert_eq!(next_word(&mut watch).await, "lost");
    assert_eq!(next(&mut watch).await.unwrap_err().code(), Some(ErrorCode::Unauthorized));
    assert!(next(&mut watch).await.unwrap().is_none());
}

#[tokio::test]
async fn an_answer_that_is_no_event_stream_ends_the_watch() {
    for answer in [json("200 OK", "{}"), events("id: 1\nevent: removed\ndata: {\n\n")] {
        let service = ScriptedService::start(move |_| Reply::Hold(answer.clone())).await;
        let mut watch = service.client.watch(&[]);
        let error = loop {
            match next(&mut watch).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the watch ended without a reason"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    }
}

#[tokio::test]
async fn dropping_the_watch_ends_its_connection() {
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(events(&snapshot(1, true)).as_bytes()).await.unwrap();
        while stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
        gone.send(()).unwrap();
    });
    let token = longhaul_client::contract::Secret::new("t");
    let client = longhaul_client::Client::new(longhaul_client::Endpoint::tcp(&authority, token).unwrap());
    let mut watch = client.watch(&[]);
    for expected in ["connected", "snapshot"] {
        assert_eq!(next_word(&mut watch).await, expected);
    }
    drop(watch);
    tokio::time::timeout(DEADLINE, is_gone).await.expect("the connection ends in time").unwrap();
}
