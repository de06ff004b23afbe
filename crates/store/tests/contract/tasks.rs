//! Background tasks: registrations, their instances, and what belongs to them.

use longhaul_contract::instance::{InstanceLimit, LimitKind};
use longhaul_contract::{
    AccessStatus, Condition, Instance, InstanceId, InstanceState, ReasonCode, RegisterTaskRequest, RunCause,
    TaskGroupId, TaskId, TaskName, Timestamp, TriggerKind,
};
use longhaul_engine::Change;
use longhaul_engine::task::{
    Conditions, KnownSignals, LastRun, Latch, Missed, RunLimits, RunningInstance, TaskChange, TaskPlan,
    TaskRow, TaskState, TaskTrigger,
};
use longhaul_store::{
    INSTANCES_KEPT, OutputWrite, PAST_TASKS_KEPT, StoredOutput, StoredPastTask, StoredTask, WaitHistory,
    Write,
};

use crate::samples::{app, time};
use crate::trial::Boxed;

contract! {
    a_registration_is_loaded_and_read,
    an_update_replaces_what_the_engine_knows,
    unregistering_leaves_nothing_but_what_runs,
    signals_are_loaded,
    the_newest_instances_are_kept_in_the_order_of_their_beginning,
    what_vanished_keeps_its_history,
    of_what_vanished_the_newest_are_kept,
    output_belongs_to_an_instance,
    waits_of_tasks_are_kept,
    access_is_loaded,
    settings_and_manifests_are_kept,
    writes_to_unknown_tasks_do_nothing,
}

pub(crate) fn task_id(number: u64) -> TaskId {
    TaskId::from_parts(1_700_000_000_000 + number, &[8; 10])
}

pub(crate) fn instance_id(number: u64) -> InstanceId {
    InstanceId::from_parts(1_700_000_000_000 + number, &[9; 10])
}

pub(crate) fn task_row(number: u64) -> TaskRow {
    TaskRow {
        id: task_id(number),
        app: app(if number.is_multiple_of(2) { "Even" } else { "Odd" }),
        group: (number == 3).then(|| TaskGroupId::new("sync").unwrap()),
        name: TaskName::new(&format!("täsk {number}")).unwrap(),
        plan: TaskPlan {
            trigger: TaskTrigger::Every {
                minutes: 15,
                one_shot: false,
                is_maintenance: number == 2,
                missed: Missed::Once,
            },
            conditions: Conditions::from_iter([Condition::InternetAvailable]),
            cancel_on_condition_loss: true,
            is_network_requested: false,
            limits: RunLimits { cancel_after_ms: 25_000, grace_ms: 5_000 },
            retry: None,
            in_process: (number == 4).then(|| "Example.Task".into()),
        },
        state: TaskState { anchor: time(5), ..TaskState::default() },
    }
}

pub(crate) fn busy_state(variety: u64) -> TaskState {
    let firing = Latch {
        fired: time(7),
        cause: RunCause::Trigger,
        attempt: 1,
        not_before: Some(time(9)),
        has_fired: true,
        expires: Some(time(9)),
        details: r#"{"a":1}"#.into(),
    };
    TaskState {
        latch: Some(firing.clone()),
        running: Some(RunningInstance {
            id: instance_id(variety),
            started: time(8),
            firing,
            cancel_reason: None,
        }),
        is_consumed: true,
        host_crashes: 2,
        last: Some(LastRun { ended: time(6), result: "Completed".into(), progress: u32::MAX }),
        runs: variety,
        ..TaskState::default()
    }
}

fn spec(number: u64) -> RegisterTaskRequest {
    serde_json::from_value(serde_json::json!({
        "name": format!("täsk {number}"),
        "entryPoint": "Example.Task",
        "trigger": {"type": "TimeTrigger", "freshnessTime": 15},
        "env": {"TOKEN": "s\u{e4}cret"},
    }))
    .unwrap()
}

pub(crate) fn registered(number: u64) -> Write {
    let row = task_row(number);
    Write::Change(Change::Task(TaskChange::Registered { row, spec: Box::new(spec(number)), time: time(1) }))
}

fn task(change: TaskChange) -> Write {
    Write::Change(Change::Task(change))
}

pub(crate) fn task_updated(number: u64, state: TaskState) -> Write {
    task(TaskChange::Updated { row: TaskRow { state, ..task_row(number) } })
}

pub(crate) fn unregistered(number: u64) -> Write {
    task(TaskChange::Unregistered { id: task_id(number), vanished: None })
}

pub(crate) fn vanished(number: u64, at: i64) -> Write {
    task(TaskChange::Unregistered { id: task_id(number), vanished: Some(time(at)) })
}

pub(crate) fn instance(number: u64, of: u64, state: InstanceState) -> Instance {
    Instance {
        id: instance_id(number),
        task_id: task_id(of),
        state,
        cause: RunCause::Manual,
        attempt: 1,
        fired_time: time(1),
        started_time: time(2),
        ended_time: state.is_over().then(|| time(3)),
        trigger_details: serde_json::json!({"arguments": {"k": "v"}}),
        progress: 40,
        suspended_count: 0,
        cancel_reason: None,
        result: None,
        exit_code: Some(0),
        signal: None,
        was_killed: false,
        cpu_milliseconds: Some(3),
        memory_peak: None,
        ran_out_of_memory: true,
        limits: vec![InstanceLimit {
            limit: LimitKind::Memory,
            is_enforced: true,
            means: Some("cgroup".to_owned()),
            detail: None,
        }],
        keep_awake: None,
    }
}

pub(crate) fn instance_written(number: u64, of: u64, state: InstanceState) -> Write {
    let app = task_row(of).app;
    task(TaskChange::Instance { app, instance: Box::new(instance(number, of, state)) })
}

pub(crate) fn output(number: u64, text: &str) -> Write {
    let output = StoredOutput { text: text.to_owned(), dropped: 5 };
    Write::Output(OutputWrite { instance: instance_id(number), output })
}

pub(crate) fn access(name: &str, status: Option<AccessStatus>) -> Write {
    task(TaskChange::Access { app: app(name), status })
}

pub(crate) fn task_waited(number: u64, code: ReasonCode, from: Timestamp, to: Timestamp) -> Write {
    task(TaskChange::Waited { id: task_id(number), code, from, to })
}

fn a_registration_is_loaded_and_read(mut trial: Boxed) {
    trial.store().commit(&[registered(1), registered(3), registered(3)]).unwrap();
    let mut trial = trial.restart();
    let mut loaded = trial.store().load().unwrap().tasks;
    loaded.sort_by_key(|row| row.id);
    assert_eq!(loaded, [task_row(1), task_row(3)]);
    let expected = StoredTask { row: task_row(3), spec: spec(3), created: time(1) };
    assert_eq!(trial.reader().task(task_id(3)).unwrap(), Some(expected.clone()));
    assert_eq!(trial.reader().tasks(&[task_id(3), task_id(9)]).unwrap(), [expected]);
    assert_eq!(trial.reader().applications().unwrap(), [app("Odd")]);
}

fn an_update_replaces_what_the_engine_knows(mut trial: Boxed) {
    trial.store().commit(&[registered(1)]).unwrap();
    trial.store().commit(&[task_updated(1, busy_state(7))]).unwrap();
    let mut trial = trial.restart();
    assert_eq!(trial.store().load().unwrap().tasks, [TaskRow { state: busy_state(7), ..task_row(1) }]);
    let variants = [
        TaskTrigger::Calendar {
            schedule: "30 2 * * *".into(),
            time_zone: Some("Europe/Berlin".into()),
            one_shot: true,
            missed: Missed::Skip,
        },
        TaskTrigger::System { event: longhaul_contract::SystemTriggerType::TimeZoneChange, one_shot: false },
        TaskTrigger::Requested { kind: TriggerKind::ApplicationTrigger },
        TaskTrigger::Sourced { kind: TriggerKind::PushNotificationTrigger },
    ];
    for trigger in variants {
        let mut row = task_row(1);
        row.plan.trigger = trigger;
        trial.store().commit(&[task(TaskChange::Updated { row: row.clone() })]).unwrap();
        assert_eq!(trial.reader().task(task_id(1)).unwrap().unwrap().row, row);
    }
}

fn unregistering_leaves_nothing_but_what_runs(mut trial: Boxed) {
    let writes = [
        registered(1),
        instance_written(1, 1, InstanceState::Running),
        instance_written(2, 1, InstanceState::Completed),
        output(2, "text"),
        task_waited(1, ReasonCode::UserPresent, time(1), time(2)),
        unregistered(1),
        instance_written(3, 1, InstanceState::Running),
    ];
    trial.store().commit(&writes).unwrap();
    let mut trial = trial.restart();
    let loaded = trial.store().load().unwrap();
    assert_eq!(loaded.tasks, []);
    assert_eq!(loaded.left_over, [(app("Odd"), instance(1, 1, InstanceState::Running))]);
    assert_eq!(trial.reader().task(task_id(1)).unwrap(), None);
    assert_eq!(trial.reader().instances(task_id(1), 9, None).unwrap().len(), 1);
    assert_eq!(trial.reader().instance_output(instance_id(2)).unwrap(), None);
    assert_eq!(trial.reader().task_waits(task_id(1)).unwrap(), WaitHistory::default());
    assert_eq!(trial.reader().applications().unwrap(), []);
    trial.store().commit(&[output(1, "late"), instance_written(1, 1, InstanceState::Interrupted)]).unwrap();
    assert_eq!(trial.store().load().unwrap().left_over, []);
    assert_eq!(trial.reader().instance(instance_id(1)).unwrap(), None);
    assert_eq!(trial.reader().instance_output(instance_id(1)).unwrap(), None);
}

fn what_vanished_keeps_its_history(mut trial: Boxed) {
    let writes = [
        registered(1),
        instance_written(1, 1, InstanceState::Completed),
        output(1, "first"),
        instance_written(2, 1, InstanceState::Running),
        task_waited(1, ReasonCode::UserPresent, time(1), time(2)),
        vanished(1, 9),
        registered(3),
        vanished(3, 10),
        vanished(3, 11),
        unregistered(3),
    ];
    trial.store().commit(&writes).unwrap();
    let mut trial = trial.restart();
    let loaded = trial.store().load().unwrap();
    assert_eq!(loaded.tasks, []);
    assert_eq!(loaded.left_over, [(app("Odd"), instance(2, 1, InstanceState::Running))]);
    let past = |number: u64, at: i64| StoredPastTask {
        app: app("Odd"),
        id: task_id(number),
        name: task_row(number).name,
        created: time(1),
        vanished: time(at),
    };
    let reader = trial.reader();
    assert_eq!(reader.past_tasks(&app("Odd")).unwrap(), [past(3, 10), past(1, 9)]);
    assert_eq!(reader.past_tasks(&app("Even")).unwrap(), []);
    assert_eq!(
        (reader.past_task(task_id(1)).unwrap(), reader.past_task(task_id(2)).unwrap()),
        (Some(past(1, 9)), None)
    );
    assert_eq!(
        (reader.task(task_id(1)).unwrap(), reader.task_spec(task_id(1)).unwrap()),
        (None, Some(spec(1)))
    );
    assert_eq!(reader.task_waits(task_id(1)).unwrap(), WaitHistory::default());
    trial.store().commit(&[output(2, "second"), instance_written(2, 1, InstanceState::Failed)]).unwrap();
    let mut trial = trial.restart();
    assert_eq!(trial.store().load().unwrap().left_over, []);
    let reader = trial.reader();
    let history = [instance(2, 1, InstanceState::Failed), instance(1, 1, InstanceState::Completed)];
    assert_eq!(reader.instances(task_id(1), 9, None).unwrap(), history);
    let text = |number| reader.instance_output(instance_id(number)).unwrap().map(|output| output.text);
    assert_eq!((text(1).as_deref(), text(2).as_deref()), (Some("first"), Some("second")));
    assert_eq!(reader.task_spec(task_id(1)).unwrap(), None, "what was asked for may hold secrets");
}

fn of_what_vanished_the_newest_are_kept(mut trial: Boxed) {
    let count = u64::try_from(PAST_TASKS_KEPT).unwrap();
    trial
        .store()
        .commit(&[registered(1), instance_written(1, 1, InstanceState::Completed), vanished(1, 1)])
        .unwrap();
    trial
        .store()
        .commit(&[registered(3), instance_written(3, 3, InstanceState::Running), vanished(3, 2)])
        .unwrap();
    for number in 3..=count {
        trial.store().commit(&[registered(2 * number - 1), vanished(2 * number - 1, 3)]).unwrap();
    }
    trial.store().commit(&[registered(2), vanished(2, 4)]).unwrap();
    let kept = |trial: &mut Boxed| trial.reader().past_tasks(&app("Odd")).unwrap().len();
    assert_eq!(kept(&mut trial), PAST_TASKS_KEPT);
    trial
        .store()
        .commit(&[registered(1_001), vanished(1_001, 5), registered(1_003), vanished(1_003, 6)])
        .unwrap();
    assert_eq!(kept(&mut trial), PAST_TASKS_KEPT);
    let reader = trial.reader();
    assert_eq!((reader.past_task(task_id(1)).unwrap(), reader.past_task(task_id(3)).unwrap()), (None, None));
    assert_eq!(reader.instance(instance_id(1)).unwrap(), None);
    assert_eq!(reader.instances(task_id(3), 9, None).unwrap().len(), 1, "it still runs");
    trial.store().commit(&[instance_written(3, 3, InstanceState::Completed)]).unwrap();
    assert_eq!(trial.reader().instance(instance_id(3)).unwrap(), None);
    trial.store().commit(&[Write::Manifest { app: app("Odd"), identity: None }]).unwrap();
    assert_eq!(kept(&mut trial), 0, "it is uninstalled");
    assert_eq!(trial.reader().past_tasks(&app("Even")).unwrap().len(), 1);
}

fn signals_are_loaded(mut trial: Boxed) {
    let signals = KnownSignals {
        level: Some(longhaul_contract::NetworkLevel::Internet),
        time_zone: Some("Europe/Berlin".to_owned()),
        ..KnownSignals::default()
    };
    trial.store().commit(&[task(TaskChange::Signals(Box::default()))]).unwrap();
    trial.store().commit(&[task(TaskChange::Signals(Box::new(signals.clone())))]).unwrap();
    let mut trial = trial.restart();
    assert_eq!(trial.store().load().unwrap().signals, Some(signals));
}

fn the_newest_instances_are_kept_in_the_order_of_their_beginning(mut trial: Boxed) {
    trial.store().commit(&[registered(1), registered(2)]).unwrap();
    trial.store().commit(&[instance_written(500, 2, InstanceState::Failed)]).unwrap();
    let count = u64::try_from(INSTANCES_KEPT).unwrap();
    // The clock was set back: later instances have smaller ids.
    let ids: Vec<u64> = (0..count + 10).map(|place| 1_000 - place).collect();
    for id in &ids {
        trial.store().commit(&[instance_written(*id, 1, InstanceState::Running), output(*id, "x")]).unwrap();
        trial.store().commit(&[instance_written(*id, 1, InstanceState::Completed)]).unwrap();
    }
    let reader = trial.reader();
    let all = reader.instances(task_id(1), 1_000, None).unwrap();
    let newest_first: Vec<_> = ids.iter().rev().take(INSTANCES_KEPT).map(|id| instance_id(*id)).collect();
    assert_eq!(all.iter().map(|instance| instance.id).collect::<Vec<_>>(), newest_first);
    assert!(all.iter().all(|instance| instance.state == InstanceState::Completed));
    let page = reader.instances(task_id(1), 2, Some(newest_first[3])).unwrap();
    assert_eq!(page.iter().map(|instance| instance.id).collect::<Vec<_>>(), newest_first[4..6]);
    assert_eq!(reader.instance_output(instance_id(1_000)).unwrap(), None);
    assert!(reader.instance_output(newest_first[0]).unwrap().is_some());
    assert_eq!(reader.instances(task_id(2), 9, None).unwrap().len(), 1);
}

fn output_belongs_to_an_instance(mut trial: Boxed) {
    let writes = [registered(1), instance_written(1, 1, InstanceState::Running), output(1, "a\u{1b}ü\n")];
    trial.store().commit(&writes).unwrap();
    trial.store().commit(&[output(1, "b"), instance_written(1, 1, InstanceState::Failed)]).unwrap();
    let trial = trial.restart();
    let expected = StoredOutput { text: "b".to_owned(), dropped: 5 };
    assert_eq!(trial.reader().instance_output(instance_id(1)).unwrap(), Some(expected));
    assert_eq!(trial.reader().instance(instance_id(1)).unwrap(), Some(instance(1, 1, InstanceState::Failed)));
}

fn waits_of_tasks_are_kept(mut trial: Boxed) {
    let wait = task_waited(1, ReasonCode::InternetAvailable, time(1), time(4));
    trial.store().commit(&[registered(1), wait.clone(), wait]).unwrap();
    let history = trial.reader().task_waits(task_id(1)).unwrap();
    assert_eq!(history.entries, [(ReasonCode::InternetAvailable, time(1), time(4))]);
    assert_eq!(history.totals, [(ReasonCode::InternetAvailable, 3)]);
}

fn access_is_loaded(mut trial: Boxed) {
    let writes = [
        access("A", Some(AccessStatus::DeniedByUser)),
        access("B", Some(AccessStatus::AlwaysAllowed)),
        access("A", Some(AccessStatus::AllowedSubjectToSystemPolicy)),
        access("B", None),
    ];
    trial.store().commit(&writes).unwrap();
    let mut trial = trial.restart();
    let expected = [(app("A"), AccessStatus::AllowedSubjectToSystemPolicy)];
    assert_eq!(trial.store().load().unwrap().access, expected);
    assert_eq!(trial.reader().applications().unwrap(), [app("A")]);
}

fn settings_and_manifests_are_kept(mut trial: Boxed) {
    let setting =
        |value: Option<&str>| Write::Setting { name: "limits".to_owned(), value: value.map(str::to_owned) };
    let manifest =
        |identity: Option<&str>| Write::Manifest { app: app("A"), identity: identity.map(str::to_owned) };
    trial.store().commit(&[setting(Some("1")), manifest(Some("x"))]).unwrap();
    let mut trial = trial.restart();
    assert_eq!(trial.reader().setting("limits").unwrap().as_deref(), Some("1"));
    assert_eq!(trial.store().load().unwrap().limits, None, "settings of others are not the engine's");
    assert_eq!(trial.reader().manifests().unwrap(), [(app("A"), "x".to_owned())]);
    assert_eq!(trial.reader().applications().unwrap(), [], "its manifest alone is nothing kept of it");
    trial.store().commit(&[setting(None), manifest(None)]).unwrap();
    assert_eq!(trial.reader().setting("limits").unwrap(), None);
    assert_eq!(trial.reader().manifests().unwrap(), []);
}

fn writes_to_unknown_tasks_do_nothing(mut trial: Boxed) {
    let writes = [
        task_updated(1, TaskState::default()),
        unregistered(1),
        instance_written(1, 1, InstanceState::Running),
        output(1, "x"),
        task_waited(1, ReasonCode::UserPresent, time(1), time(2)),
        access("A", None),
    ];
    trial.store().commit(&writes).unwrap();
    assert_eq!(trial.store().load().unwrap(), longhaul_store::Loaded::default());
    assert_eq!(trial.reader().instance(instance_id(1)).unwrap(), None);
    assert_eq!(trial.reader().task_waits(task_id(1)).unwrap(), WaitHistory::default());
}
