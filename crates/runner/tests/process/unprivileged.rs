//! The same tests as a user without rights, where they run as root.

use std::process::Command;

use crate::world::{is_root, lab};

/// Of the tests of this binary all but this one.
#[test]
fn all_of_it_as_nobody() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let open = |path: &std::path::Path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("rights to reach it");
    };
    open(folder.path());
    let copy = |from: &std::path::Path, name: &str| {
        let to = folder.path().join(name);
        std::fs::copy(from, &to).expect("a copy");
        open(&to);
        to
    };
    let tests = copy(&std::env::current_exe().expect("this binary"), "tests");
    let lab = copy(&lab(), "lab");
    let status = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(tests)
        .args(["--skip", "unprivileged", "--test-threads", "4"])
        .env("LONGHAUL_TEST_LAB", lab)
        .current_dir("/")
        .status()
        .expect("setpriv");
    assert!(status.success(), "as nobody: {status}");
}
