//! Limits and walls, and whether it is told truly which of them hold.

use std::net::TcpListener;
use std::time::Duration;

use longhaul_runner::{
    Access, Grant, Launch, Limit, Limits, Means, Network, Outcome, StartError, Unenforceable,
};

use crate::world::{GRACE, World, exited, is_root, lab_launch, shell, stdout, until_said, within};

fn means(running: &longhaul_runner::Running, limit: Limit) -> Option<Means> {
    running.enforcement().holds(limit).map(|enforced| enforced.means)
}

#[tokio::test]
async fn nothing_wished_is_nothing_told() {
    let world = World::new();
    let (_, running) = world.run(lab_launch(&["exit", "0"])).await;
    assert_eq!(*running.enforcement(), longhaul_runner::Enforcement::default());
}

#[tokio::test]
async fn memory_ends_where_it_was_said() {
    let world = World::new();
    let mut launch = lab_launch(&["eat", &(256_u64 << 20).to_string()]);
    launch.limits.memory_max = Some(64 << 20);
    let (ended, running) = world.run(launch.clone()).await;
    assert_eq!((&ended.outcome, stdout(&running).as_str()), (&exited(12), "no more memory\n"));
    assert_eq!(means(&running, Limit::Memory), Some(Means::ResourceLimit));
    launch.limits.memory_max = Some(1 << 30);
    let (ended, running) = world.run(launch).await;
    assert_eq!((&ended.outcome, stdout(&running).as_str()), (&exited(0), "ate 256 MiB\n"));
    assert!(ended.usage.resident_max >= 256 << 20, "{:?}", ended.usage);
}

#[tokio::test]
async fn processor_time_ends_where_it_was_said() {
    let world = World::new();
    let mut launch = shell("ulimit -c 0; while :; do :; done");
    launch.limits.cpu_time_max = Some(Duration::from_secs(1));
    let (ended, running) = world.run(launch).await;
    assert!(
        matches!(ended.outcome, Outcome::Signaled { signal: libc::SIGXCPU | libc::SIGKILL, .. }),
        "{ended:?}"
    );
    assert_eq!(means(&running, Limit::CpuTime), Some(Means::ResourceLimit));
}

#[tokio::test]
async fn the_number_of_processes_ends_where_it_was_said_or_it_is_told_that_it_does_not() {
    let world = World::new();
    let mut launch = shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.5 & done; wait; echo all");
    launch.limits.processes_max = Some(4);
    let (_, running) = world.run(launch.clone()).await;
    if is_root() {
        assert_eq!(stdout(&running), "all\n");
        assert_eq!(running.enforcement().not_enforced[0].limit, Limit::Processes);
        launch.unenforceable = Unenforceable::Refuse;
        let refused = world.try_start(launch).await;
        assert!(matches!(refused, Err(StartError::Unenforceable(_))), "{refused:?}");
    } else {
        assert_eq!(stdout(&running), "");
        assert_eq!(means(&running, Limit::Processes), Some(Means::ResourceLimit));
    }
}

#[tokio::test]
async fn a_share_of_the_processor_needs_a_cgroup() {
    let world = World::new();
    let mut launch = lab_launch(&["exit", "0"]);
    launch.limits = Limits { cpu_percent_max: Some(50), ..Limits::default() };
    launch.unenforceable = Unenforceable::Refuse;
    let refused = world.try_start(launch).await;
    let Err(StartError::Unenforceable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("cgroup"), "{why}");
}

fn files(script: &str, grants: Vec<Grant>) -> Launch {
    let mut launch = shell(script);
    launch.sandbox.filesystem = Some(grants);
    launch
}

#[tokio::test]
async fn files_are_reached_as_granted() {
    let world = World::new();
    let folder = |name: &str| {
        let folder = world.folder().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("file"), name).expect("a file");
        folder
    };
    let (open, read_only, closed) = (folder("open"), folder("read-only"), folder("closed"));
    let grants = vec![
        Grant { path: open.clone(), access: Access::ReadWrite },
        Grant { path: read_only.clone(), access: Access::ReadOnly },
    ];
    let (o, r, c) = (open.display(), read_only.display(), closed.display());
    let script = format!(
        "cat {o}/file; echo; echo x > {o}/new && echo wrote; cat {r}/file; echo; echo x > {r}/new || echo refused
         cat {c}/file || echo hidden; ls {c} || echo hidden; echo x > \"$TMPDIR/scratch\" && echo scratched
         echo x > /dev/null && cat /etc/hostname > /dev/null && echo system"
    );
    let (ended, running) = world.run(files(&script, grants)).await;
    assert_eq!(ended.outcome, exited(0));
    let expected = "open\nwrote\nread-only\nrefused\nhidden\nhidden\nscratched\nsystem\n";
    assert_eq!(stdout(&running), expected);
    assert_eq!(means(&running, Limit::Filesystem), Some(Means::Landlock));
    assert_eq!(world.instances(), 0, "the scratch folder is left");
}

#[tokio::test]
async fn the_reason_of_a_cancellation_is_read_behind_walls() {
    let world = World::new();
    let script = "trap 'cat \"$LONGHAUL_CANCEL_REASON_FILE\"; echo x > \"$LONGHAUL_CANCEL_REASON_FILE\" || exit 4' TERM
        echo ready; while :; do sleep 0.05; done";
    let running = world.start(files(script, Vec::new())).await;
    until_said(&running, "ready").await;
    running.cancel("ConditionLoss", GRACE);
    let ended = within(running.wait()).await;
    assert_eq!((&ended.outcome, ended.canceled.as_deref()), (&exited(4), Some("ConditionLoss")));
    assert_eq!(stdout(&running), "ready\nConditionLoss\n");
    assert_eq!(means(&running, Limit::Filesystem), Some(Means::Landlock));
}

#[tokio::test]
async fn a_grant_of_what_is_not_there_is_told() {
    let world = World::new();
    let grant = Grant::from_notation("~/nowhere:ro");
    let mut launch = files("true", vec![grant]);
    launch.account.home = world.folder().into();
    let (_, running) = world.run(launch).await;
    let held = running.enforcement().holds(Limit::Filesystem).expect("it holds");
    assert!(held.remark.as_ref().is_some_and(|remark| remark.contains("/nowhere")), "{held:?}");
}

/// A sandboxed program cannot even signal the process that looks after it.
#[tokio::test]
async fn walls_protect_the_supervisor() {
    let world = World::new();
    let (ended, running) = world.run(files("kill -KILL $PPID && echo killed; exit 8", Vec::new())).await;
    assert_eq!((&ended.outcome, stdout(&running).as_str()), (&exited(8), ""));
}

#[tokio::test]
async fn without_network_only_the_machine_s_own_sockets_work() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address").to_string();
    let mut launch = lab_launch(&["connect", &address]);
    let (ended, _) = world.run(launch.clone()).await;
    assert_eq!(ended.outcome, exited(3), "with network both work");
    launch.sandbox.network = Network::Denied;
    let (ended, running) = world.run(launch).await;
    assert_eq!(ended.outcome, exited(2), "{}", stdout(&running));
    assert!(
        matches!(means(&running, Limit::Network), Some(Means::Namespace | Means::Seccomp)),
        "{:?}",
        running.enforcement()
    );
}
