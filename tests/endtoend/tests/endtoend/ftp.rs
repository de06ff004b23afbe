//! FTP and FTPS against vsftpd and pyftpdlib: users, TLS, kills, and files that change on the server.

use std::fs::File;
use std::time::{Duration, SystemTime};

use longhaul_endtoend::{House, QUICK, assert_exit};
use longhaul_lab::ftp_servers::{PASSWORD, USER};
use longhaul_lab::{Content, FtpKind, FtpMode, FtpServer, ServiceOptions};
use serde_json::json;

const SIZE: u64 = 4_000_000;
const HALF: u64 = SIZE / 2;

/// A service that trusts the server.
fn house(server: &FtpServer) -> House {
    let certificate = server.root_certificate().to_str().unwrap().to_owned();
    House::with(ServiceOptions {
        config: QUICK.to_owned(),
        arguments: vec!["--ca-certificate".to_owned(), certificate],
        ..ServiceOptions::default()
    })
}

/// Replaces the file as a deployment does; it is old enough for its date to be a strong validator.
fn serve(server: &FtpServer, content: Content) {
    let (fresh, file) = (server.root().join("fresh"), server.root().join("file"));
    content.write_to(&fresh);
    let modified = SystemTime::now() - Duration::from_secs(86_400);
    File::options().write(true).open(&fresh).unwrap().set_modified(modified).unwrap();
    std::fs::rename(fresh, file).unwrap();
}

/// Where the last transfer began, by the log of vsftpd.
fn last_restart(server: &FtpServer) -> u64 {
    let log = server.protocol_log();
    let start = log.rmatch_indices("REST ").find_map(|(at, _)| {
        let digits: String = log[at + 5..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    start.unwrap_or_else(|| panic!("nothing was resumed:\n{log}"))
}

#[test]
fn the_command_line_fetches_by_all_three_schemes() {
    for (kind, mode) in [
        (FtpKind::Vsftpd, FtpMode::Plain),
        (FtpKind::Vsftpd, FtpMode::Implicit),
        (FtpKind::Python, FtpMode::Explicit),
    ] {
        let server = FtpServer::start(kind, mode);
        serve(&server, Content::new(1, SIZE));
        let house = house(&server);
        let file = house.result("file");
        assert_exit(&house.run(&["get", &server.url("/file"), "-o", file.to_str().unwrap()]), 0);
        Content::new(1, SIZE).assert_file(&file);
    }
}

#[test]
fn a_user_is_let_in_and_a_wrong_password_is_told() {
    let server = FtpServer::start(FtpKind::Python, FtpMode::Explicit);
    serve(&server, Content::new(1, SIZE));
    let house = house(&server);
    let mut spec = house.spec(&server.url("/file"), "wrong");
    spec["serverCredential"] = json!({ "user": USER, "password": "hunter2-is-wrong" });
    let id = house.create(&spec);
    let failed = house.wait_for_status(&id, "Error");
    assert_eq!(failed["error"]["webErrorStatus"], "Unauthorized", "{failed:#}");
    assert_eq!(failed["error"]["cause"], "ftpReply", "{failed:#}");
    assert!(failed["error"]["detail"].as_str().unwrap().contains("530"), "{failed:#}");
    let mut spec = house.spec(&server.url("/file"), "file");
    spec["serverCredential"] = json!({ "user": USER, "password": PASSWORD });
    house.complete(&house.create(&spec));
    Content::new(1, SIZE).assert_file(&house.result("file"));
    house.complete(&house.get(&server.user_url("/file"), "other"));
    let log = house.log();
    for secret in ["hunter2-is-wrong", PASSWORD] {
        assert!(!log.contains(secret) && !failed.to_string().contains(secret));
    }
}

#[test]
fn a_kill_in_the_middle_repeats_few_bytes() {
    for mode in [FtpMode::Plain, FtpMode::Explicit] {
        let server = FtpServer::start_with(FtpKind::Vsftpd, mode, Some(SIZE / 2));
        serve(&server, Content::new(1, SIZE));
        let mut house = house(&server);
        let id = house.get(&server.url("/file"), "file");
        house.wait_for_bytes(&id, HALF);
        let _ = house.completes_over_a_kill(&id);
        Content::new(1, SIZE).assert_file(&house.result("file"));
        // A fifth of a second between two checkpoints, a second of slack.
        let start = last_restart(&server);
        assert!(start >= HALF - SIZE / 2 * 6 / 10, "{mode:?}: it began again at {start}");
    }
}

#[test]
fn a_file_that_changes_in_between_is_fetched_whole() {
    for other in [Content::new(2, SIZE), Content::new(2, SIZE + 1)] {
        let server = FtpServer::start_with(FtpKind::Vsftpd, FtpMode::Explicit, Some(SIZE));
        serve(&server, Content::new(1, SIZE));
        let house = house(&server);
        let id = house.get(&server.url("/file"), "file");
        house.wait_for_bytes(&id, HALF);
        house.command(&id, "pause");
        house.wait_for_status(&id, "PausedByApplication");
        serve(&server, other);
        house.command(&id, "resume");
        house.complete(&id);
        other.assert_file(&house.result("file"));
        let receipt = house.of(&id, "receipt");
        assert_eq!(receipt["restarts"], 1, "{receipt:#}");
    }
}
