//! `longhaul get` as a person uses it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use longhaul_endtoend::{DEADLINE, House, QUICK, assert_exit, id_of, shown, status_of};
use longhaul_lab::process::spawn;
use longhaul_lab::servers::{BASIC, PASSWORD, ServerKind, USER, WebServer};
use longhaul_lab::tls::{Authority, Flaw};
use longhaul_lab::{Content, Gate, Resource, Server, ServiceOptions, wait_until};
use rustix::process::Signal;

const SIZE: u64 = 3_000_000;

fn content() -> Content {
    Content::new(1, SIZE)
}

#[test]
fn get_publishes_the_file_of_a_real_server() {
    let server = WebServer::start(ServerKind::Nginx);
    content().write_to(&server.root().join("film.mkv"));
    let house = House::new();
    let folder = house.results();
    let output = house.run(&["get", &server.url("/film.mkv"), "-d", folder.to_str().unwrap()]);
    assert_exit(&output, 0);
    content().assert_file(&house.result("film.mkv"));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn user_and_password_come_from_a_netrc_file() {
    let server = WebServer::start(ServerKind::Apache);
    content().write_to(&server.root().join(BASIC).join("film.mkv"));
    let house = House::new();
    let netrc = house.result("netrc");
    let lines = format!(
        "machine other.example login eve password x\nmachine 127.0.0.1 login {USER}\npassword \"{PASSWORD}\"\n"
    );
    std::fs::write(&netrc, lines).unwrap();
    let url = server.url(&format!("/{BASIC}/film.mkv"));
    let file = netrc.to_str().unwrap();
    let get = |options: &[&str], name: &str| house.run(&[&["get", &url, "-o", name], options].concat());
    std::fs::set_permissions(&netrc, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = get(&["--netrc-file", file], "film");
    assert_exit(&refused, 2);
    assert!(
        shown(&refused).contains("chmod 600") && !shown(&refused).contains(PASSWORD),
        "{}",
        shown(&refused)
    );
    std::fs::set_permissions(&netrc, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_exit(&get(&["--netrc-file", file], "film"), 0);
    content().assert_file(&house.result("film"));
    assert_exit(&get(&["--netrc-file", file, "--user", "bob"], "two"), 2);
    assert_exit(&get(&["--netrc-file", &format!("{file}.absent")], "none"), 5);
    let sent = house.result("film");
    let put = house.run(&["put", sent.to_str().unwrap(), &url, "--netrc-file", file]);
    assert_exit(&put, 0);
}

#[test]
fn an_interface_that_is_not_there_is_waited_for_and_can_be_changed() {
    let server = Server::of(Resource::new(content()));
    let house = House::new();
    assert_exit(&house.run(&["get", &server.url("/f"), "-o", "f", "--interface", "a/b"]), 2);
    let output = house.run(&["get", &server.url("/f"), "-o", "f", "--interface", "nosuch0", "--detach"]);
    assert_exit(&output, 0);
    let id = house.list("")[0]["id"].as_str().map(str::to_owned).unwrap();
    house.wait_for_status(&id, "PausedNoNetwork");
    let why = house.run(&["why", &id]);
    assert!(shown(&why).contains("no interface nosuch0"), "{}", shown(&why));
    assert_eq!(server.connections(), 0);
    house.command(&id, "pause");
    assert_exit(&house.run(&["set", &id, "interface=lo", "--resume"]), 0);
    house.complete(&id);
    content().assert_file(&house.result("f"));
}

#[test]
fn get_starts_the_service_that_is_not_there() {
    let server = Server::of(Resource::new(content()));
    let house = House::empty();
    let output = house.run(&["get", &server.url("/f"), "-o", house.result("f").to_str().unwrap()]);
    assert_exit(&output, 0);
    content().assert_file(&house.result("f"));
    assert_eq!(house.call("GET", "/healthz").status, 200, "the service stays");
}

#[test]
fn get_names_the_file_as_the_server_does_and_harmlessly() {
    let server = Server::start(|exchange| {
        let response = Resource::new(content()).answer(&exchange.request);
        exchange.respond(response.header("Content-Disposition", "attachment; filename=\"../../.bashrc\""));
    });
    let house = House::new();
    let folder = house.results();
    let output = house.run(&["get", &server.url("/download?id=7"), "-d", folder.to_str().unwrap()]);
    assert_exit(&output, 0);
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["bashrc"]);
}

#[test]
fn a_name_that_is_taken_is_noticed_before_the_bytes_come() {
    let server = Server::build()
        .pace(100_000)
        .start(|exchange| exchange.respond(Resource::new(content()).answer(&exchange.request)));
    let house = House::new();
    std::fs::write(house.result("film.mkv"), "mine").unwrap();
    let output = house.run(&["get", &server.url("/film.mkv"), "-d", house.results().to_str().unwrap()]);
    assert_exit(&output, 9);
    assert!(shown(&output).contains("--if-exists"), "{}", shown(&output));
    assert!(!shown(&output).contains("waiting"), "{}", shown(&output));
    assert!(server.body_bytes_sent() < SIZE, "all of it came");
    assert_eq!(std::fs::read(house.result("film.mkv")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(house.results()).unwrap().count(), 1);
}

#[test]
fn get_tells_what_it_did_in_json() {
    let server = Server::of(Resource::new(content()));
    let house = House::new();
    let output = house.run(&["get", "--json", &server.url("/f"), "-o", house.result("f").to_str().unwrap()]);
    assert_exit(&output, 0);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let item = &told["items"][0];
    assert_eq!(status_of(item), "Completed", "{told:#}");
    assert_eq!(item["statusCode"], 5);
    assert_eq!(item["progress"]["bytesReceived"], SIZE);
}

#[test]
fn get_publishes_nothing_with_another_checksum() {
    let server = Server::of(Resource::new(content()));
    let house = House::new();
    let get = |sum: &str, name: &str| {
        house.run(&["get", &server.url("/f"), "--checksum", sum, "-o", house.result(name).to_str().unwrap()])
    };
    assert_exit(&get(&format!("sha256:{}", content().sha256()), "right"), 0);
    let output = get(&format!("sha256:{}", Content::new(2, SIZE).sha256()), "wrong");
    assert_exit(&output, 9);
    assert!(!house.result("wrong").exists());
    assert!(shown(&output).to_lowercase().contains("sha256"), "{}", shown(&output));
}

#[test]
fn get_of_what_is_not_there_says_so() {
    let server = WebServer::start(ServerKind::Nginx);
    let house = House::new();
    let output = house.run(&["get", &server.url("/none"), "-o", house.result("none").to_str().unwrap()]);
    assert_exit(&output, 9);
    assert!(shown(&output).contains("404"), "{}", shown(&output));
    assert!(!house.result("none").exists());
}

#[test]
fn get_of_a_list_and_of_a_metalink_publishes_all() {
    let server = WebServer::start(ServerKind::Nginx);
    let house = House::new();
    let folder = house.results();
    let mut list = String::new();
    for number in 0..20 {
        Content::new(number, 10_000 + number).write_to(&server.root().join(format!("file{number}")));
        list.push_str(&format!("{}\n", server.url(&format!("/file{number}"))));
    }
    let list_file = house.folder().join("list");
    std::fs::write(&list_file, list).unwrap();
    let output = house.run(&["get", "-i", list_file.to_str().unwrap(), "-d", folder.to_str().unwrap()]);
    assert_exit(&output, 0);
    for number in 0..20 {
        Content::new(number, 10_000 + number).assert_file(&house.result(&format!("file{number}")));
    }
    content().write_to(&server.root().join("copy"));
    let metalink = house.folder().join("linked.meta4");
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">\
         <file name=\"linked.iso\"><size>{SIZE}</size><hash type=\"sha-256\">{}</hash>\
         <url priority=\"1\">{}</url><url priority=\"2\">{}</url></file></metalink>",
        content().sha256(),
        server.url("/gone"),
        server.url("/copy")
    );
    std::fs::write(&metalink, document).unwrap();
    let output = house.run(&["get", metalink.to_str().unwrap(), "-d", folder.to_str().unwrap()]);
    assert_exit(&output, 0);
    content().assert_file(&house.result("linked.iso"));
}

#[test]
fn ctrl_c_lets_go_of_the_download_and_not_of_its_bytes() {
    let gate = Gate::new();
    let server = Server::start({
        let gate = gate.clone();
        move |exchange| {
            let response = Resource::new(content()).answer(&exchange.request);
            exchange.respond(response.hold_at(SIZE / 2, &gate));
        }
    });
    let house = House::new();
    let mut command = house.cli(&["get", &server.url("/f"), "-o", house.result("f").to_str().unwrap()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut following = spawn(command).unwrap();
    let id = wait_until("the download", DEADLINE, || house.list("").first().map(id_of));
    house.wait_for_bytes(&id, SIZE / 2);
    following.signal(Signal::INT);
    assert_eq!(following.wait(DEADLINE).code(), Some(130));
    let mut said = String::new();
    let pipe = following.as_child().stderr.take().unwrap();
    std::io::Read::read_to_string(&mut { pipe }, &mut said).unwrap();
    assert!(said.contains("background"), "{said}");
    assert_eq!(status_of(&house.operation(&id)), "Running");
    gate.open();
    house.complete(&id);
    content().assert_file(&house.result("f"));
}

#[test]
fn get_over_https_trusts_the_named_authority_and_nobody_else() {
    let authority = Authority::new();
    let server = Server::build().tls(&authority.issue(Flaw::None)).start(|exchange| {
        exchange.respond(Resource::new(content()).answer(&exchange.request));
    });
    let trusting = House::with(ServiceOptions {
        config: QUICK.to_owned(),
        arguments: vec!["--ca-certificate".to_owned(), authority.root_file().to_str().unwrap().to_owned()],
        ..ServiceOptions::default()
    });
    let get =
        |house: &House| house.run(&["get", &server.url("/f"), "-o", house.result("f").to_str().unwrap()]);
    assert_exit(&get(&trusting), 0);
    content().assert_file(&trusting.result("f"));
    let wary = House::new();
    let output = get(&wary);
    assert_exit(&output, 9);
    assert!(shown(&output).contains("certificate"), "{}", shown(&output));
}

#[test]
fn verify_and_receipt_tell_what_was_checked() {
    let server = Server::of(Resource::new(content()));
    let house = House::new();
    let mut spec = house.spec(&server.url("/f"), "f");
    spec["checksum"] = format!("sha256:{}", content().sha256()).into();
    let id = house.create(&spec);
    house.complete(&id);
    let receipt = house.of(&id, "receipt");
    assert_eq!(receipt["size"], SIZE);
    assert_eq!(receipt["etag"], "\"v1\"");
    assert_eq!(receipt["digests"][0]["verdict"], "equal", "{receipt:#}");
    assert_exit(&house.run(&["verify", &id]), 0);
    let file = house.result("f");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let output = house.run(&["verify", &id]);
    assert_exit(&output, 1);
}

#[test]
fn a_rate_limit_is_kept() {
    let server = Server::of(Resource::new(Content::new(1, 600_000)));
    let house = House::new();
    let begun = std::time::Instant::now();
    let output = house.run(&[
        "get",
        "--limit-rate",
        "300k",
        &server.url("/f"),
        "-o",
        house.result("f").to_str().unwrap(),
    ]);
    assert_exit(&output, 0);
    let took = begun.elapsed();
    assert!((Duration::from_millis(1_200)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[test]
fn why_and_explain_agree_on_what_holds_a_download_back() {
    let server = Server::of(Resource::new(content()));
    let house = House::new();
    let mut spec = house.spec(&server.url("/f"), "f");
    spec["notBefore"] = "2100-01-01T00:00:00Z".into();
    let id = house.create(&spec);
    let explained = house.of(&id, "explain");
    assert_eq!(explained["decision"], "Wait", "{explained:#}");
    assert_eq!(explained["blocking"][0]["code"], "notBefore", "{explained:#}");
    let output = house.run(&["why", &id]);
    assert_exit(&output, 0);
    assert!(shown(&output).contains("2100"), "{}", shown(&output));
}
