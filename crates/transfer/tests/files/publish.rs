//! From part file to final name.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use longhaul_contract::{Blocker, Cause, IfExists, Remedy};
use longhaul_transfer::JournalError;

use crate::place::{Place, in_own_mounts, mount_tmpfs, no_intent, pattern, put};

#[tokio::test]
async fn the_intent_is_told_after_the_bytes_are_whole_and_before_the_name_is_there() {
    let place = Place::new().await;
    let part = place.part_with("a.bin", b"bytes").await;
    let (target, part_path) = (place.path("a.bin"), place.part_path());
    let published = place
        .files
        .publish(part, "a.bin", IfExists::Fail, move |name| {
            assert_eq!(name, "a.bin");
            assert!(!target.exists());
            assert_eq!(std::fs::read(&part_path).unwrap(), b"bytes");
            Box::pin(async { Ok(()) })
        })
        .await
        .unwrap();
    assert_eq!((published.name.as_str(), published.size), ("a.bin", 5));
    assert_eq!(published.path, place.path("a.bin").to_str().unwrap());
    assert_eq!(place.names(), ["a.bin"]);
}

#[tokio::test]
async fn an_intent_that_cannot_be_recorded_publishes_nothing() {
    let place = Place::new().await;
    let part = place.part_with("a.bin", b"bytes").await;
    let failure = place
        .files
        .publish(part, "a.bin", IfExists::Fail, |_| {
            Box::pin(async { Err(JournalError("disk full".to_owned())) })
        })
        .await
        .unwrap_err();
    assert_eq!(failure.remedy, Remedy::Blocked { on: Blocker::Store });
    assert_eq!(failure.cause, Cause::StoreUnavailable);
    assert!(failure.detail.contains("disk full"));
    assert_eq!(std::fs::read(place.part_path()).unwrap(), b"bytes");
}

#[tokio::test]
async fn an_intent_that_panics_breaks_only_its_own_group() {
    let place = Place::new().await;
    let part = place.part_with("a", b"bytes").await;
    let failure = place
        .files
        .publish(part.clone(), "a", IfExists::Fail, |_| panic!("this panic belongs to the test"))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, Cause::Internal);
    place.publish(part, "a", IfExists::Fail).await.unwrap();
}

#[tokio::test]
async fn holes_are_never_published() {
    let place = Place::new().await;
    let part = place.part("a", Some(10)).await;
    put(&part, 5, b"tail!").await.unwrap();
    let failure = place.publish(part, "a", IfExists::Fail).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Internal);
    assert!(!place.path("a").exists());
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let place = Place::new().await;
    let part = place.part("empty", Some(0)).await;
    assert_eq!(place.publish(part, "empty", IfExists::Fail).await.unwrap().size, 0);
    assert_eq!(std::fs::metadata(place.path("empty")).unwrap().len(), 0);
}

#[tokio::test]
async fn fault_091_an_existing_file_is_never_overwritten_unasked() {
    let place = Place::new().await;
    std::fs::write(place.path("a.bin"), b"the user's").unwrap();
    let part = place.part_with("a.bin", b"new").await;
    let failure = place.publish(part.clone(), "a.bin", IfExists::Fail).await.unwrap_err();
    assert_eq!((failure.remedy, failure.cause), (Remedy::Permanent, Cause::NameExists));
    assert_eq!(std::fs::read(place.path("a.bin")).unwrap(), b"the user's");
    assert_eq!(std::fs::read(place.part_path()).unwrap(), b"new");
    let published = place.publish(part, "a.bin", IfExists::Rename).await.unwrap();
    assert_eq!(published.name, "a (1).bin");
    let part = place.part_with("a.bin", b"newest").await;
    place.publish(part, "a.bin", IfExists::Replace).await.unwrap();
    assert_eq!(std::fs::read(place.path("a.bin")).unwrap(), b"newest");
    assert_eq!(std::fs::read(place.path("a (1).bin")).unwrap(), b"new");
}

#[tokio::test]
async fn fault_091_a_file_that_turns_up_at_the_last_moment_is_not_overwritten_either() {
    for if_exists in [IfExists::Fail, IfExists::Rename] {
        let place = Place::new().await;
        let part = place.part_with("a.bin", b"new").await;
        let (root, told) = (place.root.clone(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&told);
        let result = place
            .files
            .publish(part, "a.bin", if_exists, move |name| {
                if name == "a.bin" {
                    std::fs::write(root.join(&name), b"just now").unwrap();
                }
                heard.lock().unwrap().push(name);
                Box::pin(async { Ok(()) })
            })
            .await;
        assert_eq!(std::fs::read(place.path("a.bin")).unwrap(), b"just now");
        if if_exists == IfExists::Fail {
            assert_eq!(result.unwrap_err().cause, Cause::NameExists);
        } else {
            assert_eq!(result.unwrap().name, "a (1).bin");
            assert_eq!(*told.lock().unwrap(), ["a.bin", "a (1).bin"]);
        }
    }
}

#[tokio::test]
async fn a_folder_or_link_of_the_name_is_not_replaced_by_writing_through_it() {
    let place = Place::new().await;
    std::fs::create_dir(place.path("folder")).unwrap();
    let part = place.part_with("folder", b"new").await;
    for if_exists in [IfExists::Fail, IfExists::Replace] {
        let failure = place.publish(part.clone(), "folder", if_exists).await.unwrap_err();
        assert_eq!((failure.remedy, failure.cause), (Remedy::Permanent, Cause::NameExists));
    }
    std::fs::write(place.path("target"), b"the user's").unwrap();
    std::os::unix::fs::symlink("target", place.path("link")).unwrap();
    place.publish(part, "link", IfExists::Replace).await.unwrap();
    assert_eq!(std::fs::read(place.path("target")).unwrap(), b"the user's");
    assert!(std::fs::symlink_metadata(place.path("link")).unwrap().is_file());
}

#[tokio::test]
async fn fault_092_a_part_file_replaced_by_somebody_is_neither_published_nor_deleted() {
    let place = Place::new().await;
    let part = place.part_with("a", b"ours").await;
    let path = place.part_path();
    std::fs::rename(&path, place.path("moved")).unwrap();
    std::fs::write(&path, b"theirs").unwrap();
    let failure = place.publish(part.clone(), "a", IfExists::Replace).await.unwrap_err();
    assert_eq!((failure.remedy, failure.cause), (Remedy::Stale, Cause::FileReplaced));
    part.discard().await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
    assert!(!place.path("a").exists());
}

/// Publishes `count` small files at once, and tells how many times the same moment had several in it.
async fn publish_many(place: &Place, count: usize, name_of: fn(usize) -> String) -> Vec<String> {
    let at_once = Arc::new(AtomicUsize::new(0));
    let peak = Arc::new(AtomicUsize::new(0));
    let publications = (0..count).map(|number| {
        let (at_once, peak) = (Arc::clone(&at_once), Arc::clone(&peak));
        async move {
            let part = place.part_with(&name_of(number), number.to_string().as_bytes()).await;
            let intent = move |_| {
                let (at_once, peak) = (Arc::clone(&at_once), Arc::clone(&peak));
                let pending: futures_util::future::BoxFuture<'static, _> = Box::pin(async move {
                    peak.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                });
                pending
            };
            place.files.publish(part, &name_of(number), IfExists::Rename, intent).await.unwrap()
        }
    });
    let published = futures_util::future::join_all(publications).await;
    for (number, file) in published.iter().enumerate() {
        assert_eq!(std::fs::read_to_string(&file.path).unwrap(), number.to_string());
    }
    assert!(peak.load(Ordering::SeqCst) > 4, "publications are grouped");
    published.into_iter().map(|file| file.name).collect()
}

#[tokio::test]
async fn many_small_files_share_their_syncs() {
    let place = Place::new().await;
    let names = publish_many(&place, 700, |number| format!("file {number}.txt")).await;
    assert_eq!(names[699], "file 699.txt");
    assert_eq!(place.names().len(), 700);
}

#[tokio::test]
async fn fault_090_many_downloads_of_one_name_get_different_names() {
    let place = Place::new().await;
    let names = publish_many(&place, 60, |_| "same.txt".to_owned()).await;
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 60);
    assert!(names.contains(&"same.txt".to_owned()) && names.contains(&"same (59).txt".to_owned()));
}

#[test]
fn publications_on_a_file_system_without_direct_writes_and_syncfs_are_the_same() {
    if !in_own_mounts("publish::publications_on_a_file_system_without_direct_writes_and_syncfs_are_the_same")
    {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let place = Place::new().await;
        mount_tmpfs(&place.path("mounted"), 64 << 20);
        let path = place.path("mounted");
        let folder = place.files.open_folder(path.to_str().unwrap()).await.unwrap();
        let bytes = pattern(8, 20_000_000);
        let publications = (0..10).map(|number| {
            let (files, folder, bytes) = (&place.files, &folder, &bytes);
            async move {
                let bytes = if number == 0 { &bytes[..] } else { &bytes[..1000] };
                let total = Some(bytes.len() as u64);
                let part = files.create_part(folder, "f", crate::place::new_id(), total).await.unwrap();
                put(&part, 0, bytes).await.unwrap();
                let published = files.publish(part, "f", IfExists::Rename, no_intent).await.unwrap();
                assert!(std::fs::read(published.path).unwrap() == bytes);
            }
        });
        futures_util::future::join_all(publications).await;
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 10);
    });
}

#[tokio::test]
async fn a_folder_that_was_moved_meanwhile_is_told_where_it_is() {
    let place = Place::new().await;
    std::fs::create_dir(place.path("before")).unwrap();
    let before = place.path("before");
    let folder = place.files.open_folder(before.to_str().unwrap()).await.unwrap();
    let part = place.files.create_part(&folder, "x", crate::place::new_id(), None).await.unwrap();
    put(&part, 0, b"x").await.unwrap();
    std::fs::rename(&before, place.path("after")).unwrap();
    let published = place.publish(part, "x", IfExists::Fail).await.unwrap();
    assert_eq!(published.path, place.path("after/x").to_str().unwrap());
}
