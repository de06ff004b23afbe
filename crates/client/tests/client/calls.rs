//! Calls against a service that answers as scripted.

use crate::scripted::{Received, Reply, ScriptedService, json};
use longhaul_client::contract::{
    AppId, CreateDownload, CreateDownloads, ErrorCode, OperationId, Problem, Scope,
};
use longhaul_client::{Client, ClientError, DownloadQuery, Endpoint};

const HEALTH: &str = r#"{"status":"ok","version":"1"}"#;

fn healthy(_: &Received) -> Reply {
    Reply::Keep(json("200 OK", HEALTH))
}

#[tokio::test]
async fn a_call_names_host_token_and_application() {
    let mut service = ScriptedService::start(healthy).await;
    let client = service.client.for_app(AppId::new("org.example.Photos").unwrap());
    assert_eq!(client.health().await.unwrap().status, "ok");
    let request = service.received().remove(0);
    assert_eq!(request.call, "GET /healthz");
    assert_eq!(request.header("authorization"), Some("Bearer the-token"));
    assert_eq!(request.header("longhaul-app"), Some("org.example.Photos"));
    assert_eq!(request.header("host"), Some(client.endpoint().to_string().as_str()));
}

#[tokio::test]
async fn a_refusal_is_the_problem_of_the_service() {
    let problem = Problem::new(ErrorCode::FileExists, "/a/b exists").with_field("/resultFile");
    let body = serde_json::to_string(&problem).unwrap();
    let service = ScriptedService::start(move |_| Reply::Keep(json("409 Conflict", &body))).await;
    let error = service.client.create_download(&CreateDownload::new("http://a/", "/a/b")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FileExists));
    let ClientError::Refused(refused) = error else { panic!("{error}") };
    assert_eq!(*refused, problem);
}

#[tokio::test]
async fn what_is_no_answer_of_ours_is_told_apart() {
    for (status, body) in [
        ("200 OK", "<html>"),
        ("502 Bad Gateway", "<html>"),
        ("409 Conflict", r#"{"code":"from-the-future"}"#),
    ] {
        let answer = json(status, body);
        let service = ScriptedService::start(move |_| Reply::Keep(answer.clone())).await;
        let error = service.client.health().await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{status}: {error}");
        assert!(error.to_string().contains("/healthz"), "{error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_told_apart_from_a_broken_connection() {
    let folder = tempfile::tempdir().unwrap();
    let error = Client::connect(Endpoint::unix(folder.path().join("none.sock")).unwrap()).await.unwrap_err();
    assert!(error.is_not_listening() && error.is_passing(), "{error}");
    let service = ScriptedService::start(|_| Reply::Close(String::new())).await;
    let error = service.client.health().await.unwrap_err();
    assert!(!error.is_not_listening() && error.is_passing(), "{error}");
}

#[tokio::test]
async fn connections_are_used_again_and_replaced_when_they_die() {
    let mut count = 0;
    let mut service = ScriptedService::start(move |_| {
        count += 1;
        if count == 2 { Reply::Close(json("200 OK", HEALTH)) } else { Reply::Keep(json("200 OK", HEALTH)) }
    })
    .await;
    for _ in 0..4 {
        service.client.health().await.unwrap();
    }
    let connections: Vec<_> = service.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_only_where_that_changes_nothing() {
    let mut count = 0;
    let mut service = ScriptedService::start(move |_| {
        count += 1;
        if count == 2 || count == 4 {
            Reply::Close(String::new())
        } else {
            Reply::Keep(json("200 OK", HEALTH))
        }
    })
    .await;
    service.client.health().await.unwrap();
    service.client.health().await.unwrap();
    assert_eq!(service.received().len(), 3, "the second call was sent twice");
    let error = service.client.create_download(&CreateDownload::new("http://a/", "/a")).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert_eq!(service.received().len(), 1, "a creation is sent once");
}

#[tokio::test]
async fn a_thousand_is_the_most_of_one_batch() {
    let mut service = ScriptedService::start(|request| {
        let batch: CreateDownloads = serde_json::from_str(&request.body).unwrap();
        let ids: Vec<_> = batch
            .operations
            .iter()
            .map(|spec| OperationId::from_parts(spec.result_file[1..].parse().unwrap(), &[0; 10]))
            .collect();
        Reply::Keep(json("201 Created", &serde_json::json!({ "ids": ids }).to_string()))
    })
    .await;
    let specs = (0..2_500).map(|number| CreateDownload::new("http://a/", format!("/{number}"))).collect();
    let ids = service.client.create_downloads(specs).await.unwrap();
    let expected: Vec<_> = (0..2_500).map(|number| OperationId::from_parts(number, &[0; 10])).collect();
    assert_eq!(ids, expected);
    assert_eq!(service.received().len(), 3);
}

#[tokio::test]
async fn a_batch_with_too_few_ids_is_no_answer() {
    let service = ScriptedService::start(|_| Reply::Keep(json("201 Created", r#"{"ids":[]}"#))).await;
    let error =
        service.client.create_downloads(vec![CreateDownload::new("http://a/", "/a")]).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let mut service = ScriptedService::start(|request| {
        let page = if request.call.contains("cursor=next") {
            r#"{"items":[]}"#
        } else {
            r#"{"items":[],"nextCursor":"next"}"#
        };
        Reply::Keep(json("200 OK", page))
    })
    .await;
    let mut pages = service.client.downloads(DownloadQuery::default());
    assert!(pages.next().await.unwrap().is_some());
    assert!(pages.next().await.unwrap().is_some());
    assert!(pages.next().await.unwrap().is_none());
    assert_eq!(service.received().len(), 2);
}

#[tokio::test]
async fn names_are_escaped_in_paths() {
    let mut service = ScriptedService::start(|_| {
        Reply::Keep(json("200 OK", r#"{"name":"a/b ?ä","transferBehavior":"Serialized","liveOperations":0}"#))
    })
    .await;
    service.client.group(&"a/b ?ä".parse().unwrap()).await.unwrap();
    assert_eq!(service.received()[0].call, "GET /background-transfers/groups/a%2Fb%20%3F%C3%A4");
}

#[tokio::test]
async fn a_token_is_asked_for_with_its_scopes() {
    let mut service =
        ScriptedService::start(|_| Reply::Keep(json("201 Created", r#"{"token":"t","scopes":["read"]}"#)))
            .await;
    let app = AppId::new("org.example.Photos").unwrap();
    let made = service.client.create_token(&app, &[Scope::Read]).await.unwrap();
    assert_eq!(made.token, "t");
    let request = service.received().remove(0);
    assert_eq!(
        (request.call.as_str(), request.body.as_str()),
        ("POST /apps/org.example.Photos/tokens", r#"{"scopes":["read"]}"#)
    );
}

const ID: OperationId = OperationId(uuid::Uuid::nil());

#[tokio::test]
async fn no_response_yet_is_not_an_error() {
    let service = ScriptedService::start(|_| Reply::Keep("HTTP/1.1 204 No Content\r\n\r\n".to_owned())).await;
    assert_eq!(service.client.download(ID).response().await.unwrap(), None);
}

#[tokio::test]
async fn content_is_read_from_the_asked_offset_on() {
    let mut service = ScriptedService::start(|_| {
        Reply::Keep(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 3-6/10\r\ncontent-length: 4\r\n\r\n3456"
                .to_owned(),
        )
    })
    .await;
    let mut reader = service.client.download(ID).content(3, Some(4)).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!((bytes.as_slice(), reader.position(), reader.total()), (b"3456".as_slice(), 7, Some(10)));
    assert_eq!(service.received()[0].header("range"), Some("bytes=3-6"));
}

#[tokio::test]
async fn content_of_another_range_is_refused() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789",
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-5/10\r\ncontent-length: 4\r\n\r\n2345",
        "HTTP/1.1 206 Partial Content\r\ncontent-length: 4\r\n\r\n3456",
    ] {
        let service = ScriptedService::start(move |_| Reply::Keep(answer.to_owned())).await;
        let error = service.client.download(ID).content(3, None).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{answer}: {error}");
    }
}

#[tokio::test]
async fn content_that_breaks_off_is_an_error_with_the_position_kept() {
    let service = ScriptedService::start(|_| {
        Reply::Close("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123".to_owned())
    })
    .await;
    let mut reader = service.client.download(ID).content(0, None).await.unwrap();
    let mut failed = None;
    while failed.is_none() {
        match reader.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a broken answer was taken for a whole one"),
            Err(error) => failed = Some(error),
        }
    }
    assert!(matches!(failed, Some(ClientError::Unreachable { .. })));
    assert_eq!(reader.position(), 4);
    assert!(reader.chunk().await.unwrap().is_none(), "nothing comes behind the error");
}
