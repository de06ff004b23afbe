//! By which proxy the service goes: what an operation says, its application, the service and the environment, in this order;
//! and passwords that stay with the proxy.

use std::os::unix::fs::PermissionsExt as _;

use longhaul_endtoend::{DOWNLOADS, House, QUICK, assert_exit, id_of};
use longhaul_lab::recorder::{Entry, Recorder};
use longhaul_lab::{Content, DigestDesk, Resource, Server, ServiceOptions};
use serde_json::json;

const CONTENT: Content = Content::new(1, 100_000);
const PASSWORD: &str = "pr0xy-s3cret";

fn asks() -> Recorder {
    Recorder::start(Entry::Digest(DigestDesk::new("ann", PASSWORD, false)), None)
}

#[test]
fn the_nearest_word_about_proxies_counts() {
    let server = Server::of(Resource::new(CONTENT));
    let [of_environment, of_service, of_operation] = [(); 3].map(|()| Recorder::start(Entry::Open, None));
    let counts = || [&of_environment, &of_service, &of_operation].map(|proxy| proxy.seen().len());
    let environment = vec![("http_proxy".to_owned(), of_environment.url())];
    let house = House::with(ServiceOptions {
        config: QUICK.to_owned(),
        environment: environment.clone(),
        ..ServiceOptions::default()
    });
    let get = |house: &House, name: &str, change: serde_json::Value| {
        let mut spec = house.spec(&server.url("/f"), name);
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let id = id_of(&house.send("POST", DOWNLOADS, &spec).expect_status(201).json());
        house.complete(&id);
        CONTENT.assert_file(&house.result(name));
    };
    get(&house, "a", json!({}));
    assert_eq!(counts(), [1, 0, 0]);
    get(&house, "b", json!({ "proxy": of_operation.url() }));
    assert_eq!(counts(), [1, 0, 1]);
    get(&house, "c", json!({ "proxy": "none" }));
    get(&house, "d", json!({ "noProxy": ["127.0.0.0/8"] }));
    assert_eq!(counts(), [1, 0, 1]);
    let proxy = of_operation.url();
    let output = house.result("e");
    let base = ["get", "-o", output.to_str().unwrap(), "--if-exists", "replace"];
    let url = server.url("/f");
    for (options, expected) in [
        (&["--proxy", proxy.as_str()][..], [1, 0, 2]),
        (&["--proxy", proxy.as_str(), "--noproxy", "127.0.0.1"], [1, 0, 2]),
        (&[], [2, 0, 2]),
    ] {
        assert_exit(&house.run(&[&base[..], options, &[url.as_str()]].concat()), 0);
        assert_eq!(counts(), expected, "{options:?}");
    }
    let configured = House::with(ServiceOptions {
        config: format!("{QUICK}proxy = {:?}\n", of_service.url()),
        environment,
        ..ServiceOptions::default()
    });
    get(&configured, "f", json!({}));
    assert_eq!(counts(), [2, 1, 2]);
}

#[test]
fn fault_081_the_password_for_a_proxy_is_in_no_output() {
    let server = Server::of(Resource::new(CONTENT));
    let (owners, callers) = (asks(), asks());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let path = file.path().to_str().unwrap();
    let house = House::with(ServiceOptions {
        config: format!(
            "{QUICK}proxy = {:?}\nproxy-user = \"ann\"\nproxy-password-file = {path:?}\n",
            owners.url()
        ),
        environment: vec![("LONGHAUL_LOG".to_owned(), "trace".to_owned())],
        ..ServiceOptions::default()
    });
    let mut seen = Vec::new();
    let named = callers.url().replace("//", &format!("//ann:{PASSWORD}@"));
    for (name, proxy) in [("a", None), ("b", Some(named.as_str()))] {
        let mut spec = house.spec(&server.url("/f"), name);
        if let Some(proxy) = proxy {
            spec["proxy"] = json!(proxy);
        }
        let created = house.send("POST", DOWNLOADS, &spec).expect_status(201);
        seen.push(created.text());
        let id = id_of(&created.json());
        house.complete(&id);
        CONTENT.assert_file(&house.result(name));
        for path in ["", "/response", "/receipt", "/explain"] {
            seen.push(house.call("GET", &format!("{DOWNLOADS}/{id}{path}")).text());
        }
        seen.push(longhaul_endtoend::shown(&house.run(&["show", &id])));
    }
    for (proxy, requests) in [(&owners, 2), (&callers, 2)] {
        assert_eq!(proxy.seen().len(), requests, "asked once, then answered");
    }
    seen.push(longhaul_endtoend::shown(&house.run(&["config", "show"])));
    seen.push(house.log());
    for text in seen {
        assert!(!text.contains("s3cret"), "{text}");
    }
    assert!(server.requests().iter().all(|request| request.header("proxy-authorization").is_none()));
}

#[test]
fn a_proxy_that_wants_more_is_named_with_what_to_do() {
    let server = Server::of(Resource::new(CONTENT));
    let proxy = asks();
    let house = House::new();
    let file = house.result("f");
    let url = server.url("/f");
    let output = house.run(&["get", "-o", file.to_str().unwrap(), "--proxy", &proxy.url(), &url]);
    let text = longhaul_endtoend::shown(&output);
    assert!(text.contains("wants a user name") && text.contains("--proxy-user NAME"), "{text}");
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), PASSWORD).unwrap();
    let output = house.run(&[
        "get",
        "-o",
        file.to_str().unwrap(),
        "--proxy",
        &proxy.url(),
        "--proxy-user",
        "ann",
        "--proxy-password-file",
        password.path().to_str().unwrap(),
        &url,
    ]);
    assert_exit(&output, 0);
    CONTENT.assert_file(&file);
}
