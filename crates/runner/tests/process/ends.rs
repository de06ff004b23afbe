//! How programs end by themselves, and why they do not begin.

use std::time::Duration;

use longhaul_runner::{Leftovers, Outcome, StartError};

use crate::world::{
    World, exited, holds_within, is_alive, lab_launch, launch, shell, stdout, until_said, within,
};

#[tokio::test]
async fn tells_the_exit_code() {
    let world = World::new();
    for code in [0, 1, 77, 255] {
        let (ended, _) = world.run(lab_launch(&["exit", &code.to_string()])).await;
        assert_eq!(ended.outcome, exited(code));
        assert_eq!(ended.is_success(), code == 0);
    }
    assert_eq!(world.instances(), 0, "run folders are left");
}

#[tokio::test]
async fn tells_the_signal_it_died_of() {
    let world = World::new();
    let (ended, _) = world.run(shell("ulimit -c 0; kill -SEGV $$")).await;
    assert_eq!(ended.outcome, Outcome::Signaled { signal: libc::SIGSEGV, core_dumped: false });
    let (ended, _) = world.run(shell("kill -KILL $$")).await;
    assert_eq!(ended.outcome, Outcome::Signaled { signal: libc::SIGKILL, core_dumped: false });
}

#[tokio::test]
async fn tells_what_the_whole_tree_used() {
    let world = World::new();
    let (ended, _) =
        world.run(shell("sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; true")).await;
    assert!(ended.usage.cpu_user > Duration::from_millis(20), "{:?}", ended.usage);
    assert!(ended.usage.resident_max > 512 << 10, "{:?}", ended.usage);
    assert!(ended.duration >= ended.usage.cpu_user / 4, "{ended:?}");
}

#[tokio::test]
async fn kills_what_the_program_leaves_behind() {
    let world = World::new();
    let (ended, running) = world.run(shell("setsid sleep 1000 & echo $!; exit 5")).await;
    assert_eq!((&ended.outcome, ended.leftovers_killed), (&exited(5), 1));
    let left: u32 = stdout(&running).trim().parse().expect("a number");
    assert!(!is_alive(left));
}

#[tokio::test]
async fn waits_for_what_it_leaves_behind_if_told_to() {
    let world = World::new();
    let mut launch = shell("setsid sh -c 'sleep 0.3; echo late' & exit 5");
    launch.leftovers = Leftovers::Await;
    let (ended, running) = world.run(launch).await;
    assert_eq!((&ended.outcome, ended.leftovers_killed), (&exited(5), 0));
    assert_eq!(stdout(&running), "late\n");
}

#[tokio::test]
async fn several_can_wait_and_again() {
    let world = World::new();
    let running = world.start(lab_launch(&["exit", "3"])).await;
    let (first, second) = within(async { tokio::join!(running.wait(), running.wait()) }).await;
    assert_eq!((&first.outcome, &second.outcome), (&exited(3), &exited(3)));
    assert_eq!(within(running.wait()).await.outcome, exited(3));
    assert!(running.ended().is_some());
}

#[tokio::test]
async fn a_hundred_at_once() {
    let world = World::new();
    let launches = (0..100).map(|code| world.start(shell(&format!("read x; exit {code}"))));
    let mut launches: Vec<_> = launches.collect();
    let mut all = Vec::new();
    for launch in launches.drain(..) {
        all.push(launch.await);
    }
    for (code, running) in all.iter().enumerate() {
        let ended = within(running.wait()).await;
        assert_eq!(ended.outcome, exited(i32::try_from(code).expect("small")));
    }
    assert_eq!(world.instances(), 0);
}

#[tokio::test]
async fn says_why_a_program_does_not_start() {
    let world = World::new();
    let refused = world.try_start(launch(&["no-such-program-anywhere"])).await;
    assert!(
        matches!(&refused, Err(StartError::Program { program, source })
            if program == "no-such-program-anywhere" && source.raw_os_error() == Some(libc::ENOENT)),
        "{refused:?}"
    );
    let refused = world.try_start(launch(&["/etc/passwd"])).await;
    assert!(
        matches!(&refused, Err(StartError::Program { source, .. }) if source.raw_os_error() == Some(libc::EACCES)),
        "{refused:?}"
    );
    let mut elsewhere = launch(&["true"]);
    elsewhere.working_directory = Some("~/no/such/folder".into());
    let refused = world.try_start(elsewhere).await;
    assert!(
        matches!(&refused, Err(StartError::WorkingDirectory { path, .. }) if path.ends_with("/no/such/folder")),
        "{refused:?}"
    );
    assert!(matches!(world.try_start(launch(&[])).await, Err(StartError::EmptyCommand)));
    assert!(matches!(world.try_start(launch(&["a\0b"])).await, Err(StartError::Nul("the command"))));
    let mut misnamed = launch(&["true"]);
    misnamed.environment.push(("A=B".into(), "c".into()));
    assert!(matches!(world.try_start(misnamed).await, Err(StartError::Variable(_))));
    let mut nameless = launch(&["true"]);
    nameless.name = "../escape".into();
    assert!(matches!(world.try_start(nameless).await, Err(StartError::Name(_))));
    assert_eq!(world.instances(), 0, "run folders are left");
}

#[tokio::test]
async fn two_of_the_same_name_do_not_run_at_once() {
    let world = World::new();
    let first = shell("echo up; read x; sleep 1000");
    let (mut second, name) = (shell("true"), first.name.clone());
    second.name = name;
    let running = world.start(first).await;
    until_said(&running, "up").await;
    let refused = world.try_start(second.clone()).await;
    assert!(matches!(refused, Err(StartError::RunFolder { .. })), "{refused:?}");
    running.kill();
    within(running.wait()).await;
    assert_eq!(world.run(second).await.0.outcome, exited(0));
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_nothing() {
    let world = World::new();
    let marks = world.marks();
    for delay in [0, 100, 300, 1000, 3000] {
        let start = world.runner.start(lab_launch(&["monster", &marks.to_string_lossy()]));
        let _ = tokio::time::timeout(Duration::from_micros(delay), start).await;
    }
    let is_gone = || crate::world::alive(&crate::world::marked(&marks)).is_empty() && world.instances() == 0;
    // A monster may still be about to leave its first mark: what counts is that it stays gone.
    for _ in 0..20 {
        assert!(holds_within(crate::world::DEADLINE, is_gone).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_becomes_of_what_is_left_behind_can_be_decided_while_it_runs() {
    let world = World::new();
    let marks = world.marks();
    let go = marks.join("go").display().to_string();
    let script = |code: u8| {
        format!("sleep 1000 & echo up; while ! test -e {go}; do sleep 0.01; done; echo over; exit {code}")
    };
    let running = world.start(shell(&script(0))).await;
    let order = running.leftovers_order();
    order.give(Leftovers::AwaitAfterSuccess).await;
    std::fs::write(marks.join("go"), "").unwrap();
    until_said(&running, "over").await;
    assert!(
        !holds_within(Duration::from_millis(200), || running.ended().is_some()).await,
        "it is waited for"
    );
    order.give(Leftovers::Kill).await;
    let ended = within(running.wait()).await;
    assert_eq!((&ended.outcome, ended.leftovers_killed), (&exited(0), 1));
    order.give(Leftovers::Await).await;

    std::fs::remove_file(marks.join("go")).unwrap();
    let running = world.start(shell(&script(5))).await;
    running.leftovers_order().give(Leftovers::AwaitAfterSuccess).await;
    std::fs::write(marks.join("go"), "").unwrap();
    let ended = within(running.wait()).await;
    assert_eq!(
        (&ended.outcome, ended.leftovers_killed),
        (&exited(5), 1),
        "after a failure nothing is waited for"
    );
}
