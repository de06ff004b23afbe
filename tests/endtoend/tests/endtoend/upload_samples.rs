//! The upload scenarios of the platform's own background-transfer samples, by their numbers.

use longhaul_endtoend::{DEADLINE, DOWNLOADS, House, UPLOADS, assert_exit, sent, status_of};
use longhaul_lab::{Content, Request, Response, Server, wait_until};
use serde_json::{Value, json};

const SIZE: u64 = 2_000_000;

/// The samples' upload page: takes every body, and says how many bytes it took.
fn upload_page() -> Server {
    Server::start(|exchange| {
        let text = format!("took {} bytes", exchange.request.body.len());
        exchange.respond(Response::new(200).header("Content-Type", "text/plain").text(&text));
    })
}

/// The one POST; what a server speaks may have been asked before.
fn posted(server: &Server) -> Request {
    let mut posts = server.requests().into_iter().filter(|request| request.method == "POST");
    let post = posts.next().expect("a POST came");
    assert!(posts.next().is_none(), "it came once");
    post
}

#[test]
fn scenario_2a_one_file_is_posted_as_it_is() {
    let server = upload_page();
    let house = House::new();
    let content = Content::new(1, SIZE);
    let mut spec = house.upload_spec("POST", &server.url("/upload.aspx"), "film", content);
    spec.as_object_mut().unwrap().remove("method");
    spec["requestHeaders"] = json!([{ "name": "Filename", "value": "film" }]);
    spec["rateLimit"] = 2_000_000.into();
    let mut events = house.api().stream("GET", "/events?kinds=operation,progress,uploads", None).unwrap();
    let id = house.create_upload(&spec);
    let completed = house.wait_for_upload(&id, "Completed");
    assert_eq!((sent(&completed), &completed["progress"]["totalBytesToSend"]), (SIZE, &json!(SIZE)));
    assert_eq!((completed["kind"].as_str(), completed["method"].as_str()), (Some("Upload"), Some("POST")));
    let request = &posted(&server);
    assert_eq!((request.method.as_str(), request.header("filename")), ("POST", Some("film")));
    assert!(request.body == content.all(), "other bytes than those of the file arrived");
    let mut grown = Vec::new();
    loop {
        let (kind, data) = events.next_event().unwrap().expect("the stream stays open");
        let data: Value = serde_json::from_str(&data).unwrap();
        if kind == "progress" {
            grown.push(data["progress"]["bytesSent"].as_u64().unwrap());
        }
        if kind == "operation" && data["operation"]["status"] == "Completed" {
            break;
        }
    }
    assert!(grown.is_sorted() && grown.iter().any(|sent| (1..SIZE).contains(sent)), "{grown:?}");
    let response = house.of_upload(&id, "response");
    assert_eq!(response["statusCode"], 200, "{response:#}");
    let body = house.call("GET", &format!("{UPLOADS}/{id}/response/body")).expect_status(200);
    assert_eq!(body.text(), format!("took {SIZE} bytes"));
    assert_eq!(body.header("content-type"), Some("text/plain"));
    let _ = house.call("GET", &format!("{DOWNLOADS}/{id}")).expect_status(404);
    let attached = house.command_upload(&id, "attach");
    assert_eq!(status_of(&attached), "Completed");
    let left = house.call("GET", UPLOADS).expect_status(200).json();
    assert_eq!(left["items"], json!([]), "a consumed result is no longer listed");
}

/// The parts of a multipart body: their heads and contents.
fn parts(body: &[u8], content_type: &str) -> Vec<(String, Vec<u8>)> {
    let (_, boundary) = content_type.split_once("boundary=").expect("a boundary");
    let boundary = format!("--{}", boundary.trim_matches('"'));
    let find = |from: usize, what: &[u8]| {
        body[from..].windows(what.len()).position(|window| window == what).map(|place| from + place)
    };
    let mut parts = Vec::new();
    let mut place = find(0, boundary.as_bytes()).expect("a first boundary") + boundary.len();
    while !body[place..].starts_with(b"--") {
        let head_end = find(place, b"\r\n\r\n").expect("a head of a part");
        let next = find(head_end, format!("\r\n{boundary}").as_bytes()).expect("a next boundary");
        let head = String::from_utf8(body[place..head_end].to_vec()).unwrap();
        parts.push((head, body[head_end + 4..next].to_vec()));
        place = next + 2 + boundary.len();
    }
    parts
}

#[test]
fn scenario_2b_files_are_posted_as_parts() {
    let server = upload_page();
    let house = House::new();
    let contents = [Content::new(1, SIZE), Content::new(2, 1_000), Content::new(3, 0)];
    let parts_asked: Vec<Value> = contents
        .iter()
        .enumerate()
        .map(|(number, content)| {
            let file = house.result(&format!("picture {number}"));
            content.write_to(&file);
            json!({ "file": file })
        })
        .chain([json!({ "name": "note", "text": "grün" })])
        .collect();
    let spec = json!({ "requestedUri": server.url("/upload.aspx"), "parts": parts_asked });
    let id = house.create_upload(&spec);
    house.wait_for_upload(&id, "Completed");
    let request = &posted(&server);
    let content_type = request.header("content-type").unwrap();
    assert!(content_type.starts_with("multipart/form-data; boundary="), "{content_type}");
    let arrived = parts(&request.body, content_type);
    assert_eq!(arrived.len(), 4);
    for (number, (content, (head, bytes))) in contents.iter().zip(&arrived).enumerate() {
        let named = format!("name=\"File{number}\"; filename=\"picture {number}\"");
        assert!(head.contains(&named), "{head}");
        assert!(*bytes == content.all(), "part {number} has other bytes");
    }
    assert_eq!(arrived[3].1, "grün".as_bytes());
    let operation = house.upload(&id);
    assert_eq!(operation["partFiles"].as_array().unwrap().len(), 3, "{operation:#}");
    assert_eq!(sent(&operation), request.body.len() as u64);
}

#[test]
fn scenario_2d_a_canceled_upload_is_canceled_and_nothing_more() {
    let server = upload_page();
    let house = House::new();
    let mut spec = house.upload_spec("PUT", &server.url("/f"), "film", Content::new(1, SIZE));
    spec["rateLimit"] = 200_000.into();
    let id = house.create_upload(&spec);
    house.wait_for_sent(&id, 1);
    house.command_upload(&id, "cancel");
    let canceled = house.wait_for_upload(&id, "Canceled");
    assert_eq!(canceled["error"], Value::Null, "{canceled:#}");
    assert!(house.result("film").is_file(), "the source is the user's");
    let _ = house.call("DELETE", &format!("{UPLOADS}/{id}")).expect_status(204);
    let _ = house.call("GET", &format!("{UPLOADS}/{id}")).expect_status(404);
}

#[test]
fn scenario_2d_uploads_left_over_are_found_again_and_attached_to() {
    let server = upload_page();
    let mut house = House::new();
    let contents = [Content::new(1, SIZE), Content::new(2, SIZE)];
    let ids: Vec<String> = contents
        .iter()
        .enumerate()
        .map(|(number, content)| {
            let name = format!("f{number}");
            let mut spec = house.upload_spec("PUT", &server.url(&format!("/{name}")), &name, *content);
            spec["rateLimit"] = 1_000_000.into();
            house.create_upload(&spec)
        })
        .collect();
    ids.iter().for_each(|id| house.wait_for_sent(id, 1));
    house.stop();
    house.launch();
    let found = house.call("GET", UPLOADS).expect_status(200).json();
    let mut found: Vec<String> =
        found["items"].as_array().unwrap().iter().map(longhaul_endtoend::id_of).collect();
    found.sort();
    assert_eq!(found, ids, "the same ids");
    for id in &ids {
        assert_eq!(status_of(&house.command_upload(id, "attach")), "Completed");
    }
    for (number, content) in contents.iter().enumerate() {
        let arrived = server.requests().into_iter().rfind(|request| request.path() == format!("/f{number}"));
        assert!(arrived.unwrap().body == content.all());
    }
}

#[test]
fn the_commands_of_downloads_find_uploads() {
    let server = upload_page();
    let house = House::new();
    let mut spec = house.upload_spec("PUT", &server.url("/f"), "film.mkv", Content::new(1, SIZE));
    spec["rateLimit"] = 100_000.into();
    let id = house.create_upload(&spec);
    house.wait_for_sent(&id, 1);
    let listed = house.run(&["ls"]);
    assert_exit(&listed, 0);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("film.mkv to 127.0.0.1") && listed.contains("running"), "{listed}");
    let run = |arguments: &[&str]| {
        let output = house.run(arguments);
        assert_exit(&output, 0);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run(&["show", &id[..14]]).contains("PUT"));
    assert!(run(&["why", &id]).contains("running") || run(&["why", &id]).contains("run"));
    run(&["pause", &id]);
    house.wait_for_upload(&id, "PausedByApplication");
    run(&["set", &id, "rateLimit=none"]);
    run(&["resume", &id]);
    house.wait_for_upload(&id, "Completed");
    assert!(run(&["receipt", &id]).contains("plain"));
    assert_exit(&house.run(&["verify", &id]), 2);
    run(&["rm", &id]);
    wait_until("the upload forgotten", DEADLINE, || {
        (house.call("GET", &format!("{UPLOADS}/{id}")).status == 404).then_some(())
    });
}
