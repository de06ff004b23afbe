//! Changes of operations, and what is read afterwards.

use std::num::NonZeroU64;
use std::sync::Arc;

use longhaul_contract::{
    CostPolicy, Limits, OperationKind, PatchDownload, Priority, ReasonCode, Scope, Timestamp,
    TransferBehavior, WebErrorStatus,
};
use longhaul_engine::{Change, Marks, Origin, Row, StoredPhase, TargetKey};
use longhaul_store::{Loaded, StoredOperation, TokenWrite, WaitHistory, Write};

use crate::samples::{
    app, completion_group_id, consumed, create, created, ended, everything, failure, finished, group, id,
    journal, response, response_body, row, spec, time, updated, upload_spec, waited,
};
use crate::trial::{Boxed, list, numbers, read};

contract! {
    a_new_store_is_empty,
    a_creation_is_loaded_and_read,
    a_second_creation_of_an_id_changes_nothing,
    every_field_of_a_row_survives,
    every_phase_survives,
    a_patch_is_merged,
    an_upload_keeps_what_it_was_asked_for,
    the_newest_answer_is_kept_with_its_operation,
    the_first_start_is_kept,
    an_end_is_final,
    an_end_keeps_the_numbers_of_the_journal,
    consuming_moves_the_time_to_forget,
    the_unconsumed_are_final_and_of_the_application,
    removing_leaves_nothing,
    waits_are_counted_once_and_bounded,
    groups_and_limits_are_loaded,
    journals_belong_to_live_operations,
    tokens_and_applications,
    every_write_is_repeatable,
    writes_to_unknown_operations_do_nothing,
}

fn a_new_store_is_empty(mut trial: Boxed) {
    assert_eq!(trial.store().load().unwrap(), Loaded::default());
    trial.store().commit(&[]).unwrap();
    assert_eq!(list(&trial, &everything()), [] as [i64; 0]);
    assert_eq!(trial.reader().operation(id(1)).unwrap(), None);
    assert_eq!(trial.reader().journal(id(1)).unwrap(), None);
    assert_eq!(trial.reader().waits(id(1)).unwrap(), WaitHistory::default());
    assert_eq!(trial.reader().applications().unwrap(), []);
}

fn a_creation_is_loaded_and_read(mut trial: Boxed) {
    trial.store().commit(&[create(1), create(2)]).unwrap();
    let mut trial = trial.restart();
    let mut rows = trial.store().load().unwrap().rows;
    rows.sort_by_key(|row| row.id);
    assert_eq!(rows, [row(1), row(2)]);
    let expected = StoredOperation {
        row: row(1),
        spec: spec(1).into(),
        created: time(1),
        started: None,
        completed: None,
        consumed: None,
        received: 0,
        total: 0,
        finished: None,
        response: None,
    };
    assert_eq!(read(&trial, 1), expected);
    let found = trial.reader().operations(&[id(2), id(9), id(1)]).unwrap();
    assert_eq!(numbers(&found), [2, 1]);
}

fn a_second_creation_of_an_id_changes_nothing(mut trial: Boxed) {
    trial.store().commit(&[create(1)]).unwrap();
    let before = read(&trial, 1);
    let other = Row { priority: Priority::High, ..row(1) };
    trial.store().commit(&[created(other.clone(), spec(5))]).unwrap();
    assert_eq!(read(&trial, 1), before);
    trial.store().commit(&[ended(Row { phase: StoredPhase::Canceled, ..row(1) }, 5)]).unwrap();
    trial.store().commit(&[created(other, spec(5))]).unwrap();
    assert_eq!(read(&trial, 1).completed, Some(time(5)));
    assert_eq!(trial.store().load().unwrap().rows, []);
}

fn full_row(number: u64) -> Row {
    Row {
        kind: OperationKind::Upload,
        group: Some(group("gr\u{fc}n")),
        origin: Origin { name: "http://127.0.0.1:80".into(), is_local: true },
        target: Some(TargetKey(NonZeroU64::MAX)),
        order: -5,
        priority: Priority::Low,
        cost_policy: CostPolicy::Always,
        rate_limit: Some(u64::MAX),
        not_before: Some(Timestamp(-1)),
        recoverable: Arc::new([WebErrorStatus::Forbidden, WebErrorStatus::Gone]),
        phase: StoredPhase::Started,
        fruitless_attempts: 255,
        has_bytes: true,
        completion_group: Some(completion_group_id(7)),
        marks: Marks::notifying(true, true).unconstrained(),
        ..row(number)
    }
}

fn every_field_of_a_row_survives(mut trial: Boxed) {
    let second = Row { kind: OperationKind::Download, ..full_row(2) };
    trial.store().commit(&[created(full_row(1), spec(1)), create(2), updated(second.clone())]).unwrap();
    let counted = Change::Counted { id: id(2), fruitless_attempts: 3, has_bytes: false };
    trial.store().commit(&[Write::Change(counted), create(3)]).unwrap();
    let second = Row { fruitless_attempts: 3, has_bytes: false, ..second };
    let mut trial = trial.restart();
    let mut rows = trial.store().load().unwrap().rows;
    rows.sort_by_key(|row| row.id);
    assert_eq!(rows, [full_row(1), second.clone(), row(3)]);
    assert_eq!(read(&trial, 1).row, full_row(1));
    assert_eq!(read(&trial, 2).row, second);
    let last = Row { phase: StoredPhase::Error { failure: failure() }, ..full_row(1) };
    trial.store().commit(&[ended(last.clone(), 9)]).unwrap();
    assert_eq!(read(&trial, 1).row, last);
}

fn every_phase_survives(mut trial: Boxed) {
    let live = [
        StoredPhase::Idle,
        StoredPhase::Started,
        StoredPhase::PausedByApplication,
        StoredPhase::NeedsInput { failure: failure() },
        StoredPhase::Canceling { forget: false },
        StoredPhase::Canceling { forget: true },
    ];
    let last = [StoredPhase::Completed, StoredPhase::Canceled, StoredPhase::Error { failure: failure() }];
    for (number, phase) in (1..).zip(&live) {
        let row = Row { phase: phase.clone(), ..row(number) };
        trial.store().commit(&[create(number), updated(row.clone())]).unwrap();
        assert_eq!(read(&trial, number).row, row);
    }
    for (number, phase) in (11..).zip(&last) {
        let row = Row { phase: phase.clone(), ..row(number) };
        trial.store().commit(&[create(number), ended(row.clone(), 1)]).unwrap();
        assert_eq!(read(&trial, number).row, row);
    }
    let mut rows = trial.store().load().unwrap().rows;
    rows.sort_by_key(|row| row.id);
    let phases: Vec<_> = rows.into_iter().map(|row| row.phase).collect();
    assert_eq!(phases, live);
}

fn a_patch_is_merged(mut trial: Boxed) {
    let patch = PatchDownload {
        requested_uri: Some("https://mirror.example/x".to_owned()),
        rate_limit: Some(None),
        ..PatchDownload::default()
    };
    let mut first = spec(1);
    first.rate_limit = Some(5);
    trial.store().commit(&[created(row(1), first.clone())]).unwrap();
    let change = Change::Patched { id: id(1), patch: Box::new(patch.clone()) };
    trial.store().commit(&[Write::Change(change)]).unwrap();
    first.apply(patch);
    assert_eq!(first.request_headers, spec(1).request_headers);
    assert_eq!(read(&trial, 1).spec, first.into());
}

fn an_upload_keeps_what_it_was_asked_for(mut trial: Boxed) {
    let upload = Row { kind: OperationKind::Upload, ..row(1) };
    let mut asked = upload_spec(spec(1));
    asked.part_uris = vec![longhaul_contract::Secret::new("https://example.com/1?signature=one")];
    let create = Change::Created { row: upload.clone(), spec: asked.clone().into(), time: time(1) };
    let patch = PatchDownload {
        part_uris: Some(vec![longhaul_contract::Secret::new("https://example.com/1?signature=two")]),
        ..PatchDownload::default()
    };
    let renew =
        |patch: &PatchDownload| Write::Change(Change::Patched { id: id(1), patch: Box::new(patch.clone()) });
    trial.store().commit(&[Write::Change(create), renew(&patch)]).unwrap();
    asked.apply(patch.clone());
    let mut trial = trial.restart();
    assert_eq!(read(&trial, 1).spec, asked.clone().into());
    let over = Row { phase: StoredPhase::Completed, ..upload };
    let rate = PatchDownload { rate_limit: Some(Some(7)), ..PatchDownload::default() };
    trial.store().commit(&[ended(over, 5), renew(&rate)]).unwrap();
    asked.apply(rate);
    assert_eq!(read(&trial, 1).spec, asked.into());
}

fn the_newest_answer_is_kept_with_its_operation(mut trial: Boxed) {
    let body = |trial: &Boxed, number| trial.reader().response_body(id(number)).unwrap();
    trial.store().commit(&[response_body(1, "too early")]).unwrap();
    trial.store().commit(&[create(1), create(2), response_body(1, "one")]).unwrap();
    assert_eq!(
        (body(&trial, 1).map(|body| (body.bytes, body.is_cut)), body(&trial, 2)),
        (Some((b"one".to_vec(), false)), None)
    );
    trial.store().commit(&[response_body(1, "four"), ended(row(1), 5)]).unwrap();
    let mut trial = trial.restart();
    assert_eq!(body(&trial, 1).map(|body| (body.bytes, body.is_cut)), Some((b"four".to_vec(), true)));
    trial.store().commit(&[Write::Change(Change::Removed { id: id(1) }), create(1)]).unwrap();
    assert_eq!(body(&trial, 1), None);
}

fn the_first_start_is_kept(mut trial: Boxed) {
    let start = |at| Write::Change(Change::Started { id: id(1), time: time(at) });
    trial.store().commit(&[create(1), start(5)]).unwrap();
    trial.store().commit(&[start(6)]).unwrap();
    assert_eq!(read(&trial, 1).started, Some(time(5)));
}

fn an_end_is_final(mut trial: Boxed) {
    let last = Row { phase: StoredPhase::Completed, ..row(1) };
    let end = |at, size| {
        Write::Change(Change::Ended {
            row: last.clone(),
            time: time(at),
            finished: Some(finished(size)),
            response: Some(response()),
            keep_until: time(at + 100),
        })
    };
    trial.store().commit(&[create(1), journal(1, 3, b"r"), end(5, Some(77))]).unwrap();
    let after = read(&trial, 1);
    assert_eq!((after.received, after.total, after.completed), (77, 77, Some(time(5))));
    assert_eq!(
        (after.finished.clone(), after.response.clone()),
        (Some(*finished(Some(77))), Some(response()))
    );
    trial.store().commit(&[end(6, None)]).unwrap();
    trial.store().commit(&[updated(full_row(1))]).unwrap();
    trial.store().commit(&[journal(1, 9, b"late")]).unwrap();
    let counted = Change::Counted { id: id(1), fruitless_attempts: 3, has_bytes: true };
    trial.store().commit(&[Write::Change(counted)]).unwrap();
    let mut trial = trial.restart();
    assert_eq!(read(&trial, 1), after);
    assert_eq!(trial.reader().journal(id(1)).unwrap(), None);
    assert_eq!(trial.store().load().unwrap().rows, []);
}

fn an_end_keeps_the_numbers_of_the_journal(mut trial: Boxed) {
    let last = Row { phase: StoredPhase::Canceled, ..row(1) };
    trial.store().commit(&[create(1), journal(1, u64::MAX, b"r"), ended(last, 5)]).unwrap();
    let after = read(&trial, 1);
    assert_eq!((after.received, after.total), (u64::MAX, 1_000));
    assert_eq!((after.finished, after.response), (None, None));
}

fn consuming_moves_the_time_to_forget(mut trial: Boxed) {
    trial.store().commit(&[create(1), consumed(1, 1), ended(row(1), 5)]).unwrap();
    assert_eq!(read(&trial, 1).consumed, None, "only a final operation can be consumed");
    trial.store().commit(&[consumed(1, 20), consumed(1, 30)]).unwrap();
    assert_eq!(read(&trial, 1).consumed, Some(time(20)));
    assert_eq!(trial.reader().prunable(time(40), 9).unwrap(), []);
    assert_eq!(trial.reader().prunable(time(41), 9).unwrap(), [(app("A"), id(1))]);
}

fn the_unconsumed_are_final_and_of_the_application(mut trial: Boxed) {
    let other = Row { app: app("B"), ..row(4) };
    trial.store().commit(&[create(1), create(2), create(3), created(other.clone(), spec(4))]).unwrap();
    trial.store().commit(&[ended(row(1), 5), ended(row(2), 5), ended(other, 5), consumed(2, 6)]).unwrap();
    let all = [id(4), id(3), id(2), id(1), id(99)];
    assert_eq!(trial.reader().unconsumed(&app("A"), &all).unwrap(), [id(1)]);
    assert_eq!(trial.reader().unconsumed(&app("B"), &all).unwrap(), [id(4)]);
    assert_eq!(trial.reader().unconsumed(&app("C"), &all).unwrap(), []);
}

fn removing_leaves_nothing(mut trial: Boxed) {
    let wait = |number| waited(number, ReasonCode::Backoff, time(1), time(2));
    trial.store().commit(&[create(1), journal(1, 1, b"r"), wait(1), create(2), wait(2)]).unwrap();
    trial.store().commit(&[ended(row(2), 3)]).unwrap();
    for number in [1, 2] {
        let remove = Write::Change(Change::Removed { id: id(number) });
        trial.store().commit(std::slice::from_ref(&remove)).unwrap();
        assert_eq!(trial.reader().operation(id(number)).unwrap(), None);
        assert_eq!(trial.reader().journal(id(number)).unwrap(), None);
        assert_eq!(trial.reader().waits(id(number)).unwrap(), WaitHistory::default());
    }
    assert_eq!(list(&trial, &everything()), [] as [i64; 0]);
    assert_eq!(trial.reader().prunable(time(10_000), 9).unwrap(), []);
    assert_eq!(trial.store().load().unwrap().rows, []);
    trial.store().commit(&[create(1)]).unwrap();
    assert_eq!(trial.reader().waits(id(1)).unwrap(), WaitHistory::default());
}

fn waits_are_counted_once_and_bounded(mut trial: Boxed) {
    trial.store().commit(&[create(1)]).unwrap();
    for number in 0..150 {
        let from = time(number * 10);
        let wait = waited(1, ReasonCode::NetworkLevel, from, Timestamp(from.micros() + 1_500_000));
        trial.store().commit(&[wait.clone(), wait]).unwrap();
    }
    let backwards = waited(1, ReasonCode::Backoff, time(5_000), time(4_000));
    trial.store().commit(&[backwards]).unwrap();
    let history = trial.reader().waits(id(1)).unwrap();
    assert_eq!(history.entries.len(), 100);
    assert_eq!(
        history.entries[0],
        (ReasonCode::NetworkLevel, time(510), Timestamp(time(510).micros() + 1_500_000))
    );
    assert_eq!(history.entries[99], (ReasonCode::Backoff, time(5_000), time(4_000)));
    assert_eq!(history.totals, [(ReasonCode::Backoff, 0), (ReasonCode::NetworkLevel, 225)]);
}

fn groups_and_limits_are_loaded(mut trial: Boxed) {
    let put = |name, behavior| Change::Group { app: app("A"), name: group(name), behavior };
    let limits = Limits { bytes_per_second: Some(7), ..Limits::default() };
    trial
        .store()
        .commit(&[
            created(Row { group: Some(group("one")), ..row(1) }, spec(1)),
            Write::Change(put("one", TransferBehavior::Parallel)),
            Write::Change(put("one", TransferBehavior::Serialized)),
            Write::Change(put("two", TransferBehavior::Parallel)),
            Write::Change(Change::Limits(Limits::default())),
            Write::Change(Change::Limits(limits.clone())),
        ])
        .unwrap();
    let mut trial = trial.restart();
    let mut loaded = trial.store().load().unwrap();
    loaded.groups.sort();
    assert_eq!(
        loaded.groups,
        [
            (app("A"), group("one"), TransferBehavior::Serialized),
            (app("A"), group("two"), TransferBehavior::Parallel)
        ]
    );
    assert_eq!(loaded.limits, Some(limits));
    for name in ["one", "two", "never"] {
        let remove = Change::GroupRemoved { app: app("A"), name: group(name) };
        trial.store().commit(&[Write::Change(remove)]).unwrap();
    }
    assert_eq!(trial.store().load().unwrap().groups, []);
    assert_eq!(read(&trial, 1).row.group, Some(group("one")));
}

fn journals_belong_to_live_operations(mut trial: Boxed) {
    trial.store().commit(&[create(1), journal(1, 3, b"first"), journal(9, 3, b"nobody's")]).unwrap();
    trial.store().commit(&[journal(1, 4, b"second")]).unwrap();
    let trial = trial.restart();
    assert_eq!(trial.reader().journal(id(1)).unwrap().as_deref(), Some(b"second".as_slice()));
    assert_eq!(trial.reader().journal(id(9)).unwrap(), None);
    assert_eq!((read(&trial, 1).received, read(&trial, 1).total), (4, 1_000));
}

fn tokens_and_applications(mut trial: Boxed) {
    let token = |name, scopes: &[Scope]| {
        Write::Token(TokenWrite { hash: [3; 32], app: app(name), scopes: scopes.to_vec(), created: time(1) })
    };
    trial.store().commit(&[token("T", &[Scope::Read]), create(1)]).unwrap();
    let put = Change::Group { app: app("G"), name: group("x"), behavior: TransferBehavior::Parallel };
    trial.store().commit(&[token("U", &[Scope::Submit, Scope::Admin]), Write::Change(put)]).unwrap();
    let last = Row { app: app("E"), ..row(2) };
    trial.store().commit(&[created(last.clone(), spec(2)), ended(last, 3)]).unwrap();
    let trial = trial.restart();
    assert_eq!(trial.reader().token(&[3; 32]).unwrap(), Some((app("U"), vec![Scope::Submit, Scope::Admin])));
    assert_eq!(trial.reader().token(&[4; 32]).unwrap(), None);
    assert_eq!(trial.reader().tokens(&app("U")).unwrap(), [[Scope::Submit, Scope::Admin]]);
    assert!(trial.reader().tokens(&app("T")).unwrap().is_empty());
    assert_eq!(trial.reader().applications().unwrap(), [app("A"), app("E"), app("G"), app("U")]);
}

/// Everything a reader can tell of operation 1.
fn view(trial: &Boxed) -> (Option<StoredOperation>, Option<Vec<u8>>, WaitHistory) {
    let reader = trial.reader();
    (reader.operation(id(1)).unwrap(), reader.journal(id(1)).unwrap(), reader.waits(id(1)).unwrap())
}

fn every_write_is_repeatable(mut trial: Boxed) {
    let patch = PatchDownload { priority: Some(Priority::High), ..PatchDownload::default() };
    for write in [
        create(1),
        updated(Row { kind: OperationKind::Download, ..full_row(1) }),
        Write::Change(Change::Counted { id: id(1), fruitless_attempts: 2, has_bytes: false }),
        Write::Change(Change::Patched { id: id(1), patch: Box::new(patch) }),
        Write::Change(Change::Started { id: id(1), time: time(3) }),
        journal(1, 5, b"r"),
        waited(1, ReasonCode::Folder, time(3), time(9)),
        ended(Row { kind: OperationKind::Download, phase: StoredPhase::Completed, ..full_row(1) }, 10),
        consumed(1, 11),
        Write::Change(Change::Removed { id: id(1) }),
    ] {
        trial.store().commit(std::slice::from_ref(&write)).unwrap();
        let once = view(&trial);
        trial.store().commit(std::slice::from_ref(&write)).unwrap();
        assert_eq!(view(&trial), once, "{write:?}");
    }
}

fn writes_to_unknown_operations_do_nothing(mut trial: Boxed) {
    trial
        .store()
        .commit(&[
            updated(row(1)),
            Write::Change(Change::Counted { id: id(1), fruitless_attempts: 2, has_bytes: false }),
            Write::Change(Change::Patched { id: id(1), patch: Box::default() }),
            Write::Change(Change::Started { id: id(1), time: time(3) }),
            journal(1, 5, b"r"),
            waited(1, ReasonCode::Folder, time(3), time(9)),
            ended(row(1), 10),
            consumed(1, 11),
            Write::Change(Change::Removed { id: id(1) }),
        ])
        .unwrap();
    assert_eq!(view(&trial), (None, None, WaitHistory::default()));
    assert_eq!(list(&trial, &everything()), [] as [i64; 0]);
    assert_eq!(trial.reader().applications().unwrap(), []);
}
