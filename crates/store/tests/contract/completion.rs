//! Completion groups, their members, and what a task needs whose registration went with its firing.

use longhaul_contract::InstanceState;
use longhaul_engine::{CompletionState, Marks, Row};

use crate::samples::{
    app, completion_group, completion_group_id, created, ended, id, row, spec, time, updated,
};
use crate::tasks::{instance_written, registered, task_id, unregistered};
use crate::trial::Boxed;

contract! {
    members_are_known_whether_live_or_ended,
    what_a_running_instance_needs_outlives_its_registration,
}

fn members_are_known_whether_live_or_ended(mut trial: Boxed) {
    let member = |number| Row {
        completion_group: Some(completion_group_id(1)),
        marks: Marks::notifying(true, false).unconstrained(),
        ..row(number)
    };
    let state = CompletionState { enabled: Some(time(4)), ..CompletionState::default() };
    trial
        .store()
        .commit(&[
            completion_group(1, CompletionState::default()),
            completion_group(2, CompletionState::default()),
            created(member(2), spec(2)),
            created(member(1), spec(1)),
            created(row(3), spec(3)),
            completion_group(1, state.clone()),
            ended(member(1), 5),
        ])
        .unwrap();
    let mut again = trial.restart();
    let members = again.reader().completion_members(completion_group_id(1)).unwrap();
    assert_eq!(members.iter().map(|member| member.row.id).collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(members[1].row, member(2));
    assert_eq!(again.reader().completion_members(completion_group_id(2)).unwrap(), []);
    let loaded = again.store().load().unwrap();
    assert_eq!(loaded.completion_groups.len(), 2);
    assert_eq!(loaded.completion_groups[0].state, state);
    assert_eq!(loaded.completion_groups[0].app, app("Fifth"));
    assert_eq!(again.reader().applications().unwrap(), [app("A"), app("Fifth")]);
    again.store().commit(&[updated(Row { completion_group: None, ..member(2) })]).unwrap();
    assert_eq!(again.reader().completion_members(completion_group_id(1)).unwrap().len(), 1);
}

fn what_a_running_instance_needs_outlives_its_registration(mut trial: Boxed) {
    trial
        .store()
        .commit(&[registered(1), instance_written(1, 1, InstanceState::Starting), unregistered(1)])
        .unwrap();
    let mut again = trial.restart();
    assert!(again.reader().task(task_id(1)).unwrap().is_none());
    assert!(again.reader().task_spec(task_id(1)).unwrap().is_some());
    again.store().commit(&[instance_written(1, 1, InstanceState::Completed)]).unwrap();
    assert!(again.reader().task_spec(task_id(1)).unwrap().is_none());
}
