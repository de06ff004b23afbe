//! Whatever is written, all stores read the same.

use longhaul_contract::{
    AccessStatus, InstanceState, Limits, OperationId, OperationKind, PatchDownload, Priority, ReasonCode,
    Scope, TransferBehavior,
};
use longhaul_engine::{Change, CompletionState, Marks, Row, StoredPhase};
use longhaul_store::{ListQuery, Loaded, TokenWrite, Write};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy as _, any, proptest};

use crate::samples::{
    app, completion_group, completion_group_id, consumed, created, everything, failure, finished, group, id,
    journal, response, response_body, row, spec, time, updated, waited,
};
use crate::tasks::{
    access, busy_state, instance_id, instance_written, output, registered, task_id, task_updated,
    task_waited, unregistered, vanished,
};
use crate::trial::{Boxed, MemoryTrial, SqliteTrial};

const IDS: std::ops::RangeInclusive<u64> = 1..=4;

/// Uploads have the ids behind this.
const UPLOADS: u64 = 10;

/// What one drawn tuple stands for: which write, of which operation, and two numbers to vary it by.
pub(crate) type Drawn = (u8, u64, i64, u8);

fn drawn_row(number: u64, variety: u8) -> Row {
    let phases = [
        StoredPhase::Idle,
        StoredPhase::Started,
        StoredPhase::NeedsInput { failure: failure() },
        StoredPhase::Canceling { forget: variety > 9 },
    ];
    Row {
        app: app(if number.is_multiple_of(2) { "Even" } else { "Odd" }),
        group: [None, Some("one"), Some("two")][usize::from(variety % 3)].map(group),
        priority: Priority::ALL[usize::from(variety) % 3],
        phase: phases[usize::from(variety) % phases.len()].clone(),
        has_bytes: variety.is_multiple_of(2),
        ..row(number)
    }
}

fn drawn_spec(number: u64, variety: u8) -> longhaul_contract::CreateDownload {
    let mut spec = spec(number);
    spec.label = variety.is_multiple_of(2).then(|| format!("label {}", variety % 4));
    spec
}

pub(crate) fn drawn_write((kind, number, at, variety): Drawn) -> Write {
    let id = id(number);
    let group_app = app(if variety % 2 == 0 { "Even" } else { "Third" });
    Write::Change(match kind {
        0..=2 => return created(drawn_row(number, variety), drawn_spec(number, variety)),
        3 => return updated(drawn_row(number, variety)),
        4 => return journal(number, u64::from(variety), &[variety]),
        5 => return consumed(number, at),
        6 | 7 => {
            let codes = [ReasonCode::Backoff, ReasonCode::DiskSpace];
            return waited(number, codes[usize::from(variety % 2)], time(at), time(at + i64::from(variety)));
        }
        8 => Change::Counted { id, fruitless_attempts: variety, has_bytes: variety > 5 },
        9 => {
            let uri = Some(format!("https://example.org/{variety}"));
            let patch = PatchDownload { requested_uri: uri, ..PatchDownload::default() };
            Change::Patched { id, patch: Box::new(patch) }
        }
        10 => Change::Started { id, time: time(at) },
        11 | 12 => Change::Ended {
            row: Row { phase: StoredPhase::Completed, ..drawn_row(number, variety) },
            time: time(at),
            finished: (variety % 2 == 0).then(|| finished((variety % 4 == 0).then_some(u64::from(variety)))),
            response: (variety % 3 == 0).then(response),
            keep_until: time(at + i64::from(variety)),
        },
        13 => Change::Removed { id },
        14 => {
            let behavior = TransferBehavior::ALL[usize::from(variety % 2)];
            Change::Group { app: group_app, name: group("one"), behavior }
        }
        15 => Change::GroupRemoved { app: group_app, name: group("one") },
        16 => Change::Limits(Limits {
            running_at_once: variety.into(),
            connections_per_host: 8,
            ..Limits::default()
        }),
        _ => {
            let scopes = vec![Scope::Read; usize::from(variety % 2)];
            return Write::Token(TokenWrite {
                hash: [variety % 2; 32],
                app: group_app,
                scopes,
                created: time(at),
            });
        }
    })
}

/// The same for tasks, in numbers of their own: [`drawn_write`] is what kept files were made with.
pub(crate) fn drawn_task_write((kind, number, at, variety): Drawn) -> Write {
    let instance = u64::from(variety) * 10 + number;
    let states = [InstanceState::Running, InstanceState::Completed, InstanceState::Interrupted];
    match kind {
        0 | 1 => registered(number),
        2 => task_updated(number, busy_state(u64::from(variety))),
        3 if variety % 3 == 2 => vanished(number, at),
        3 => unregistered(number),
        4 | 5 => instance_written(instance, number, states[usize::from(variety) % 3]),
        6 => output(instance, &format!("output {at}")),
        7 => {
            let codes = [ReasonCode::UserPresent, ReasonCode::ExternalPower];
            task_waited(number, codes[usize::from(variety % 2)], time(at), time(at + i64::from(variety)))
        }
        8 => {
            let status = AccessStatus::ALL.get(usize::from(variety)).copied();
            access(if number.is_multiple_of(2) { "Even" } else { "Fourth" }, status)
        }
        9 => Write::Setting {
            name: format!("setting {number}"),
            value: (variety % 3 > 0).then(|| at.to_string()),
        },
        _ => Write::Manifest { app: app("Third"), identity: (variety % 3 > 0).then(|| at.to_string()) },
    }
}

/// The same for uploads, of ids of their own: an operation keeps its kind.
pub(crate) fn drawn_upload_write((kind, number, at, variety): Drawn) -> Write {
    let row = |row| Row { kind: OperationKind::Upload, ..row };
    let number = number + UPLOADS;
    match kind {
        0 => created(row(drawn_row(number, variety)), drawn_spec(number, variety)),
        1 => response_body(number, &"x".repeat(variety.into())),
        2 => updated(row(drawn_row(number, variety))),
        _ => Write::Change(Change::Ended {
            row: Row { phase: StoredPhase::Completed, ..row(drawn_row(number, variety)) },
            time: time(at),
            finished: None,
            response: (variety % 3 == 0).then(response),
            keep_until: time(at + i64::from(variety)),
        }),
    }
}

/// The same for completion groups and their members.
pub(crate) fn drawn_completion_write((kind, number, at, variety): Drawn) -> Write {
    let group = completion_group_id(u64::from(variety % 3));
    let row = || Row {
        completion_group: (variety > 2).then_some(group),
        marks: Marks::notifying(variety.is_multiple_of(2), variety > 8),
        ..drawn_row(number, variety)
    };
    match kind {
        0 => created(row(), drawn_spec(number, variety)),
        1 => updated(row()),
        2 => Write::Change(Change::Ended {
            row: Row { phase: StoredPhase::Canceled, ..row() },
            time: time(at),
            finished: None,
            response: None,
            keep_until: time(at + 1),
        }),
        3 => Write::Change(Change::CompletionGroupRemoved { id: group }),
        _ => completion_group(
            u64::from(variety % 3),
            CompletionState {
                enabled: variety.is_multiple_of(2).then(|| time(at)),
                has_failed: variety > 6,
                ..CompletionState::default()
            },
        ),
    }
}

/// All that a store tells.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) loaded: Loaded,
    pub(crate) lists: Vec<Vec<longhaul_store::StoredOperation>>,
    journals: Vec<Option<Vec<u8>>>,
    bodies: Vec<Option<longhaul_store::StoredBody>>,
    waits: Vec<longhaul_store::WaitHistory>,
    tokens: Vec<Option<(longhaul_contract::AppId, Vec<Scope>)>>,
    apps: Vec<longhaul_contract::AppId>,
    prunable: Vec<(longhaul_contract::AppId, OperationId)>,
    members: Vec<Vec<longhaul_store::StoredOperation>>,
    task_specs: Vec<Option<longhaul_contract::RegisterTaskRequest>>,
    by_prefix: Vec<OperationId>,
    pub(crate) tasks: Vec<longhaul_store::StoredTask>,
    past_tasks: Vec<Vec<longhaul_store::StoredPastTask>>,
    instances: Vec<Vec<longhaul_contract::Instance>>,
    outputs: Vec<Option<longhaul_store::StoredOutput>>,
    task_waits: Vec<longhaul_store::WaitHistory>,
    settings: Vec<Option<String>>,
    manifests: Vec<(longhaul_contract::AppId, String)>,
}

pub(crate) fn told(trial: &mut Boxed) -> Told {
    let mut loaded = trial.store().load().unwrap();
    loaded.rows.sort_by_key(|row| row.id);
    loaded.groups.sort();
    loaded.completion_groups.sort_by_key(|row| row.id);
    loaded.tasks.sort_by_key(|row| row.id);
    loaded.access.sort();
    let reader = trial.reader();
    let queries = [
        everything(),
        ListQuery { app: Some(app("Even")), include_consumed: false, ..everything() },
        ListQuery { group: Some(group("one")), descending: true, ..everything() },
        ListQuery { only_ungrouped: true, is_final: Some(false), ..everything() },
        ListQuery { is_final: Some(true), limit: 2, ..everything() },
        ListQuery { label: Some("label 2".to_owned()), after: Some(id(1)), ..everything() },
        ListQuery { text: Some("EXAMPLE.org".to_owned()), limit: 1, ..everything() },
        ListQuery { text: Some("file-1".to_owned()), kind: Some(OperationKind::Upload), ..everything() },
    ];
    Told {
        loaded,
        lists: queries.iter().map(|query| reader.list(query).unwrap()).collect(),
        journals: IDS.map(|number| reader.journal(id(number)).unwrap()).collect(),
        bodies: IDS.map(|number| reader.response_body(id(number + UPLOADS)).unwrap()).collect(),
        waits: IDS.map(|number| reader.waits(id(number)).unwrap()).collect(),
        tokens: [0, 1].map(|byte| reader.token(&[byte; 32]).unwrap()).to_vec(),
        apps: reader.applications().unwrap(),
        prunable: reader.prunable(time(30), 3).unwrap(),
        members: (0..3).map(|group| reader.completion_members(completion_group_id(group)).unwrap()).collect(),
        task_specs: IDS.map(|number| reader.task_spec(task_id(number)).unwrap()).collect(),
        by_prefix: reader.ids_with_prefix(&app("Even"), "018b", 3).unwrap(),
        tasks: reader.tasks(&IDS.map(task_id).collect::<Vec<_>>()).unwrap(),
        past_tasks: ["Odd", "Even"].map(|name| reader.past_tasks(&app(name)).unwrap()).to_vec(),
        instances: IDS.map(|number| reader.instances(task_id(number), 5, None).unwrap()).collect(),
        outputs: (0..130).map(|number| reader.instance_output(instance_id(number)).unwrap()).collect(),
        task_waits: IDS.map(|number| reader.task_waits(task_id(number)).unwrap()).collect(),
        settings: IDS.map(|number| reader.setting(&format!("setting {number}")).unwrap()).collect(),
        manifests: reader.manifests().unwrap(),
    }
}

/// Of transfers up to 17, of tasks from 18 on, of completion groups from 29 on, of uploads from 35 on.
fn drawn_any_write(drawn: Drawn) -> Write {
    match drawn.0 {
        kind @ 35.. => drawn_upload_write((kind - 35, drawn.1, drawn.2, drawn.3)),
        kind @ 29.. => drawn_completion_write((kind - 29, drawn.1, drawn.2, drawn.3)),
        kind @ 18.. => drawn_task_write((kind - 18, drawn.1, drawn.2, drawn.3)),
        _ => drawn_write(drawn),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn all_stores_tell_the_same(
        drawn in vec(vec((0..39_u8, IDS, 0..40_i64, any::<u8>().prop_map(|byte| byte % 13)), 1..12), 1..12)
    ) {
        let mut memory = MemoryTrial::begin();
        let mut sqlite = SqliteTrial::begin();
        for batch in drawn {
            let writes: Vec<_> = batch.into_iter().map(drawn_any_write).collect();
            memory.store().commit(&writes).unwrap();
            sqlite.store().commit(&writes).unwrap();
        }
        let expected = told(&mut memory);
        assert_eq!(told(&mut sqlite), expected);
        let mut again = sqlite.restart();
        assert_eq!(told(&mut again), expected);
    }
}
