//! The model is worth something only if it notices: each test breaks one rule on purpose.

use longhaul_simulation::{Invariant, Sabotage, check_every_commit, check_seed};

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
    notices(Sabotage::RenumberReports, &[Invariant::JustOutcome]);
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
