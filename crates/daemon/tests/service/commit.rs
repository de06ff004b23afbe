//! A store that cannot write: nothing is promised, nothing is half done, and it goes on by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use longhaul_daemon::{Configuration, GivenSockets, Service};
use longhaul_lab::{Content, Gate, Resource, Server, wait_until};
use longhaul_store::{Adopt, GroupStore, Keys, Opened, Queue, SqliteStore, Store, StoreError, Write};
use serde_json::json;

use crate::rig::{DOWNLOADS, PATIENCE, Rig};

/// The real store on a disk that can be made full, or slow.
struct Disk {
    store: SqliteStore,
    is_full: Arc<AtomicBool>,
    slow: Slow,
}

/// While there are any: the first gate is opened by a commit that begins, which then waits at the second.
type Slow = Arc<Mutex<Option<(Gate, Gate)>>>;

impl Disk {
    fn check(&self) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::CannotWrite("no space left on device".to_owned()));
        }
        Ok(())
    }
}

impl Store for Disk {
    fn load_into(&mut self, adopter: &mut dyn Adopt) -> Result<(), StoreError> {
        self.store.load_into(adopter)
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.check()?;
        self.store.commit(writes)
    }
}

impl GroupStore for Disk {
    type Prepared = <SqliteStore as GroupStore>::Prepared;

    fn prepare(writes: Vec<Write>) -> Result<Self::Prepared, StoreError> {
        SqliteStore::prepare(writes)
    }

    fn commit_group(&mut self, submissions: &[Self::Prepared]) -> Vec<Result<(), StoreError>> {
        let gates = self.slow.lock().unwrap().clone();
        if let Some((reached, passable)) = gates {
            reached.open();
            assert!(passable.wait_for(PATIENCE), "the test lets each commit pass");
        }
        match self.check() {
            Ok(()) => self.store.commit_group(submissions),
            Err(error) => submissions.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn tidy(&mut self, queue: Queue) {
        self.store.tidy(queue);
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.store.close()
    }
}

fn start() -> (Rig, Arc<AtomicBool>) {
    let (rig, is_full, _) = start_with(|_| {});
    (rig, is_full)
}

fn start_with(change: impl FnOnce(&mut Configuration)) -> (Rig, Arc<AtomicBool>, Slow) {
    let mut rig = Rig::prepare(change);
    let is_full = Arc::new(AtomicBool::new(false));
    let slow = Slow::default();
    let Opened { store, readers, .. } = longhaul_store::open(rig.state(), &Keys::InFolder).unwrap();
    let disk = Disk { store, is_full: Arc::clone(&is_full), slow: Arc::clone(&slow) };
    let starting =
        Service::start_with(rig.configuration.clone(), GivenSockets::default(), disk, Arc::new(readers));
    rig.service = Some(rig.runtime.block_on(starting).unwrap());
    (rig, is_full, slow)
}

#[test]
fn what_is_not_kept_is_refused_and_has_not_happened() {
    let (rig, is_full) = start();
    let kept = rig.create(&rig.idle("a"));
    is_full.store(true, Ordering::SeqCst);
    let refused = rig.api().post(DOWNLOADS, &rig.idle("b")).unwrap().expect_status(503);
    assert_eq!(refused.json()["code"], "store-unavailable");
    let refused = rig.api().call("POST", &format!("{kept}/start"), None).unwrap();
    assert_eq!(refused.expect_status(503).json()["code"], "store-unavailable");
    wait_until("reading goes on", PATIENCE, || {
        rig.api().get(DOWNLOADS).ok().filter(|answer| answer.status == 200)
    });
    assert_eq!(rig.get(DOWNLOADS)["items"].as_array().unwrap().len(), 1, "b is not there");
    assert_eq!(rig.get(&kept)["status"], "Idle", "a was not started");
    assert_eq!(rig.get("/healthz")["status"], "degraded");
    is_full.store(false, Ordering::SeqCst);
    let made = wait_until("writing goes on", PATIENCE, || {
        rig.api().post(DOWNLOADS, &rig.idle("b")).ok().filter(|answer| answer.status == 201)
    });
    assert_eq!(made.json()["status"], "Idle");
    assert_eq!(rig.get("/healthz")["status"], "ok");
    assert_eq!(rig.get(DOWNLOADS)["items"].as_array().unwrap().len(), 2);
}

#[test]
fn fault_094_a_running_download_survives_a_full_disk_under_the_store() {
    let content = Content::new(1, 4 << 20);
    let gate = Gate::new();
    let server = Server::start({
        let (resource, gate) = (Resource::new(content), gate.clone());
        move |exchange| {
            let response = resource.answer(&exchange.request);
            exchange.respond(response.hold_at(2 << 20, &gate));
        }
    });
    let (rig, is_full) = start();
    let path = rig.create(&rig.download(&server.url("/film"), "film"));
    server.wait_for_requests(1, PATIENCE);
    is_full.store(true, Ordering::SeqCst);
    let _ = rig.api().post(DOWNLOADS, &rig.idle("b")).unwrap().expect_status(503);
    gate.open();
    wait_until("answers while the disk is full", PATIENCE, || {
        rig.api().get(&path).ok().filter(|answer| answer.status == 200)
    });
    is_full.store(false, Ordering::SeqCst);
    rig.wait_for_status(&path, "Completed");
    content.assert_file(&rig.path("film"));
    assert_eq!(rig.get(DOWNLOADS)["items"].as_array().unwrap().len(), 1);
}

#[test]
fn readers_of_events_are_told_to_look_again() {
    let (rig, is_full) = start();
    rig.create(&rig.idle("a"));
    let mut events = rig.api().stream("GET", "/events", None).unwrap();
    assert_eq!(events.next_event().unwrap().unwrap().0, "snapshot");
    is_full.store(true, Ordering::SeqCst);
    let _ = rig.api().post(DOWNLOADS, &rig.idle("b")).unwrap().expect_status(503);
    assert_eq!(events.next_event().unwrap().unwrap().0, "resync");
    let (kind, snapshot) = events.next_event().unwrap().unwrap();
    assert_eq!(kind, "snapshot");
    let snapshot: serde_json::Value = serde_json::from_str(&snapshot).unwrap();
    assert_eq!(snapshot["operations"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["isLast"], json!(true));
}

#[test]
fn a_slot_is_handed_on_while_others_wait_for_the_disk() {
    let content = Content::new(1, 1 << 20);
    let gate = Gate::new();
    let server = Server::start({
        let (resource, gate) = (Resource::new(content), gate.clone());
        move |exchange| {
            let response = resource.answer(&exchange.request);
            exchange.respond(response.hold_at(1 << 19, &gate));
        }
    });
    let (rig, _, slow) = start_with(|configuration| configuration.limits.running_at_once = 1);
    let first = rig.create(&rig.download(&server.url("/first"), "first"));
    let second = rig.create(&rig.download(&server.url("/second"), "second"));
    server.wait_for_requests(1, PATIENCE);
    let (reached, passable) = (Gate::new(), Gate::new());
    *slow.lock().unwrap() = Some((reached.clone(), passable.clone()));
    let creation = std::thread::spawn({
        let (api, body) = (rig.api(), rig.idle("third"));
        move || api.post(DOWNLOADS, &body).unwrap().expect_status(201)
    });
    assert!(reached.wait_for(PATIENCE));
    gate.open();
    server.wait_for_requests(2, PATIENCE);
    assert!(!creation.is_finished(), "nothing is promised before it is on disk");
    *slow.lock().unwrap() = None;
    passable.open();
    creation.join().unwrap();
    for path in [first, second] {
        rig.wait_for_status(&path, "Completed");
    }
    content.assert_file(&rig.path("second"));
}
