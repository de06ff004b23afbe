//! Secrets go where they belong and nowhere else: row 81, and the credentials nobody asked for.

use std::path::PathBuf;

use longhaul_endtoend::{DOWNLOADS, House, QUICK};
use longhaul_lab::hostile::Cut;
use longhaul_lab::servers::{CLIENTS, ServerKind, WebServer};
use longhaul_lab::{Content, Resource, Server, ServiceOptions};
use serde_json::json;

/// In everything the caller keeps to itself.
const MARK: &str = "s3cr3t";

#[test]
fn fault_081_secrets_are_in_no_output() {
    let content = Content::new(1, 400_000);
    let server = Server::build().pace(400_000).start(move |exchange| {
        let response =
            Resource::new(content).answer(&exchange.request).header("Set-Cookie", format!("id={MARK}"));
        exchange.respond(if exchange.request.number == 0 {
            response.cut_after(100_000, Cut::Close)
        } else {
            response
        });
    });
    let house = House::with(ServiceOptions {
        config: QUICK.to_owned(),
        environment: vec![("LONGHAUL_LOG".to_owned(), "trace".to_owned())],
        ..ServiceOptions::default()
    });
    let mut events = house.api().stream("GET", "/events", None).unwrap();
    let mut spec = house.spec(&server.url(&format!("/f?X-Amz-Signature={MARK}&token={MARK}")), "f");
    spec["requestHeaders"] = json!([
        { "name": "X-Api-Key", "value": format!("{MARK}-header") },
        { "name": "Cookie", "value": format!("session={MARK}") },
    ]);
    spec["serverCredential"] = json!({ "user": "ann", "password": format!("{MARK}-password") });
    let created = house.send("POST", DOWNLOADS, &spec).expect_status(201);
    let id = longhaul_endtoend::id_of(&created.json());
    house.wait_for_bytes(&id, 50_000);
    let mut seen = vec![("the answer to the creation".to_owned(), without_uri(&created.text()))];
    seen.extend(records(&house, "halfway"));
    house.complete(&id);
    assert_eq!(
        server.requests()[0].header("x-api-key"),
        Some(format!("{MARK}-header").as_str()),
        "it was sent"
    );
    loop {
        let (kind, data) = events.next_event().unwrap().expect("the stream stays open");
        let is_last = data.contains("\"Completed\"");
        seen.push((format!("event {kind}"), without_uri(&data)));
        if is_last {
            break;
        }
    }
    for path in [format!("{DOWNLOADS}/{id}"), DOWNLOADS.to_owned()] {
        seen.push((path.clone(), without_uri(&house.call("GET", &path).text())));
    }
    for what in ["response", "receipt", "explain", "ranges"] {
        seen.push((what.to_owned(), house.call("GET", &format!("{DOWNLOADS}/{id}/{what}")).text()));
    }
    for path in ["/metrics", "/host", "/apps", "/openapi.json", "/healthz"] {
        seen.push((path.to_owned(), house.call("GET", path).text()));
    }
    for command in ["show", "why", "receipt"] {
        let output = house.run(&[command, &id]);
        seen.push((command.to_owned(), without_uri(&longhaul_endtoend::shown(&output))));
    }
    seen.push(("the log".to_owned(), house.log()));
    seen.push(("the program's arguments and environment".to_owned(), process_texts(house.pid())));
    seen.extend(records(&house, "at the end"));
    for (name, text) in seen {
        let position = text.find(MARK);
        let around = position.map(|at| text[at.saturating_sub(200)..text.len().min(at + 100)].to_owned());
        assert_eq!(around, None, "in {name}");
    }
}

/// The caller's own address comes back to it whole, without userinfo; everything else about it is checked.
fn without_uri(text: &str) -> String {
    text.replace(&format!("?X-Amz-Signature={MARK}&token={MARK}"), "")
}

fn process_texts(pid: u32) -> String {
    let read = |name| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).into_owned()
}

/// The files of the state folder, the write-ahead log of the database among them.
fn records(house: &House, when: &str) -> Vec<(String, String)> {
    let files: Vec<_> =
        std::fs::read_dir(house.state()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().any(|file| file.ends_with("longhaul.db-wal")), "{files:?}");
    let read = |file: &PathBuf| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
    files.iter().map(|file| (format!("{} {when}", file.display()), read(file))).collect()
}

#[test]
fn fault_081_a_crash_leaves_no_image_of_the_memory() {
    let house = House::new();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", house.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn a_new_key_seals_from_the_next_start_on() {
    let mut house = House::new();
    let mut spec = house.spec("http://127.0.0.1:9/f", "f");
    spec["start"] = json!(false);
    spec["label"] = json!("kept over the change");
    let _ = house.send("POST", DOWNLOADS, &spec).expect_status(201);
    let key = house.state().join("longhaul.key");
    let old = std::fs::read_to_string(&key).unwrap();
    let output = house.run(&["--json", "service", "rotate-key", "--state", house.state().to_str().unwrap()]);
    assert!(output.status.success(), "{}", longhaul_endtoend::shown(&output));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["file"], key.to_str().unwrap());
    house.stop();
    house.launch();
    assert_eq!(house.list("")[0]["label"], "kept over the change");
    let new = std::fs::read_to_string(&key).unwrap();
    assert!(new.lines().count() == 1 && new != old, "the old key is forgotten");
    house.kill();
    std::fs::write(&key, old).unwrap();
    let output = house.run(&["daemon", "--state", house.state().to_str().unwrap()]);
    let said = longhaul_endtoend::shown(&output);
    assert!(output.status.code() == Some(5) && said.contains("put that key back"), "{said}");
}

#[test]
fn systemd_may_hand_over_the_key() {
    let mut house = House::with(ServiceOptions {
        environment: vec![("CREDENTIALS_DIRECTORY".to_owned(), "credentials".to_owned())],
        ..ServiceOptions::default()
    });
    let mut spec = house.spec("http://127.0.0.1:9/f", "f");
    spec["start"] = json!(false);
    let _ = house.send("POST", DOWNLOADS, &spec).expect_status(201);
    let folder = house.folder().join("results/credentials");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("longhaul.key"), format!("{}\n", "5a".repeat(32))).unwrap();
    house.stop();
    house.launch();
    assert_eq!(house.list("").len(), 1);
    assert!(!house.state().join("longhaul.key").exists(), "the key lies with systemd now");
}

#[test]
fn a_client_certificate_opens_nginx_both_ways() {
    let server = WebServer::start(ServerKind::Nginx);
    let house = House::with(ServiceOptions {
        arguments: vec!["--ca-certificate".to_owned(), server.root_certificate().display().to_string()],
        ..ServiceOptions::default()
    });
    let (url, client) = (server.https_url(&format!("/{CLIENTS}/f")), server.client());
    client.write_to(house.folder());
    let file = |name: &str| house.folder().join(name).display().to_string();
    let (both, certificate, key) = (file("both.pem"), file("certificate.pem"), file("key.pem"));
    let content = Content::new(1, 200_000);
    content.write_to(&house.result("sent"));
    let sent = house.run(&["put", "--cert", &both, house.result("sent").to_str().unwrap(), &url]);
    assert!(sent.status.success(), "{}", longhaul_endtoend::shown(&sent));
    let got = house.result("got").display().to_string();
    let output = house.run(&["get", "--cert", &certificate, "--key", &key, &url, "-o", &got]);
    assert!(output.status.success(), "{}", longhaul_endtoend::shown(&output));
    content.assert_file(&house.result("got"));
    for (arguments, word) in [
        (vec!["--cert", &certificate], "BEGIN PRIVATE KEY"),
        (vec!["--cert", &key, "--key", &key], "BEGIN CERTIFICATE"),
    ] {
        let output = house.run(&[&["get", &url, "-o", "other"], arguments.as_slice()].concat());
        let said = longhaul_endtoend::shown(&output);
        assert!(output.status.code() == Some(2) && said.contains(word), "{said}");
    }
    let word = client.key_pem().lines().nth(1).unwrap();
    for (name, text) in records(&house, "at the end") {
        assert!(!text.contains(word), "the key is legible in {name}");
    }
}

#[test]
fn fault_066_a_netrc_of_the_machine_is_not_used() {
    let server = Server::of(Resource::new(Content::new(1, 1_000)));
    let house = House::new();
    let netrc = format!("machine 127.0.0.1 login ann password {MARK}\ndefault login ann password {MARK}\n");
    std::fs::write(house.folder().join("home/.netrc"), netrc).unwrap();
    house.complete(&house.get(&server.url("/f"), "f"));
    assert_eq!(server.requests()[0].header("authorization"), None);
}

#[test]
fn a_password_on_the_command_line_is_refused() {
    let house = House::new();
    let url = format!("http://ann:{MARK}@127.0.0.1:9/f");
    let output = house.run(&["get", &url, "-o", house.result("f").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", longhaul_endtoend::shown(&output));
    assert!(house.list("").is_empty());
}
