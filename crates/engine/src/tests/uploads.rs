//! Uploads: the rules of downloads hold for them, and a request that got no answer is its caller's matter.

use longhaul_contract::{
    Cause, CreateUpload, ErrorCode, OperationId, OperationKind, PatchDownload, Remedy, Secret,
    TransferStatus, WebErrorStatus,
};

use super::world::{SECOND, World, app, discards, ended, failure, kept, metered, online, started, transient};
use crate::{Command, NewOperation, StoredPhase};

fn upload(world: &mut World) -> OperationId {
    let operation = world.operation("inbox");
    let spec = CreateUpload::new("https://inbox/film", "/home/ann/film").into();
    world.create(NewOperation { kind: OperationKind::Upload, spec, ..operation }).0
}

#[test]
fn a_request_without_an_answer_waits_for_its_callers_word() {
    let mut world = World::new();
    let id = upload(&mut world);
    let mut lost = failure(Remedy::NeedsInput, WebErrorStatus::ConnectionReset);
    lost.cause = Cause::Unconfirmed;
    let plan = world.fail(id, lost.clone(), false);
    assert_eq!(world.status(id), TransferStatus::PausedRecoverableWebErrorStatus);
    let row = kept(&plan, id).unwrap();
    assert!(matches!(&row.phase, StoredPhase::NeedsInput { failure } if failure.cause == Cause::Unconfirmed));
    assert_eq!(started(&world.live_through(100_000 * SECOND)), [], "nobody makes it again by himself");
    let mut world = world.restarted(vec![row]);
    assert_eq!(world.status(id), TransferStatus::PausedRecoverableWebErrorStatus);
    assert_eq!(started(&world.command(id, Command::Resume).unwrap()), [id]);
    world.fail(id, lost, false);
    assert_eq!(
        discards(&world.command(id, Command::Cancel).unwrap()),
        [id],
        "the server may still hold something"
    );
    assert_eq!(ended(&world.discarded(id)), [(id, StoredPhase::Canceled)]);
}

#[test]
fn cost_pauses_and_retries_are_those_of_downloads() {
    let mut world = World::new();
    let id = upload(&mut world);
    let patch = PatchDownload {
        cost_policy: Some(longhaul_contract::CostPolicy::UnrestrictedOnly),
        ..PatchDownload::default()
    };
    world.command(id, Command::Patch { patch: Box::new(patch), origin: None }).unwrap();
    world.host(metered());
    world.stopped(id);
    assert_eq!(world.status(id), TransferStatus::PausedCostedNetwork);
    world.host(online());
    // A gate that closed just now opens late.
    world.live_through(120 * SECOND);
    assert!(world.is_running(id));
    for _ in 0..3 {
        world.fail(id, transient(), false);
        world.live_through(600 * SECOND);
        assert!(world.is_running(id));
    }
    let plan = world.fail(id, transient(), false);
    assert_eq!(discards(&plan), [id]);
}

#[test]
fn addresses_of_pieces_are_renewed_like_the_address() {
    let mut world = World::new();
    let id = upload(&mut world);
    let patch = || PatchDownload {
        part_uris: Some(vec![Secret::new("https://inbox/film?part=1")]),
        ..PatchDownload::default()
    };
    let renew = |world: &mut World| {
        world.command(id, Command::Patch { patch: Box::new(patch()), origin: None }).map(drop)
    };
    assert_eq!(renew(&mut world).unwrap_err().code, ErrorCode::InvalidState);
    world.command(id, Command::Pause).unwrap();
    world.stopped(id);
    renew(&mut world).unwrap();
    assert!(world.engine.live(world.now, &app("App"), id).is_some());
}
