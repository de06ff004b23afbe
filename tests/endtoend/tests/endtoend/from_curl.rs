//! `longhaul get --from-curl`, with lines as browsers and scripts have them.

use std::io::Write as _;
use std::process::{Output, Stdio};

use longhaul_endtoend::{House, assert_exit, shown};
use longhaul_lab::Content;
use longhaul_lab::servers::{BASIC, PASSWORD, ServerKind, USER, WebServer};

const CONTENT: Content = Content::new(1, 3_000_000);

fn from_input(house: &House, line: &str, options: &[&str]) -> Output {
    let mut command = house.cli(&[&["get", "--from-curl", "-"], options].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_line_from_developer_tools_downloads_with_the_headers_of_the_browser() {
    let server = WebServer::start(ServerKind::Nginx);
    CONTENT.write_to(&server.root().join("film [1].mkv"));
    let url = server.url("/film%20\\[1\\].mkv?sig=a%2Fb&n=1");
    let line = format!(
        r#"curl '{url}' \
  -H 'accept: video/webm,video/*;q=0.9,*/*;q=0.5' \
  -H 'accept-encoding: identity;q=1, *;q=0' \
  -H 'accept-language: en-GB,en;q=0.9' \
  -b $'sid=it\'s a secret; theme=d\u0021' \
  -H 'range: bytes=0-' \
  -H 'referer: http://127.0.0.1/a?b=c' \
  -H $'x-note: caf\u00e9 "\'"' \
  -H 'user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36' \
  --compressed"#
    );
    let house = House::new();
    let folder = house.results();
    let output = house.run(&["get", "--from-curl", &line, "-d", folder.to_str().unwrap()]);
    assert_exit(&output, 0);
    CONTENT.assert_file(&house.result("film [1].mkv"));
    let seen = server.headers_log();
    assert!(!seen.is_empty());
    for request in seen {
        assert_eq!(
            request,
            serde_json::json!({
                "accept": "video/webm,video/*;q=0.9,*/*;q=0.5",
                "accept-encoding": "identity",
                "accept-language": "en-GB,en;q=0.9",
                "authorization": "",
                "cookie": "sid=it's a secret; theme=d!",
                "referer": "http://127.0.0.1/a?b=c",
                "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
                "x-note": "café \"'\"",
            })
        );
    }
    assert!(server.access_log()[0].contains("?sig=a%2Fb&n=1"), "{:?}", server.access_log());
}

#[test]
fn a_line_of_a_script_names_files_and_brings_a_password_unseen() {
    let server = WebServer::start(ServerKind::Apache);
    CONTENT.write_to(&server.root().join(BASIC).join("film.mkv"));
    let house = House::new();
    let url = server.url(&format!("/{BASIC}/film.mkv"));
    let folder = house.results();
    let line = format!(
        "curl -fsSLu '{USER}:{PASSWORD}' --create-dirs --output-dir '{}' -o a/one '{url}' -O '{url}'\n",
        folder.display()
    );
    let refused = house.run(&["get", "--from-curl", &line]);
    assert_exit(&refused, 2);
    assert!(shown(&refused).contains("--from-curl @FILE"), "{}", shown(&refused));
    let output = from_input(&house, &line, &[]);
    assert_exit(&output, 0);
    CONTENT.assert_file(&folder.join("a/one"));
    CONTENT.assert_file(&folder.join("film.mkv"));
    let file = house.result("line");
    std::fs::write(&file, format!("#!/bin/sh\n{line}")).unwrap();
    let given = format!("@{}", file.display());
    let taken = house.run(&["get", "--from-curl", &given]);
    assert_exit(&taken, 5);
    let output = house.run(&["get", "--from-curl", &given, "--if-exists", "replace", "--detach"]);
    assert_exit(&output, 0);
    let ids = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(ids.lines().count(), 2);
    for id in ids.lines() {
        house.complete(id);
    }
    for text in [shown(&refused), shown(&taken), shown(&output), house.log()] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

#[test]
fn what_the_line_and_the_options_both_say_is_refused() {
    let house = House::new();
    let line = "curl -o f -H 'A: secret' -x none --interface lo http://127.0.0.1:1/f";
    for (options, says) in [
        (&["-o", "g"][..], "--output and the curl line"),
        (&["-H", "a: b"], "--header with a and the curl line"),
        (&["--proxy", "none"], "--proxy and the curl line"),
        (&["http://127.0.0.1:1/g"], "cannot be used with"),
        (&["-i", "-"], "cannot be used with"),
        (&["--interface", "eth0"], "--interface and the curl line"),
    ] {
        let output = house.run(&[&["get", "--from-curl", line], options].concat());
        assert_exit(&output, 2);
        assert!(shown(&output).contains(says) && !shown(&output).contains("secret"), "{}", shown(&output));
    }
    let output = house.run(&["get", "--from-curl", "curl -k -d secret https://127.0.0.1:1/"]);
    assert_exit(&output, 2);
    let text = shown(&output);
    assert!(text.contains("-k (--insecure) of the curl line") && text.contains("--ca-certificate"), "{text}");
    assert!(house.list("").is_empty());
}
