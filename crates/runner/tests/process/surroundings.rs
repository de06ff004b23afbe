//! What a program finds when it starts: nothing that was not given to it.

use std::io::Read;

use longhaul_runner::environment;

use crate::world::{World, exited, is_root, lab_launch, launch, shell, stdout};

#[tokio::test]
async fn three_descriptors_and_no_more() {
    let world = World::new();
    // Something to inherit, without the mark that closes it at an execve.
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).expect("a mark to take away");
    let (ended, running) = world.run(lab_launch(&["descriptors"])).await;
    assert_eq!((&ended.outcome, stdout(&running).as_str()), (&exited(0), "[0, 1, 2]\n"));
    drop(writer);
    assert_eq!(reader.read(&mut [0]).expect("an end"), 0, "somebody still holds the pipe");
}

#[tokio::test]
async fn the_environment_is_what_was_given() {
    let world = World::new();
    let mut launch = launch(&["/usr/bin/env"]);
    environment::set(&mut launch.environment, "MODE", "batch = 1".into());
    let (_, running) = world.run(launch).await;
    let output = stdout(&running);
    let mut names: Vec<&str> = output.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["LONGHAUL_CANCEL_REASON_FILE", "MODE", "PATH"]);
    assert!(output.contains("MODE=batch = 1\n"));
}

#[tokio::test]
async fn signals_are_as_new_and_the_session_is_its_own() {
    let world = World::new();
    let (_, running) = world.run(lab_launch(&["signals"])).await;
    let output = stdout(&running);
    assert!(output.contains("SigBlk: 0000000000000000\n"), "{output}");
    // The Rust runtime of the program itself ignores SIGPIPE (13); nothing else is.
    assert!(output.contains("SigIgn: 0000000000001000\n"), "{output}");
    assert!(output.contains("NoNewPrivs: 1\n"), "{output}");
    assert!(output.contains("leader true\n"), "{output}");
}

#[tokio::test]
async fn arguments_are_no_shell_s() {
    let world = World::new();
    let (_, running) = world.run(launch(&["printf", "%s|", "$HOME", "a b", "", "*", ";true"])).await;
    assert_eq!(stdout(&running), "$HOME|a b||*|;true|");
}

#[tokio::test]
async fn the_working_directory_may_be_below_home() {
    let world = World::new();
    let mut launch = shell("pwd");
    launch.account.home = world.folder().into();
    std::fs::create_dir(world.folder().join("Photos")).expect("a folder");
    launch.working_directory = Some("~/Photos".into());
    let (_, running) = world.run(launch.clone()).await;
    assert_eq!(stdout(&running).trim(), world.folder().join("Photos").to_string_lossy());
    launch.working_directory = None;
    let (_, running) = world.run(launch).await;
    assert_eq!(stdout(&running).trim(), world.folder().to_string_lossy());
}

/// Root runs a task as somebody else; nobody else can.
#[tokio::test]
async fn as_another_user() {
    let world = World::new();
    let mut launch = lab_launch(&["signals"]);
    launch.account = longhaul_runner::Account::by_uid(if is_root() { 65534 } else { 0 }).expect("a user");
    let started = world.try_start(launch).await;
    if !is_root() {
        assert!(matches!(started, Err(longhaul_runner::StartError::Account { .. })), "{started:?}");
        return;
    }
    let running = started.expect("root may");
    crate::world::within(running.wait()).await;
    let output = stdout(&running);
    assert!(output.contains("Uid: 65534 65534 65534 65534\n"), "{output}");
    assert!(output.contains("Gid: 65534 65534 65534 65534\n"), "{output}");
    assert!(output.lines().any(|line| line.starts_with("Groups:") && !line.contains(" 0")), "{output}");
}
