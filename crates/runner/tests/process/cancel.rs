//! From the polite request to the death of the whole tree (faults 118 and 119).

use std::fs;
use std::time::{Duration, Instant};

use longhaul_runner::cgroup::Delegation;
use longhaul_runner::{Launch, Limit, Limits, Means, Outcome, ProcessView, Running, StartError};

use crate::world::{
    GONE_WITHIN, GRACE, World, alive, exited, holds_within, is_alive, is_root, lab_launch, marked, shell,
    stdout, until, until_said, within,
};

#[tokio::test]
async fn a_program_can_answer_and_read_the_reason() {
    let world = World::new();
    let script = "trap 'cat \"$LONGHAUL_CANCEL_REASON_FILE\"; exit 4' TERM
        test -e \"$LONGHAUL_CANCEL_REASON_FILE\" && exit 1
        echo ready; while :; do sleep 0.05; done";
    let running = world.start(shell(script)).await;
    until_said(&running, "ready").await;
    running.cancel("ConditionLoss", GRACE);
    running.cancel("Abort", GRACE);
    let ended = within(running.wait()).await;
    assert_eq!((&ended.outcome, ended.canceled.as_deref()), (&exited(4), Some("ConditionLoss")));
    assert_eq!(stdout(&running), "ready\nConditionLoss\n");
    assert!(!ended.is_success());
}

#[tokio::test]
async fn without_an_answer_the_signal_ends_it() {
    let world = World::new();
    let running = world.start(lab_launch(&["hang"])).await;
    running.cancel("Abort", GRACE);
    let ended = within(running.wait()).await;
    assert_eq!(ended.outcome, Outcome::Signaled { signal: libc::SIGTERM, core_dumped: false });
}

#[tokio::test]
async fn a_stopped_program_hears_it_too() {
    let world = World::new();
    let running = world.start(shell("kill -STOP $$")).await;
    let status = format!("/proc/{}/status", running.pid());
    until("it is stopped", || fs::read_to_string(&status).is_ok_and(|status| status.contains("T (stopped)")))
        .await;
    running.cancel("Abort", GRACE);
    let ended = within(running.wait()).await;
    assert_eq!(ended.outcome, Outcome::Signaled { signal: libc::SIGTERM, core_dumped: false });
}

#[tokio::test]
async fn one_that_ignores_the_first_request_is_killed_after_its_grace() {
    let world = World::new();
    let running = world.start(lab_launch(&["ignore-first"])).await;
    until_said(&running, "ready").await;
    let asked = Instant::now();
    running.cancel("ExecutionTimeExceeded", Duration::from_millis(300));
    until_said(&running, "first").await;
    let ended = within(running.wait()).await;
    assert_eq!(
        (&ended.outcome, ended.canceled.as_deref()),
        (&Outcome::Killed, Some("ExecutionTimeExceeded"))
    );
    assert!(asked.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_shorter_grace_later_holds() {
    let world = World::new();
    let running = world.start(lab_launch(&["ignore-first"])).await;
    until_said(&running, "ready").await;
    running.cancel("ConditionLoss", Duration::from_secs(3600));
    running.cancel("LoggingOff", Duration::from_millis(50));
    let ended = within(running.wait()).await;
    assert_eq!((&ended.outcome, ended.canceled.as_deref()), (&Outcome::Killed, Some("ConditionLoss")));
}

async fn monster(world: &World, prepare: impl FnOnce(&mut Launch)) -> Running {
    let marks = world.marks();
    let mut launch = lab_launch(&["monster", &marks.to_string_lossy()]);
    prepare(&mut launch);
    let running = world.start(launch).await;
    until("all parts of the monster run", || marked(&marks).len() >= 3).await;
    running
}

/// It ignores SIGTERM, double-forks into sessions of its own, closes descriptors, and floods its output.
#[tokio::test]
async fn fault_118_a_monster_is_gone_within_six_seconds_of_a_cancel() {
    let world = World::new();
    let running = monster(&world, |_| {}).await;
    let asked = Instant::now();
    running.cancel("Abort", GRACE);
    let ended = within(running.wait()).await;
    let took = asked.elapsed();
    assert!(took >= GRACE && took < GONE_WITHIN, "it took {took:?}");
    assert_eq!((&ended.outcome, ended.survivors), (&Outcome::Killed, 0));
    let marks = marked(&world.marks());
    assert!(marks.len() >= 3 && alive(&marks).is_empty(), "{:?} of {marks:?}", alive(&marks));
    assert!(running.output().read_all().dropped > 0);
}

#[tokio::test]
async fn fault_118_dropping_the_handle_kills_the_monster() {
    let world = World::new();
    drop(monster(&world, |_| {}).await);
    until("the run folder is gone", || world.instances() == 0).await;
    assert_eq!(alive(&marked(&world.marks())), Vec::<u32>::new());
}

#[tokio::test]
async fn fault_118_what_forks_without_end_is_caught() {
    let world = World::new();
    let running = world.start(lab_launch(&["comet"])).await;
    running.kill();
    let ended = within(running.wait()).await;
    assert_eq!((&ended.outcome, ended.survivors), (&Outcome::Killed, 0));
}

/// A user's program may kill its own supervisor. Nothing of it lives on by that.
#[tokio::test]
async fn fault_119_a_program_that_kills_its_supervisor_gains_nothing() {
    let world = World::new();
    let marks = world.marks();
    for round in 1..=5 {
        // It may be quicker than its supervisor can say that it runs.
        match world.try_start(lab_launch(&["kill-parent", &marks.to_string_lossy()])).await {
            Err(error) => assert!(matches!(error, StartError::System(_)), "{round}: {error:?}"),
            Ok(running) => {
                let ended = within(running.wait()).await;
                assert!(matches!(ended.outcome, Outcome::Lost { .. }), "{round}: {ended:?}");
                let pid = running.pid();
                assert!(holds_within(GONE_WITHIN, || !is_alive(pid)).await);
            }
        }
        assert!(holds_within(GONE_WITHIN, || alive(&marked(&marks)).is_empty()).await);
        assert_eq!(world.run(lab_launch(&["exit", "0"])).await.0.outcome, exited(0), "the next one runs");
        for mark in fs::read_dir(&marks).expect("marks").flatten() {
            fs::remove_file(mark.path()).expect("a mark");
        }
    }
}

#[tokio::test]
async fn a_dead_launcher_is_started_anew_and_nothing_running_suffers() {
    let world = World::new();
    let running = world.start(shell("echo up; read x; sleep 1000")).await;
    until_said(&running, "up").await;
    let supervisor = parent_of(running.pid());
    let launcher = parent_of(supervisor);
    rustix::process::kill_process(pid(launcher), rustix::process::Signal::KILL)
        .expect("the launcher is there");
    until("the launcher is dead", || !is_alive(launcher)).await;
    assert_eq!(world.run(lab_launch(&["exit", "9"])).await.0.outcome, exited(9));
    assert!(is_alive(running.pid()));
    running.cancel("Abort", GRACE);
    assert!(matches!(within(running.wait()).await.outcome, Outcome::Signaled { .. }));
}

fn pid(number: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(i32::try_from(number).expect("a number of a process")).expect("not 0")
}

fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    line.trim().parse().expect("a number")
}

/// With a process namespace the kernel itself kills all when its first process ends.
#[tokio::test]
async fn fault_118_a_monster_with_its_own_view_of_processes() {
    let world = World::new();
    let mut launch = shell(
        "echo $$; ls -d /proc/[0-9]* | wc -l; setsid sh -c 'trap \"\" TERM; sleep 1000' & read x; wait",
    );
    launch.sandbox.processes = ProcessView::Own;
    launch.unenforceable = longhaul_runner::Unenforceable::Refuse;
    let running = world.start(launch).await;
    until("both lines are there", || stdout(&running).lines().count() == 2).await;
    let lines: Vec<u32> =
        stdout(&running).lines().map(|line| line.trim().parse().expect("a number")).collect();
    assert!(lines[0] < 10 && lines[1] < 10, "it sees more than itself: {lines:?}");
    assert_eq!(
        running.enforcement().holds(Limit::ProcessView).map(|held| held.means),
        Some(Means::Namespace)
    );
    let command = fs::read_to_string(format!("/proc/{}/cmdline", running.pid()))
        .expect("the program, seen from outside");
    assert!(command.starts_with("sh\0-c\0"), "{command:?}");
    running.cancel("Abort", Duration::from_millis(100));
    within(running.wait()).await;
    assert!(!is_alive(running.pid()));
}

/// Needs a place in the control group tree, which only root has without a service manager.
#[tokio::test]
async fn fault_118_a_monster_in_a_cgroup() {
    let delegation = Delegation::of_this_process();
    if !is_root() {
        assert!(delegation.is_err(), "whoever is not root has none here");
        return;
    }
    let world = World::with_cgroups(Some(delegation.expect("a cgroup tree of version 2")));
    let running = monster(&world, |launch| {
        launch.limits = Limits { cpu_percent_max: Some(50), ..Limits::default() };
    })
    .await;
    let membership =
        fs::read_to_string(format!("/proc/{}/cgroup", running.pid())).expect("a running program");
    assert!(
        membership.lines().any(|line| line.starts_with("0::") && line.contains("longhaul-tasks-")),
        "{membership}"
    );
    running.cancel("Abort", Duration::from_millis(100));
    let ended = within(running.wait()).await;
    assert_eq!((&ended.outcome, ended.survivors), (&Outcome::Killed, 0));
    assert_eq!(alive(&marked(&world.marks())), Vec::<u32>::new());
    assert_eq!(world.instances(), 0);
}
