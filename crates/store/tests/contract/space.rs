//! A full disk, in a mount namespace of its own. Needs root and `mount` (util-linux).

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use longhaul_store::{Reader as _, Store as _, StoreError, Writer};
use rustix::thread::UnshareFlags;

use crate::samples::{create, id, journal};
use crate::trial::open;

/// Runs `test` on a thread that alone sees a disk of `size` at the folder it is given.
fn on_own_disk(size: &str, test: impl FnOnce(&Path) + Send + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let size = format!("size={size},mode=0700");
    let thread = std::thread::spawn(move || {
        // SAFETY: no other thread relies on sharing its root, its current folder or its mounts with this one.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
            .expect("a mount namespace can be made (as root)");
        let mount = |words: &[&str]| {
            let done = Command::new("mount").args(words).arg(folder.path()).output().expect("mount exists");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        let private = Command::new("mount").args(["--make-rprivate", "/"]).status().expect("mount exists");
        assert!(private.success());
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"]);
        test(folder.path());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Takes all the room there is.
fn fill(path: &Path) {
    let mut ballast = File::create(path).unwrap();
    for piece in [64 << 10, 4 << 10, 1] {
        while ballast.write_all(&vec![1; piece]).is_ok() {}
    }
}

#[test]
fn fault_094_disk_full_during_a_write_of_the_state() {
    on_own_disk("8m", |disk| {
        let folder = disk.join("state");
        let ballast = disk.join("ballast");
        let opened = open(&folder).unwrap();
        let (writer, readers) = (Writer::start(opened.store).unwrap(), opened.readers);
        writer.submit(vec![create(1)]).wait().unwrap();
        let mut kept = vec![1];
        for round in 0..3_u64 {
            fill(&ballast);
            let record = vec![9; 256 << 10];
            let refused = [
                writer.submit(vec![create(10 + round), journal(10 + round, 1, &record)]),
                writer.submit(vec![create(20 + round), journal(20 + round, 1, &record)]),
            ];
            for submission in refused {
                assert!(matches!(submission.wait(), Err(StoreError::CannotWrite(_))));
            }
            assert!(readers.operation(id(1)).unwrap().is_some(), "reading goes on");
            assert!(readers.operation(id(10 + round)).unwrap().is_none());
            std::fs::remove_file(&ballast).unwrap();
            writer.submit(vec![create(30 + round)]).wait().expect("it recovers by itself");
            kept.push(30 + round);
        }
        writer.close().wait().unwrap();
        drop(readers);
        let rows = open(&folder).unwrap().store.load().unwrap().rows;
        let ids: Vec<_> = rows.into_iter().map(|row| row.id).collect();
        assert_eq!(ids, kept.into_iter().map(id).collect::<Vec<_>>());
    });
}

#[test]
fn a_full_disk_at_start_is_an_error_and_no_damage() {
    on_own_disk("2m", |disk| {
        let folder = disk.join("state");
        let ballast = disk.join("ballast");
        open(&folder).unwrap().store.commit(&[create(1)]).unwrap();
        fill(&ballast);
        // Where room is needed to open it, it says so; what is there stays.
        match open(&folder) {
            Ok(opened) => assert_eq!(opened.notice, None),
            Err(error) => assert!(matches!(error, StoreError::CannotWrite(_)), "{error}"),
        }
        std::fs::remove_file(&ballast).unwrap();
        let mut opened = open(&folder).unwrap();
        assert_eq!((opened.notice, opened.store.load().unwrap().rows.len()), (None, 1));
    });
}
