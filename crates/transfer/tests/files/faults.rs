//! Rows 87 to 100 of the faults, as far as files are concerned.

use std::os::unix::fs::PermissionsExt;

use longhaul_contract::{Blocker, Cause, Failure, IfExists, Remedy};
use longhaul_transfer::files::{Recovered, resolve_folder};

use crate::place::{
    Place, in_own_mounts, mount_image, mount_tmpfs, new_id, pattern, put, ranges, record, run,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

fn blocked(failure: &Failure) -> Option<Blocker> {
    match failure.remedy {
        Remedy::Blocked { on } => Some(on),
        _ => None,
    }
}

#[tokio::test]
async fn fault_087_links_in_the_folder_s_path_are_not_followed() {
    let place = Place::new().await;
    std::fs::create_dir_all(place.path("real/inner")).unwrap();
    std::os::unix::fs::symlink("real", place.path("link")).unwrap();
    for path in ["link", "link/inner", "link/"] {
        let path = place.path(path);
        let failure = place.files.open_folder(path.to_str().unwrap()).await.unwrap_err();
        assert_eq!(blocked(&failure), Some(Blocker::Folder), "{}", failure.detail);
    }
    let resolved = resolve_folder(place.path("link/inner").to_str().unwrap()).unwrap();
    assert_eq!(resolved, place.path("real/inner").to_str().unwrap());
    place.files.open_folder(&resolved).await.unwrap();
}

#[tokio::test]
async fn fault_087_a_parent_swapped_during_the_job_leads_nowhere() {
    let place = Place::new().await;
    std::fs::create_dir_all(place.path("mine/downloads")).unwrap();
    std::fs::create_dir_all(place.path("secret/downloads")).unwrap();
    let path = place.path("mine/downloads");
    let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
    let id = new_id();
    let part = place.files.create_part(&folder, "x", id, None).await.unwrap();
    put(&part, 0, b"bytes").await.unwrap();
    std::fs::rename(place.path("mine"), place.path("away")).unwrap();
    std::os::unix::fs::symlink("secret", place.path("mine")).unwrap();
    let kept = record(&part, part.sync().await.unwrap());
    let published = place.publish(part, "x", IfExists::Fail).await.unwrap();
    assert_eq!(published.path, place.path("away/downloads/x").to_str().unwrap());
    assert_eq!(std::fs::read_dir(place.path("secret/downloads")).unwrap().count(), 0);
    let failure = place.files.open_folder(&kept.folder).await.unwrap_err();
    assert_eq!(blocked(&failure), Some(Blocker::Folder));
    place.files.discard(&kept.folder, id, &kept).await.unwrap();
}

#[tokio::test]
async fn fault_087_a_part_file_swapped_for_a_link_is_not_written_through() {
    let place = Place::new().await;
    std::fs::write(place.path("victim"), b"the user's").unwrap();
    let id = new_id();
    let first = place.files.create_part(&place.folder, "x", id, None).await.unwrap();
    let path = place.part_path();
    drop(first);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("victim", &path).unwrap();
    let second = place.files.create_part(&place.folder, "x", id, None).await.unwrap();
    put(&second, 0, &pattern(1, 100)).await.unwrap();
    assert_eq!(std::fs::read(place.path("victim")).unwrap(), b"the user's");
}

#[tokio::test]
async fn fault_092_only_the_file_we_made_is_deleted() {
    let place = Place::new().await;
    let id = new_id();
    let part = place.files.create_part(&place.folder, "x", id, None).await.unwrap();
    put(&part, 0, b"ours").await.unwrap();
    let kept = record(&part, part.sync().await.unwrap());
    let path = place.part_path();
    std::fs::rename(&path, place.path("moved")).unwrap();
    std::fs::write(&path, b"theirs").unwrap();
    place.files.discard(place.folder.path(), id, &kept).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
    std::fs::rename(place.path("moved"), &path).unwrap();
    place.files.discard(place.folder.path(), id, &kept).await.unwrap();
    assert!(!path.exists());
    place.files.discard(place.folder.path(), id, &kept).await.unwrap();
}

#[tokio::test]
async fn fault_093_a_folder_that_is_not_there_blocks() {
    let place = Place::new().await;
    std::fs::write(place.path("file"), b"").unwrap();
    for path in ["missing", "missing/deeper", "file"] {
        let path = place.path(path);
        let failure = place.files.open_folder(path.to_str().unwrap()).await.unwrap_err();
        assert_eq!((blocked(&failure), failure.cause), (Some(Blocker::Folder), Cause::FolderMissing));
        assert!(failure.detail.contains(path.to_str().unwrap()), "{}", failure.detail);
        assert_eq!(resolve_folder(path.to_str().unwrap()).unwrap_err().cause, Cause::FolderMissing);
    }
    assert_eq!(place.files.open_folder("relative").await.unwrap_err().cause, Cause::InvalidName);
}

#[tokio::test]
async fn fault_093_a_folder_that_vanishes_blocks_and_nothing_is_published() {
    let place = Place::new().await;
    std::fs::create_dir(place.path("usb")).unwrap();
    let path = place.path("usb");
    let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
    let part = place.files.create_part(&folder, "x", new_id(), None).await.unwrap();
    put(&part, 0, b"bytes").await.unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    put(&part, 5, b"more").await.unwrap();
    let failure = place.files.create_part(&folder, "y", new_id(), None).await.unwrap_err();
    assert_eq!(blocked(&failure), Some(Blocker::Folder), "{}", failure.detail);
    let failure = place.publish(part, "x", IfExists::Fail).await.unwrap_err();
    assert_eq!((failure.remedy, failure.cause), (Remedy::Stale, Cause::FileReplaced));
}

#[test]
fn fault_093_a_read_only_file_system_blocks_and_keeps_the_bytes() {
    if !in_own_mounts("faults::fault_093_a_read_only_file_system_blocks_and_keeps_the_bytes") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        let path = place.path("usb");
        mount_tmpfs(&path, 16 << 20);
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        let id = new_id();
        let part = place.files.create_part(&folder, "x", id, Some(4 << 20)).await.unwrap();
        put(&part, 0, &pattern(1, 2 << 20)).await.unwrap();
        let kept = record(&part, part.sync().await.unwrap());
        drop(part);
        run("mount", &["-o", "remount,ro", path.to_str().unwrap()]);
        let failure = place.files.create_part(&folder, "y", new_id(), None).await.unwrap_err();
        assert_eq!((blocked(&failure), failure.cause), (Some(Blocker::ReadOnly), Cause::FolderNotWritable));
        let failure = place.files.recover(&folder, id, &kept).await.unwrap_err();
        assert_eq!(blocked(&failure), Some(Blocker::ReadOnly));
        assert!(place.files.discard(&kept.folder, id, &kept).await.is_err());
        run("mount", &["-o", "remount,rw", path.to_str().unwrap()]);
        let Recovered::Part(part) = place.files.recover(&folder, id, &kept).await.unwrap() else {
            panic!("the bytes are kept");
        };
        assert_eq!(part.readable(), ranges(&[(0, 2 << 20)]));
    });
}

#[test]
fn fault_093_a_full_disk_blocks_up_front_when_the_size_is_known() {
    if !in_own_mounts("faults::fault_093_a_full_disk_blocks_up_front_when_the_size_is_known") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        let path = place.path("small");
        mount_tmpfs(&path, 8 << 20);
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        let failure = place.files.create_part(&folder, "x", new_id(), Some(9 << 20)).await.unwrap_err();
        assert_eq!((blocked(&failure), failure.cause), (Some(Blocker::DiskSpace), Cause::DiskFull));
        assert!(failure.detail.contains("9437184"), "{}", failure.detail);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "nothing is left behind");
        let part = place.files.create_part(&folder, "x", new_id(), Some(6 << 20)).await.unwrap();
        let failure = place.files.create_part(&folder, "y", new_id(), Some(6 << 20)).await.unwrap_err();
        assert_eq!(blocked(&failure), Some(Blocker::DiskSpace));
        put(&part, 0, &pattern(1, 6 << 20)).await.unwrap();
        place.publish(part, "x", IfExists::Fail).await.unwrap();
    });
}

#[test]
fn fault_093_a_disk_that_fills_up_keeps_what_fitted_and_goes_on_later() {
    if !in_own_mounts("faults::fault_093_a_disk_that_fills_up_keeps_what_fitted_and_goes_on_later") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        let path = place.path("small");
        mount_tmpfs(&path, 4 << 20);
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        std::fs::write(path.join("ballast"), pattern(1, 2 << 20)).unwrap();
        let bytes = pattern(2, 3 << 20);
        let part = place.files.create_part(&folder, "x", new_id(), None).await.unwrap();
        let failure = match put(&part, 0, &bytes).await {
            Err(failure) => failure,
            Ok(()) => part.sync().await.unwrap_err(),
        };
        assert_eq!((blocked(&failure), failure.cause), (Some(Blocker::DiskSpace), Cause::DiskFull));
        let kept = part.sync().await.unwrap();
        let held = kept.available_from(0);
        assert!((1..=2 << 20).contains(&held) && kept.bytes() == held, "{kept:?}");
        std::fs::remove_file(path.join("ballast")).unwrap();
        let from = usize::try_from(held).unwrap();
        put(&part, held, &bytes[from..]).await.unwrap();
        let published = place.publish(part, "x", IfExists::Fail).await.unwrap();
        assert!(std::fs::read(published.path).unwrap() == bytes);
    });
}

#[test]
fn fault_093_a_folder_that_may_not_be_written_blocks() {
    if !in_own_mounts("faults::fault_093_a_folder_that_may_not_be_written_blocks") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        std::fs::create_dir(place.path("locked")).unwrap();
        let path = place.path("locked");
        run("mount", &["--bind", path.to_str().unwrap(), path.to_str().unwrap()]);
        run("mount", &["-o", "remount,bind,ro", path.to_str().unwrap()]);
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        let failure = place.files.create_part(&folder, "x", new_id(), None).await.unwrap_err();
        assert_eq!((blocked(&failure), failure.cause), (Some(Blocker::ReadOnly), Cause::FolderNotWritable));
        let failure = resolve_folder(path.to_str().unwrap()).unwrap_err();
        assert_eq!(failure.cause, Cause::FolderNotWritable);
    });
}

#[test]
fn fault_093_without_descriptors_it_waits_for_resources() {
    if !in_own_mounts("faults::fault_093_without_descriptors_it_waits_for_resources") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        let part = place.part_with("x", b"bytes").await;
        let mut held = Vec::new();
        let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            held.push(file);
        }
        let failure = place.files.create_part(&place.folder, "y", new_id(), None).await.unwrap_err();
        assert_eq!((blocked(&failure), failure.cause), (Some(Blocker::Resources), Cause::Resources));
        let failure = place.files.open_folder(place.folder.path()).await.unwrap_err();
        assert_eq!(blocked(&failure), Some(Blocker::Resources));
        place.publish(part, "x", IfExists::Fail).await.unwrap();
    });
}

/// A file system whose disk can take no more: its image lies sparse on a tmpfs that is full.
fn mount_on_a_full_disk(place: &Place) -> (std::path::PathBuf, std::path::PathBuf) {
    let (below, path) = (place.path("below"), place.path("disk"));
    mount_tmpfs(&below, 24 << 20);
    mount_image(&below.join("image"), 64 << 20, &["-t", "ext4", "-E", "lazy_itable_init=1,nodiscard"], &path);
    run("sync", &["-f", path.to_str().unwrap()]);
    let ballast = below.join("ballast");
    (path, ballast)
}

fn fill(ballast: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn fault_095_after_a_failed_sync_what_was_not_durable_is_void() {
    if !in_own_mounts("faults::fault_095_after_a_failed_sync_what_was_not_durable_is_void") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        let (path, ballast) = mount_on_a_full_disk(&place);
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        let bytes = pattern(1, 900_000);
        let part = place.files.create_part(&folder, "x", new_id(), Some(bytes.len() as u64)).await.unwrap();
        put(&part, 0, &bytes[..400_000]).await.unwrap();
        assert_eq!(part.sync().await.unwrap(), ranges(&[(0, 400_000)]));
        fill(&ballast);
        put(&part, 400_000, &bytes[400_000..]).await.unwrap();
        assert_eq!(part.readable(), ranges(&[(0, 900_000)]));
        let failure = part.sync().await.unwrap_err();
        assert_eq!((failure.remedy, failure.cause), (Remedy::Permanent, Cause::FileIo), "{}", failure.detail);
        assert_eq!(part.readable(), ranges(&[(0, 400_000)]), "the kernel calls lost pages clean");
        assert_eq!(part.sync().await.unwrap(), ranges(&[(0, 400_000)]));
    });
}

/// The disk below `path` is gone from one moment to the next: everything on it fails with EIO (FS_IOC_SHUTDOWN).
fn pull_the_plug(path: &std::path::Path) {
    use std::os::fd::AsRawFd as _;
    const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587D;
    let folder = std::fs::File::open(path).unwrap();
    let without_flushing: u32 = 2;
    // SAFETY: the request reads one u32 from the pointer, which is valid for that.
    let result = unsafe { libc::ioctl(folder.as_raw_fd(), FS_IOC_SHUTDOWN, &raw const without_flushing) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn fault_093_a_disk_that_breaks_stops_and_reports() {
    if !in_own_mounts("faults::fault_093_a_disk_that_breaks_stops_and_reports") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        let path = place.path("disk");
        mount_image(&place.path("image"), 64 << 20, &["-t", "ext4"], &path);
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        let large = place.files.create_part(&folder, "x", new_id(), Some(20 << 20)).await.unwrap();
        let small = place.files.create_part(&folder, "y", new_id(), Some(5)).await.unwrap();
        put(&small, 0, b"bytes").await.unwrap();
        pull_the_plug(&path);
        let failure = match put(&large, 0, &pattern(1, 20 << 20)).await {
            Err(failure) => failure,
            Ok(()) => large.sync().await.unwrap_err(),
        };
        assert_eq!((failure.remedy, failure.cause), (Remedy::Permanent, Cause::FileIo), "{}", failure.detail);
        let failure = place.publish(small, "y", IfExists::Fail).await.unwrap_err();
        assert_eq!((failure.remedy, failure.cause), (Remedy::Permanent, Cause::FileIo), "{}", failure.detail);
    });
}

#[test]
fn fault_098_a_size_the_process_may_not_make_is_told_up_front() {
    if !in_own_mounts("faults::fault_098_a_size_the_process_may_not_make_is_told_up_front") {
        return;
    }
    let limit = rustix::process::Rlimit { current: Some(3 << 20), maximum: Some(3 << 20) };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    runtime().block_on(async {
        let place = Place::new().await;
        let failure = place.files.create_part(&place.folder, "x", new_id(), Some(4 << 20)).await.unwrap_err();
        assert_eq!((failure.remedy, failure.cause), (Remedy::Permanent, Cause::FileTooLarge));
        assert!(place.names().is_empty());
        let part = place.part("y", None).await;
        let failure = match put(&part, 0, &pattern(1, 5 << 20)).await {
            Err(failure) => failure,
            Ok(()) => part.sync().await.unwrap_err(),
        };
        assert_eq!((failure.remedy, failure.cause), (Remedy::Permanent, Cause::FileTooLarge));
    });
}

#[test]
fn fault_098_a_size_the_file_system_cannot_hold_is_told_up_front() {
    if !in_own_mounts("faults::fault_098_a_size_the_file_system_cannot_hold_is_told_up_front") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        let path = place.path("disk");
        mount_image(&place.path("image"), 16 << 20, &["-t", "ext4", "-b", "1024"], &path);
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        for total in [1 << 44, 1 << 62, u64::MAX] {
            let failure = place.files.create_part(&folder, "x", new_id(), Some(total)).await.unwrap_err();
            assert_eq!(
                (failure.remedy, failure.cause),
                (Remedy::Permanent, Cause::FileTooLarge),
                "{}",
                failure.detail
            );
        }
    });
}

#[test]
fn without_reservations_the_ledger_promises_space_only_once() {
    if !in_own_mounts("faults::without_reservations_the_ledger_promises_space_only_once") {
        return;
    }
    runtime().block_on(async {
        let place = Place::new().await;
        let path = place.path("old");
        mount_image(&place.path("image"), 64 << 20, &["-t", "ext2"], &path);
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        let create = |total| place.files.create_part(&folder, "x", new_id(), Some(total));
        let first = create(40 << 20).await.unwrap();
        let failure = create(40 << 20).await.unwrap_err();
        assert_eq!((blocked(&failure), failure.cause), (Some(Blocker::DiskSpace), Cause::DiskFull));
        assert!(failure.detail.contains("not promised to other downloads"), "{}", failure.detail);
        put(&first, 0, &pattern(1, 30 << 20)).await.unwrap();
        first.sync().await.unwrap();
        create(15 << 20).await.unwrap().discard().await.unwrap();
        create(40 << 20).await.unwrap_err();
        first.discard().await.unwrap();
        create(40 << 20).await.unwrap();
    });
}

#[tokio::test]
async fn fault_099_the_final_name_never_shows_an_unfinished_file() {
    let place = Place::new().await;
    let bytes = pattern(1, 3_000_000);
    let part = place.part("film.mkv", Some(bytes.len() as u64)).await;
    for piece in 0..3 {
        put(&part, piece * 1_000_000, &bytes[..1_000_000]).await.unwrap();
        part.sync().await.unwrap();
        let names = place.names();
        assert!(names.len() == 1 && names[0].starts_with('.') && names[0].ends_with(".part"), "{names:?}");
    }
    let seen = std::fs::metadata(place.part_path()).unwrap();
    assert_eq!(seen.len(), 3_000_000);
}

#[tokio::test]
async fn fault_100_the_mode_is_that_of_the_umask_or_of_the_replaced_file() {
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rustix::process::umask(umask);
    let place = Place::new().await;
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777;
    let part = place.part_with("new", b"x").await;
    assert_eq!(mode(&place.names()[0]), 0o600);
    place.publish(part, "new", IfExists::Fail).await.unwrap();
    assert_eq!(mode("new"), 0o666 & !umask.bits());
    std::fs::write(place.path("old"), b"").unwrap();
    std::fs::set_permissions(place.path("old"), PermissionsExt::from_mode(0o4640)).unwrap();
    let part = place.part_with("old", b"x").await;
    place.publish(part, "old", IfExists::Replace).await.unwrap();
    assert_eq!(mode("old"), 0o640, "kept, but for the bits that give more rights than the caller's");
}
