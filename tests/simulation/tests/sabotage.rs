//! The model is worth something only if it notices: each test breaks one rule on purpose.

use longhaul_simulation::{
    Invariant, Sabotage, TaskSabotage, check_every_commit, check_seed, check_task_seed,
};

/// Histories within which a broken rule has to show.
const SEEDS: u64 = 60;

fn notices(sabotage: Sabotage, expected: &[Invariant]) {
    let failure = (0..SEEDS)
        .find_map(|seed| check_seed(seed, sabotage).err())
        .unwrap_or_else(|| panic!("{sabotage:?} goes unnoticed in {SEEDS} histories"));
    assert!(expected.contains(&failure.violation.invariant), "{sabotage:?}: {failure}");
}

#[test]
fn acknowledging_before_the_commit_is_noticed() {
    notices(Sabotage::AcknowledgeBeforeCommit, &[Invariant::AcknowledgedIsKept]);
}

#[test]
fn an_ignored_cost_is_noticed() {
    notices(Sabotage::HideCost, &[Invariant::NoForbiddenStart, Invariant::ForbiddenIsStopped]);
}

#[test]
fn workers_that_are_not_told_to_stop_are_noticed() {
    notices(Sabotage::DropStops, &[Invariant::ForbiddenIsStopped]);
}

#[test]
fn two_workers_of_one_operation_are_noticed() {
    notices(Sabotage::BelieveStops, &[Invariant::RunsOnce]);
}

#[test]
fn records_of_bytes_that_are_not_durable_are_noticed() {
    notices(Sabotage::RecordBeforeSync, &[Invariant::RecordedIsDurable]);
}

#[test]
fn part_files_left_behind_are_noticed() {
    notices(Sabotage::KeepParts, &[Invariant::NoOrphans]);
}

#[test]
fn a_forgotten_pause_is_noticed() {
    notices(Sabotage::ForgetPauses, &[Invariant::AcknowledgedIsKept]);
}

#[test]
fn ignored_limits_are_noticed() {
    notices(Sabotage::RaiseLimits, &[Invariant::Caps]);
}

#[test]
fn reports_of_old_attempts_taken_for_new_ones_are_noticed() {
    // That of another attempt's last byte gives away a slot that is in use.
    notices(Sabotage::RenumberReports, &[Invariant::JustOutcome, Invariant::Caps]);
}

#[test]
fn timers_that_are_not_served_are_noticed() {
    notices(Sabotage::NeverWake, &[Invariant::EverythingEnds, Invariant::ExplainAgrees]);
}

#[test]
fn a_start_before_its_time_is_noticed() {
    notices(Sabotage::RushClock, &[Invariant::NoForbiddenStart]);
}

#[test]
fn a_file_published_too_early_is_noticed() {
    notices(Sabotage::PublishEarly, &[Invariant::PublishedIsComplete]);
}

#[test]
fn a_forgotten_enabling_of_a_completion_group_is_noticed() {
    notices(Sabotage::ForgetEnabling, &[Invariant::AcknowledgedIsKept, Invariant::CompletionFiresOnce]);
}

#[test]
fn a_completion_group_that_fires_twice_is_noticed() {
    notices(Sabotage::ForgetCompletions, &[Invariant::CompletionFiresOnce]);
}

/// The random crashes lie between the events; here the order of two writes inside of one is wrong.
#[test]
fn bytes_thrown_away_before_the_record_says_so_are_noticed_at_the_commit_between() {
    let failure = (0..SEEDS)
        .find_map(|seed| check_every_commit(seed, Sabotage::TruncateBeforeRecord).err())
        .expect("a wrong order goes unnoticed");
    assert_eq!(failure.violation.invariant, Invariant::RecordedIsDurable, "{failure}");
    assert!(failure.cut.is_some(), "{failure}");
    assert!(
        check_seed(failure.seed, Sabotage::TruncateBeforeRecord).is_ok(),
        "a crash between two events shows it too"
    );
}

fn tasks_notice(sabotage: TaskSabotage, expected: &[Invariant]) {
    let failure = (0..SEEDS)
        .find_map(|seed| check_task_seed(seed, sabotage).err())
        .unwrap_or_else(|| panic!("{sabotage:?} goes unnoticed in {SEEDS} histories"));
    assert!(expected.contains(&failure.violation.invariant), "{sabotage:?}: {failure}");
}

#[test]
fn tasks_acknowledged_before_the_commit_are_noticed() {
    let expected = [Invariant::AcknowledgedIsKept, Invariant::JustOutcome];
    tasks_notice(TaskSabotage::AcknowledgeBeforeCommit, &expected);
}

#[test]
fn forgotten_firings_are_noticed() {
    tasks_notice(TaskSabotage::ForgetFirings, &[Invariant::AcknowledgedIsKept]);
}

#[test]
fn forgotten_runs_are_noticed() {
    tasks_notice(TaskSabotage::ForgetRuns, &[Invariant::AcknowledgedIsKept]);
}

#[test]
fn a_forgotten_decision_of_the_owner_is_noticed() {
    tasks_notice(TaskSabotage::ForgetAccess, &[Invariant::AcknowledgedIsKept]);
}

#[test]
fn conditions_that_nobody_hears_of_are_noticed() {
    let expected = [
        Invariant::NoForbiddenStart,
        Invariant::ForbiddenIsStopped,
        Invariant::NoFiringLost,
        Invariant::FiringsAgree,
    ];
    tasks_notice(TaskSabotage::HideMachine, &expected);
}

#[test]
fn instances_that_are_not_told_to_end_are_noticed() {
    tasks_notice(TaskSabotage::DropCancels, &[Invariant::CancelEnds]);
}

#[test]
fn processes_left_behind_by_a_crash_are_noticed() {
    tasks_notice(TaskSabotage::KeepLeftOvers, &[Invariant::NoOrphans, Invariant::RunsOnce]);
}

#[test]
fn timers_of_tasks_that_are_not_served_are_noticed() {
    let expected = [Invariant::NoFiringLost, Invariant::CancelEnds, Invariant::FiringsAgree];
    tasks_notice(TaskSabotage::NeverWake, &expected);
}

#[test]
fn ignored_limits_of_tasks_are_noticed() {
    tasks_notice(TaskSabotage::RaiseLimits, &[Invariant::Caps]);
}

#[test]
fn reports_of_old_instances_taken_for_new_ones_are_noticed() {
    let expected = [Invariant::FiringsAgree, Invariant::RunsOnce, Invariant::NoForbiddenStart];
    tasks_notice(TaskSabotage::RenumberReports, &expected);
}

#[test]
fn a_clock_that_runs_fast_is_noticed() {
    let expected = [Invariant::FiringsAgree, Invariant::NoForbiddenStart, Invariant::JustOutcome];
    tasks_notice(TaskSabotage::RushClock, &expected);
}
