//! FTP: what servers leave out, say wrong or break off, and real ones with TLS.

use longhaul_contract::{Cause, Credential, Remedy, Secret, WebErrorStatus};
use longhaul_lab::{Content, FtpCut, FtpKind, FtpMode, FtpScript, FtpServer, ScriptedFtp};
use longhaul_transfer::{Job, Settings, TransferEnd};

use crate::support::{World, segmented, settings};

const SIZE: u64 = 300_000;
const KEPT: u64 = 200_000;
const CONTENT: Content = Content::new(1, SIZE);
const OTHER: Content = Content::new(2, SIZE);

fn good() -> FtpScript {
    FtpScript::new(CONTENT)
}

fn always(script: FtpScript) -> ScriptedFtp {
    ScriptedFtp::start(move |_| script.clone())
}

/// `first` for the first connection, `later` for all others.
fn first(first: FtpScript, later: FtpScript) -> ScriptedFtp {
    ScriptedFtp::start(move |number| if number == 0 { first.clone() } else { later.clone() })
}

fn said(server: &ScriptedFtp, session: usize, verb: &str) -> Vec<String> {
    let mut lines = server.sessions()[session].clone();
    lines.retain(|line| line.split(' ').next() == Some(verb));
    lines
}

/// Where the transfer of a session began.
fn start_of(server: &ScriptedFtp, session: usize) -> u64 {
    let restarts = said(server, session, "REST");
    restarts.last().map_or(0, |line| line[5..].parse().unwrap())
}

#[test]
fn a_file_comes_with_what_is_known_of_it() {
    let world = World::new();
    let server = always(good());
    let outcome = world.run(&world.job(&server.url("/folder/file%20name;type=i")));
    outcome.assert_published(&world, CONTENT);
    let receipt = outcome.receipt();
    assert_eq!(receipt.last_modified.as_deref(), Some("Mon, 05 Jan 2026 10:00:00 GMT"));
    assert_eq!(receipt.chain.len(), 1);
    assert!(outcome.response().is_resumable);
    let sessions = server.sessions();
    let expected = [
        "USER anonymous",
        "PASS anonymous@",
        "FEAT",
        "TYPE I",
        "SIZE folder/file name",
        "MDTM folder/file name",
        "EPSV",
        "RETR folder/file name",
        "QUIT",
    ];
    assert_eq!(sessions.len(), 1);
    // The goodbye may be under way.
    assert!(sessions[0] == expected || sessions[0] == expected[..8], "{sessions:?}");
}

#[test]
fn one_connection_fetches_a_file_whatever_is_allowed_elsewhere() {
    let world = World::with(segmented());
    let server = always(good());
    world.run(&world.job(&server.url("/f"))).assert_published(&world, CONTENT);
    assert_eq!(server.sessions().len(), 1);
}

#[test]
fn an_empty_file_and_one_of_a_byte_are_files() {
    for length in [0, 1, 2] {
        let content = Content::new(3, length);
        let world = World::new();
        let server = always(FtpScript::new(content));
        world.run(&world.job(&server.url("/f"))).assert_published(&world, content);
    }
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    for cut in [
        FtpCut::Say(KEPT, "426 Connection closed; transfer aborted."),
        FtpCut::Say(KEPT, "451 Local error"),
        FtpCut::Say(KEPT, "226 All of it, honestly"),
        FtpCut::SayOnly(KEPT, "426 I give up"),
        FtpCut::Stall(KEPT),
        FtpCut::Vanish(KEPT),
    ] {
        let world = World::new();
        let server = first(good().cut(cut), good());
        let outcome = world.finish(&world.job(&server.url("/f")));
        outcome.assert_published(&world, CONTENT);
        assert!(!outcome.has_restarted(), "{cut:?}");
        let start = start_of(&server, 1);
        assert!(start <= KEPT && start + Settings::default().overlap_bytes >= KEPT, "{cut:?}: {start}");
    }
}

#[test]
fn all_bytes_without_the_word_of_the_server_are_not_all() {
    for cut in [FtpCut::Say(SIZE, "426 Something was wrong"), FtpCut::Vanish(SIZE)] {
        let world = World::new();
        let server = always(good().cut(cut));
        let outcome = world.run(&world.job(&server.url("/f")));
        assert_eq!(outcome.why().1, Remedy::Transient, "{cut:?}");
        world.assert_nothing_published();
    }
    let world = World::new();
    let server = first(good().cut(FtpCut::Vanish(SIZE)), good());
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, CONTENT);
    assert!(start_of(&server, 1) >= SIZE - 1 - Settings::default().overlap_bytes);
}

#[test]
fn a_server_that_confirms_before_the_data_ends_is_believed() {
    let world = World::new();
    let server = always(good().cut(FtpCut::SayOnly(SIZE, "226 Done")));
    world.run(&world.job(&server.url("/f"))).assert_published(&world, CONTENT);
}

#[test]
fn without_rest_the_whole_comes_again() {
    for has_features in [true, false] {
        let world = World::new();
        let script = FtpScript { has_restart: false, has_features, ..good() };
        let server = first(script.clone().cut(FtpCut::Vanish(KEPT)), script);
        let outcome = world.finish(&world.job(&server.url("/f")));
        outcome.assert_published(&world, CONTENT);
        assert_eq!(outcome.restarts(), 1);
    }
}

/// Breaks the first transfer off, and expects the second one to begin in the middle.
#[track_caller]
fn goes_on_after_a_break(script: FtpScript) {
    let world = World::new();
    let server = first(script.clone().cut(FtpCut::Vanish(KEPT)), script);
    let outcome = world.finish(&world.job(&server.url("/f")));
    outcome.assert_published(&world, CONTENT);
    assert!(!outcome.has_restarted());
    assert!(start_of(&server, 1) > 0);
}

#[test]
fn ranges_are_found_without_a_list_of_features() {
    goes_on_after_a_break(FtpScript { has_features: false, ..good() });
}

#[test]
fn without_size_the_servers_word_is_the_end() {
    let world = World::new();
    let unknown = FtpScript { has_size: false, ..good() };
    let server = always(unknown.clone());
    let outcome = world.run(&world.job(&server.url("/f")));
    outcome.assert_published(&world, CONTENT);
    let world = World::new();
    let server = first(unknown.clone().cut(FtpCut::Say(KEPT, "426 Broken")), unknown);
    world.finish(&world.job(&server.url("/f"))).assert_published(&world, CONTENT);
}

#[test]
fn without_mdtm_bytes_are_compared() {
    goes_on_after_a_break(FtpScript { modified: None, ..good() });
}

#[test]
fn a_file_that_changed_in_between_is_fetched_anew() {
    let same_date = FtpScript::new(OTHER);
    let other_date = FtpScript { modified: Some("20260106100000"), ..FtpScript::new(OTHER) };
    let undated = FtpScript { modified: None, ..FtpScript::new(OTHER) };
    let shorter = FtpScript::new(Content::new(2, KEPT / 2));
    let longer = FtpScript::new(Content::new(2, SIZE * 2));
    for later in [same_date, other_date, undated, shorter, longer] {
        let world = World::new();
        let server = first(good().cut(FtpCut::Vanish(KEPT)), later.clone());
        let outcome = world.finish(&world.job(&server.url("/f")));
        outcome.assert_published(&world, later.content);
        assert_eq!(outcome.restarts(), 1);
    }
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_not_published_short() {
    let world = World::new();
    let server = first(FtpScript { surplus: 10, ..good() }, good());
    let outcome = world.run(&world.job(&server.url("/f")));
    assert_eq!(outcome.why(), (Cause::SourceChanged, Remedy::Transient));
    world.assert_nothing_published();
}

#[test]
fn the_address_of_a_passive_answer_is_not_believed() {
    let world = World::new();
    let script = FtpScript { has_extended: false, passive_host: [192, 0, 2, 1], ..good() };
    let server = always(script);
    world.run(&world.job(&server.url("/f"))).assert_published(&world, CONTENT);
    assert_eq!(said(&server, 0, "PASV").len(), 1);
}

#[test]
fn an_extended_answer_that_leads_nowhere_leads_to_the_older_way() {
    // Nobody listens at port 1 of this machine.
    for answer in ["229 Entering Extended Passive Mode (|||1|)", "229 nonsense", "500 What?"] {
        let world = World::new();
        let server = always(FtpScript { instead: Some(("EPSV", answer)), ..good() });
        world.run(&world.job(&server.url("/f"))).assert_published(&world, CONTENT);
    }
}

#[test]
fn only_public_addresses_are_connected_to_where_that_is_asked() {
    let world = World::new();
    let server = always(good());
    let job = Job { public_addresses_only: true, ..world.job(&server.url("/f")) };
    assert_eq!(world.run(&job).why(), (Cause::AddressForbidden, Remedy::NeedsInput));
    assert!(server.sessions().is_empty());
}

#[test]
fn refusals_say_what_the_server_said() {
    use Remedy::{NeedsInput, Transient};
    for (instead, status, remedy) in [
        (("RETR", "550 No such file"), WebErrorStatus::NotFound, NeedsInput),
        (("RETR", "550 Permission denied"), WebErrorStatus::Forbidden, NeedsInput),
        (("PASS", "530 Login incorrect"), WebErrorStatus::Unauthorized, NeedsInput),
        (("PASS", "332 Need account"), WebErrorStatus::Unauthorized, NeedsInput),
        (("USER", "421 Too many connections"), WebErrorStatus::ServiceUnavailable, Transient),
        (("FEAT", "421 Timeout"), WebErrorStatus::ServiceUnavailable, Transient),
        (("RETR", "450 Busy"), WebErrorStatus::ServiceUnavailable, Transient),
    ] {
        let world = World::new();
        let server = always(FtpScript { instead: Some(instead), ..good() });
        let outcome = world.run(&world.job(&server.url("/f")));
        let failure = outcome.failure();
        assert_eq!((failure.web_error_status, failure.remedy), (status, remedy), "{instead:?}");
        assert_eq!((failure.cause, failure.http_status), (Cause::FtpReply, None));
        if instead.1.starts_with('5') {
            assert!(failure.detail.contains(instead.1), "{}", failure.detail);
        }
        world.assert_nothing_published();
    }
}

#[test]
fn users_are_let_in_and_no_password_is_repeated() {
    let world = World::new();
    let script = FtpScript { login: Some(("ann", "hunter2 x")), ..good() };
    let server = always(script);
    let credential =
        |password: &str| Some(Credential { user: "ann".to_owned(), password: Secret::new(password) });
    let wrong = Job { credential: credential("wrongword"), ..world.job(&server.url("/f")) };
    let outcome = world.run(&wrong);
    assert_eq!(outcome.failure().web_error_status, WebErrorStatus::Unauthorized);
    assert!(!format!("{outcome:?}").contains("wrongword"), "{outcome:?}");
    let right = Job { credential: credential("hunter2 x"), ..world.job(&server.url("/f")) };
    let outcome = world.run(&right);
    outcome.assert_published(&world, CONTENT);
    assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:?}");
    let world = World::new();
    let address = server.url("/f").replace("ftp://", "ftp://ann:hunter2%20x@");
    let outcome = world.run(&world.job(&address));
    outcome.assert_published(&world, CONTENT);
    assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:?}");
}

#[test]
fn fault_067_the_credential_is_not_for_mirrors() {
    let world = World::new();
    let gone = always(FtpScript { instead: Some(("RETR", "550 Gone")), ..good() });
    let mirror = always(good());
    let job = Job {
        credential: Some(Credential { user: "ann".to_owned(), password: Secret::new("hunter2") }),
        mirrors: vec![mirror.url("/f").parse().unwrap()],
        ..world.job(&gone.url("/f"))
    };
    world.run(&job).assert_published(&world, CONTENT);
    assert_eq!(said(&gone, 0, "USER"), ["USER ann"]);
    assert_eq!(said(&mirror, 0, "USER"), ["USER anonymous"]);
}

#[test]
fn fault_078_one_command_stays_one() {
    for path in ["/f%0d%0aDELE%20f", "/f%0aQUIT", "/f%00", "/", "/folder/", "/f;type=a"] {
        let world = World::new();
        let server = always(good());
        let outcome = world.run(&world.job(&server.url(path)));
        assert_eq!(outcome.why().1, Remedy::NeedsInput, "{path}");
        assert!(server.sessions().is_empty(), "{path}");
    }
}

#[test]
fn whoever_does_not_speak_ftp_is_left() {
    let endless = [b"220-".to_vec(), vec![b'a'; 100 << 10]].concat();
    let many = b"220-again\r\n".repeat(20_000);
    for (greeting, remedy) in [
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), Remedy::Permanent),
        (endless, Remedy::Permanent),
        (many, Remedy::Permanent),
        (b"120 Soon\r\n".repeat(100), Remedy::Permanent),
        (b"220 half".to_vec(), Remedy::Transient),
    ] {
        let world = World::new();
        let server = always(FtpScript { greeting: greeting.clone(), ..good() });
        let outcome = world.run(&world.job(&server.url("/f")));
        assert_eq!(outcome.why().1, remedy, "{}", outcome.failure().detail);
    }
}

#[test]
fn nothing_is_said_in_the_clear_where_tls_was_asked_for() {
    for answer in ["502 No TLS here", "234 Go on\r\n200 injected"] {
        let world = World::new();
        let server = always(FtpScript { instead: Some(("AUTH", answer)), ..good() });
        let url = server.url("/f").replace("ftp://", "ftpes://ann:hunter2@");
        let outcome = world.run(&world.job(&url));
        assert_eq!(outcome.why().0, Cause::TlsProtocol, "{}", outcome.failure().detail);
        assert_eq!(server.sessions(), [["AUTH TLS"]]);
    }
}

#[test]
fn real_servers_bring_files_over_tls_of_both_kinds() {
    for kind in [FtpKind::Vsftpd, FtpKind::Python] {
        for mode in [FtpMode::Plain, FtpMode::Explicit, FtpMode::Implicit] {
            let server = FtpServer::start(kind, mode);
            let content = Content::new(5, 3_000_001);
            content.write_to(&server.root().join("a file"));
            let world = World::with(trusting(&server));
            let outcome = world.run(&world.job(&server.url("/a%20file")));
            outcome.assert_published(&world, content);
            assert!(outcome.receipt().last_modified.is_some());
            let missing = World::with(trusting(&server));
            let outcome = missing.run(&missing.job(&server.url("/none")));
            assert_eq!(outcome.failure().web_error_status, WebErrorStatus::NotFound, "{kind:?} {mode:?}");
        }
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_gets_no_password() {
    for mode in [FtpMode::Explicit, FtpMode::Implicit] {
        let server = FtpServer::start(FtpKind::Vsftpd, mode);
        let world = World::new();
        let outcome = world.run(&world.job(&server.user_url("/f")));
        assert_eq!(outcome.why(), (Cause::TlsCertificate, Remedy::NeedsInput), "{mode:?}");
        assert!(!server.protocol_log().contains("PASS"), "{}", server.protocol_log());
    }
}

#[test]
fn a_real_server_goes_on_where_it_was_left() {
    for mode in [FtpMode::Plain, FtpMode::Explicit] {
        let server = FtpServer::start_with(FtpKind::Vsftpd, mode, Some(1 << 20));
        let content = Content::new(6, 1_000_000);
        content.write_to(&server.root().join("f"));
        let world = World::with(trusting(&server));
        let job = world.job(&server.url("/f"));
        let attempt = world.start(&job);
        attempt.wait_for_bytes(300_000);
        attempt.handle.stop(longhaul_transfer::StopMode::Keep);
        assert!(matches!(attempt.end().end, TransferEnd::Stopped));
        let outcome = world.finish(&world.next(&job));
        outcome.assert_published(&world, content);
        assert!(!outcome.has_restarted());
        assert!(server.protocol_log().contains("REST "), "{}", server.protocol_log());
    }
}

fn trusting(server: &FtpServer) -> Settings {
    Settings { ca_certificates: vec![server.root_certificate()], ..settings() }
}
