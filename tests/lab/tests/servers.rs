//! The real servers serve, over HTTP and HTTPS.

use std::process::Command;

use longhaul_lab::disk::{Disk, free_bytes};
use longhaul_lab::netns::Cable;
use longhaul_lab::process::program;
use longhaul_lab::relay::{Link, Relay};
use longhaul_lab::servers::{ServerKind, WebServer};
use longhaul_lab::{Content, Resource, Server};

fn fetch(arguments: &[&str]) -> Vec<u8> {
    let mut curl = Command::new(program("curl", "curl"));
    let output = curl.args(["-sS", "--fail", "--max-time", "20"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn serves(kind: ServerKind) {
    let server = WebServer::start(kind);
    let content = Content::new(3, 300_000);
    content.write_to(&server.root().join("file.bin"));
    assert_eq!(fetch(&[&server.url("/file.bin")]), content.all());
    assert_eq!(fetch(&["-r", "1000-1999", &server.url("/file.bin")]), content.bytes(1_000, 1_000));
    let root = server.root_certificate();
    let root = root.to_str().unwrap();
    assert_eq!(fetch(&["--cacert", root, &server.https_url("/file.bin")]), content.all());
    let version = fetch(&[
        "--cacert",
        root,
        "-o",
        "/dev/null",
        "-w",
        "%{http_version}",
        &server.https_url("/file.bin"),
    ]);
    assert_eq!(version, b"2");
}

#[test]
fn nginx_serves() {
    serves(ServerKind::Nginx);
}

#[test]
fn apache_serves() {
    serves(ServerKind::Apache);
}

#[test]
fn lighttpd_serves() {
    serves(ServerKind::Lighttpd);
}

#[test]
fn caddy_serves() {
    serves(ServerKind::Caddy);
}

#[test]
fn rate_limits_of_servers_are_kept() {
    for kind in [ServerKind::Nginx, ServerKind::Apache, ServerKind::Lighttpd] {
        let server = WebServer::start_with(kind, Some(200 << 10));
        Content::new(3, 600 << 10).write_to(&server.root().join("file.bin"));
        let begun = std::time::Instant::now();
        fetch(&["-o", "/dev/null", &server.url("/file.bin")]);
        let seconds = begun.elapsed().as_secs_f64();
        assert!((0.8..8.0).contains(&seconds), "{kind:?} took {seconds} s");
    }
}

#[test]
fn a_relay_delays_both_ways_and_can_be_cut() {
    let content = Content::new(3, 100_000);
    let server = Server::of(Resource::new(content));
    let delay = std::time::Duration::from_millis(50);
    let relay = Relay::start(server.address(), Link { delay, rate: Some(1_000_000) });
    let begun = std::time::Instant::now();
    assert_eq!(fetch(&[&relay.url("/")]), content.all());
    assert!(begun.elapsed().as_millis() >= 200, "two ways of 50 ms and 100 ms on the line");
    relay.cut();
    assert!(!Command::new("curl").args(["-sS", &relay.url("/")]).output().unwrap().status.success());
    relay.join();
    assert_eq!(fetch(&[&relay.url("/")]), content.all());
}

#[test]
fn a_small_disk_fills_and_turns_read_only() {
    let mut disk = Disk::tmpfs(1 << 20);
    let filler = disk.fill(100_000);
    assert!(free_bytes(&disk.path()) <= 100_000);
    std::fs::remove_file(filler).unwrap();
    disk.set_read_only(true).unwrap();
    let refused = std::fs::write(disk.path().join("x"), b"x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    disk.set_read_only(false).unwrap();
    std::fs::write(disk.path().join("x"), b"x").unwrap();
    disk.pull();
    assert!(!disk.path().join("x").exists());
}

#[test]
fn namespaces_are_joined_by_a_cable() {
    let cable = Cable::new();
    let reaches = || {
        let mut ping = cable.left_command("ip");
        let output = ping.args(["route", "get", Cable::RIGHT_ADDRESS]).output().unwrap();
        output.status.success()
    };
    assert!(reaches());
    cable.set_up(false);
    assert!(!reaches());
}
