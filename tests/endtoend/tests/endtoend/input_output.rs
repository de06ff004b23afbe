//! The disk reports an error, once or for a while: strace injects it into the calls of the running service.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use longhaul_endtoend::{DEADLINE, DOWNLOADS, House, assert_exit, shown};
use longhaul_lab::process::{Guarded, program, spawn};
use longhaul_lab::{Content, Resource, Server, wait_until};
use rustix::process::Signal;

const SIZE: u64 = 4_000_000;

/// While this lives, syncing `file` fails in the service with EIO.
struct BrokenSync {
    tracer: Guarded,
}

impl BrokenSync {
    #[track_caller]
    fn of(house: &House, file: &Path) -> Self {
        let mut command = Command::new(program("strace", "strace"));
        command
            .args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO"])
            .arg("-P")
            .arg(file)
            .arg("-o")
            .arg(house.folder().join("strace.log"))
            .args(["-p", &house.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let tracer = spawn(command).unwrap();
        wait_until("the tracer of every thread", DEADLINE, || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", house.pid())).ok()?;
            let is_traced = |thread: std::fs::DirEntry| {
                let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                !status.contains("TracerPid:\t0\n")
            };
            threads.flatten().all(is_traced).then_some(())
        });
        Self { tracer }
    }

    /// The disk is well again.
    fn mend(mut self) {
        self.tracer.signal(Signal::INT);
        self.tracer.wait(DEADLINE);
    }
}

fn part_file(house: &House) -> PathBuf {
    wait_until("the part file", DEADLINE, || {
        let entries = std::fs::read_dir(house.results()).unwrap().flatten();
        entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ending| ending == "part"))
    })
}

fn slow_server(content: Content) -> Server {
    Server::build()
        .pace(1_000_000)
        .start(move |exchange| exchange.respond(Resource::new(content).answer(&exchange.request)))
}

#[test]
fn fault_095_a_failed_sync_ends_the_download_and_publishes_nothing() {
    let content = Content::new(1, SIZE);
    let server = slow_server(content);
    let house = House::new();
    let id = house.get(&server.url("/f"), "f");
    house.wait_for_bytes(&id, SIZE / 8);
    let broken = BrokenSync::of(&house, &part_file(&house));
    let failed = house.wait_for_status(&id, "Error");
    broken.mend();
    assert!(failed["error"]["detail"].as_str().unwrap().contains("error"), "{failed:#}");
    assert_eq!(failed["error"]["remedy"]["kind"], "permanent", "{failed:#}");
    let told = house.run(&["show", &id]);
    assert_exit(&told, 0);
    assert!(shown(&told).contains("Input/output error"), "{}", shown(&told));
    assert_eq!(std::fs::read_dir(house.results()).unwrap().count(), 0, "neither a file nor a part of one");
    // A disk that works again is used again.
    let server = Server::of(Resource::new(content));
    let again = house.get(&server.url("/f"), "f");
    house.complete(&again);
    content.assert_file(&house.result("f"));
}

#[test]
fn fault_095_a_store_that_cannot_sync_refuses_and_comes_back_by_itself() {
    let content = Content::new(1, SIZE);
    let server = slow_server(content);
    let house = House::new();
    let id = house.get(&server.url("/f"), "f");
    house.wait_for_bytes(&id, SIZE / 8);
    let log = std::fs::read_dir(house.state()).unwrap().flatten().map(|entry| entry.path());
    let log =
        log.into_iter().find(|path| path.to_string_lossy().ends_with("-wal")).expect("a write-ahead log");
    let broken = BrokenSync::of(&house, &log);
    let refused = house.send("POST", DOWNLOADS, &house.spec(&server.url("/g"), "g"));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["code"], "store-unavailable");
    broken.mend();
    let created = wait_until("a store that writes", DEADLINE, || {
        let answer = house.send("POST", DOWNLOADS, &house.spec(&server.url("/g"), "g"));
        (answer.status == 201).then(|| longhaul_endtoend::id_of(&answer.json()))
    });
    house.complete(&id);
    house.complete(&created);
    content.assert_file(&house.result("f"));
    content.assert_file(&house.result("g"));
    assert_eq!(house.list("&consumed=true").len(), 2, "what was refused is not there");
}
