//! Following, against a service that says what a test wants it to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use longhaul_client::Endpoint;
use longhaul_contract::{AttachDownloads, AttachedDownloads, Cause, Secret, TransferStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::arguments::Arguments;
use crate::commands::follow::kinds_without_snapshot;
use crate::exit::Exit;
use crate::sample::{failed, numbered, waiting, with_status};
use crate::{ServiceEntry, Trouble};

const DEADLINE: Duration = Duration::from_secs(20);

fn context() -> Context {
    let arguments = Arguments::try_parse_from(["longhaul", "--no-start", "ls"]).unwrap();
    let entry = ServiceEntry {
        run: |_| Err(Trouble::new(Exit::Internal, "no service here")),
        configuration: |_| Ok(Vec::new()),
        rotate_key: |_| Err(Trouble::new(Exit::Internal, "no service here")),
    };
    Context::new(arguments.globals, entry)
}

/// A service whose event streams say `streams` one after the other and then end (the last one stays), and whose
/// operations are what they are in `operations`.
struct Fake {
    client: Client,
    /// `POST …/attach` by id.
    taken: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start(streams: Vec<String>, operations: Vec<Operation>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let known: HashMap<String, Operation> =
            operations.into_iter().map(|operation| (operation.id.to_string(), operation)).collect();
        let (streams, known) = (Arc::new(Mutex::new(VecDeque::from(streams))), Arc::new(known));
        let all_taken = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&streams), Arc::clone(&known), Arc::clone(&all_taken)));
            }
        });
        let client = Client::new(Endpoint::tcp(&authority, Secret::new("t")).unwrap());
        Self { client, taken }
    }

    async fn follow(&self, ids: impl IntoIterator<Item = OperationId>) -> (Ending, Exit) {
        let context = context();
        let mut picture = Picture::of_expected();
        for id in ids {
            picture.expect(id, String::new());
        }
        let watch = self.client.watch(&kinds_without_snapshot());
        let mut following =
            Following::new(&context, self.client.clone(), watch, picture, Showing::Nothing).taking_results();
        let ending = tokio::time::timeout(DEADLINE, async {
            following.connected().await.unwrap();
            following.run().await.unwrap()
        });
        let ending = ending.await.expect("following ends in time");
        (ending, following.picture.exit())
    }
}

async fn serve(
    mut stream: TcpStream,
    streams: Arc<Mutex<VecDeque<String>>>,
    operations: Arc<HashMap<String, Operation>>,
    taken: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        if target.starts_with("/events") {
            let (said, is_last) = {
                let mut streams = streams.lock().unwrap();
                (streams.pop_front().unwrap_or_default(), streams.is_empty())
            };
            let begin = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            stream.write_all(format!("{begin}{said}").as_bytes()).await.unwrap();
            // The last one stays until the client leaves.
            while is_last && stream.read_u8().await.is_ok() {}
            return;
        }
        let mut body = vec![0; content_length(&head)];
        stream.read_exact(&mut body).await.unwrap();
        let id = target.split('/').nth(3).unwrap_or_default().to_owned();
        if target.contains("/attach?") {
            taken.lock().unwrap().push(id.clone());
        }
        let (status, body) = match operations.get(&id) {
            None if id == "attach" => ("200 OK", attach(&body, &operations, &taken)),
            Some(operation) => ("200 OK", serde_json::to_string(operation).unwrap()),
            None => {
                let problem = longhaul_contract::Problem::new(ErrorCode::NotFound, "forgotten");
                ("404 Not Found", serde_json::to_string(&problem).unwrap())
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn content_length(head: &str) -> usize {
    let mut lengths = head.lines().filter_map(|line| line.strip_prefix("content-length: "));
    lengths.next().map_or(0, |length| length.parse().unwrap())
}

/// Leaves out what is canceled, as a service does that still deletes its part file.
fn attach(body: &[u8], operations: &HashMap<String, Operation>, taken: &Mutex<Vec<String>>) -> String {
    let AttachDownloads { mut ids } = serde_json::from_slice(body).unwrap();
    let is_taken = |id: &OperationId| {
        operations.get(&id.to_string()).is_some_and(|operation| {
            operation.status.is_final() && operation.status != TransferStatus::Canceled
        })
    };
    ids.retain(is_taken);
    taken.lock().unwrap().extend(ids.iter().map(ToString::to_string));
    serde_json::to_string(&AttachedDownloads { ids }).unwrap()
}

fn told(number: u32, operation: &Operation) -> String {
    let event = Event::Operation { operation: Box::new(operation.clone()) };
    format!("id: {number}\nevent: operation\ndata: {}\n\n", serde_json::to_string(&event).unwrap())
}

fn done(number: u32) -> Operation {
    with_status(numbered(number, "film.mkv"), TransferStatus::Completed)
}

#[tokio::test]
async fn it_ends_when_every_operation_has_and_takes_each_result_once() {
    let (first, second) = (done(1), done(2));
    let stranger = done(3);
    let stream =
        told(1, &numbered(1, "film.mkv")) + &told(2, &stranger) + &told(3, &first) + &told(4, &second);
    let fake = Fake::start(vec![stream], vec![first.clone(), second.clone()]).await;
    assert_eq!(fake.follow([first.id, second.id]).await, (Ending::Settled, Exit::Success));
    let mut taken = fake.taken.lock().unwrap().clone();
    taken.sort();
    assert_eq!(taken, [first.id.to_string(), second.id.to_string()]);
}

#[tokio::test]
async fn what_ended_while_the_service_was_away_is_asked_for() {
    let ended = failed(numbered(1, "film.mkv"), TransferStatus::Error, Cause::HttpStatus, "404");
    let retrying = waiting(numbered(1, "film.mkv"), longhaul_contract::ReasonCode::Backoff, "503", Some(1));
    let fake = Fake::start(vec![told(1, &retrying), String::new()], vec![ended.clone()]).await;
    assert_eq!(fake.follow([ended.id]).await, (Ending::Settled, Exit::TransferFailed));
}

#[tokio::test]
async fn what_a_resync_may_have_hidden_is_asked_for() {
    let resync = "event: resync\ndata: {\"kind\":\"resync\"}\n\n".to_owned();
    let fake = Fake::start(vec![resync], vec![done(1)]).await;
    assert_eq!(fake.follow([done(1).id]).await, (Ending::Settled, Exit::Success));
}

#[tokio::test]
async fn what_was_forgotten_meanwhile_is_no_success() {
    let resync = "event: resync\ndata: {\"kind\":\"resync\"}\n\n".to_owned();
    let fake = Fake::start(vec![resync], Vec::new()).await;
    assert_eq!(fake.follow([done(1).id]).await, (Ending::Settled, Exit::TransferFailed));
}

#[tokio::test]
async fn what_waits_for_its_caller_is_not_waited_for() {
    let stuck = failed(
        numbered(1, "film.mkv"),
        TransferStatus::PausedRecoverableWebErrorStatus,
        Cause::HttpStatus,
        "403",
    );
    let fake = Fake::start(vec![told(1, &stuck)], vec![stuck.clone()]).await;
    assert_eq!(fake.follow([stuck.id]).await, (Ending::Settled, Exit::NeedsInput));
    assert!(fake.taken.lock().unwrap().is_empty(), "there is no result to take");
}

#[tokio::test]
async fn many_results_are_taken_and_a_canceled_one_by_itself() {
    let mut all: Vec<Operation> = (1..=1_200).map(done).collect();
    all.push(with_status(numbered(2_000, "film.mkv"), TransferStatus::Canceled));
    let stream = (1..).zip(&all).map(|(number, operation)| told(number, operation)).collect();
    let fake = Fake::start(vec![stream], all.clone()).await;
    let ids: Vec<OperationId> = all.iter().map(|operation| operation.id).collect();
    assert_eq!(fake.follow(ids.clone()).await, (Ending::Settled, Exit::TransferFailed));
    let mut taken = fake.taken.lock().unwrap().clone();
    taken.sort();
    assert_eq!(taken, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
}
