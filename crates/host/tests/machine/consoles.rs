//! Logins at terminals, for machines without logind, and who counts when it comes.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::rig::{Rig, is, source};

/// A table of logins with one line for each.
fn write_table(root: &Path, lines: &[&str]) {
    let mut table = Vec::new();
    for line in lines {
        let mut record = vec![0; size_of::<libc::utmpx>()];
        record[..2].copy_from_slice(&libc::USER_PROCESS.to_ne_bytes());
        record[8..8 + line.len()].copy_from_slice(line.as_bytes());
        table.extend(record);
    }
    std::fs::write(root.join("run/utmp"), table).unwrap();
}

/// Somebody at the terminal has read from it, some time ago or just now.
fn touch(terminal: &Path, ago: Duration) {
    let times = std::fs::FileTimes::new().set_accessed(SystemTime::now() - ago);
    std::fs::File::options().write(true).open(terminal).unwrap().set_times(times).unwrap();
    if ago.is_zero() {
        let _ = std::fs::read(terminal).unwrap();
    }
}

#[tokio::test]
async fn logins_and_touches_stand_in_for_logind() {
    const LOGIN: &str = "org.freedesktop.login1";
    let rig = Rig::with_bus();
    std::fs::create_dir_all(rig.root().join("dev/pts")).unwrap();
    let terminal = rig.root().join("dev/pts/3");
    std::fs::write(&terminal, "").unwrap();
    std::os::unix::fs::chown(&terminal, Some(crate::rig::UID), None).unwrap();
    std::fs::write(rig.root().join("dev/pts/4"), "").unwrap();
    write_table(rig.root(), &["pts/4"]);
    let mut watch = rig.watch().await;
    // Somebody else is logged in.
    watch.until("nobody", |state| is(&state.session_connected, &false)).await;
    assert!(is(&watch.state().user_present, &false));
    assert_eq!(source(&watch.state().session_connected), "utmp");
    touch(&terminal, Duration::ZERO);
    write_table(rig.root(), &["pts/4", "pts/3"]);
    watch
        .until("a login", |state| is(&state.session_connected, &true) && is(&state.user_present, &true))
        .await;
    touch(&terminal, Duration::from_mins(6));
    write_table(rig.root(), &["pts/3"]);
    watch.until("idle", |state| is(&state.user_present, &false)).await;
    assert!(is(&watch.state().session_connected, &true));
    // Nobody writes to the table: the touch itself is told.
    touch(&terminal, Duration::ZERO);
    watch.until("back", |state| is(&state.user_present, &true)).await;
    let mut logind = rig.bus.start_template("logind", LOGIN, "{}");
    watch.until("logind", |state| source(&state.session_connected) == "logind").await;
    assert!(is(&watch.state().session_connected, &false));
    logind.kill();
    watch.until("the table again", |state| source(&state.user_present) == "utmp").await;
    assert!(is(&watch.state().user_present, &true));
    std::fs::remove_file(rig.root().join("run/utmp")).unwrap();
    watch.until("nothing", |state| state.session_connected.value().is_none()).await;
}
