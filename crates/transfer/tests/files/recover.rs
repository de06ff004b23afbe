//! Every row of the recovery table.

use std::os::unix::fs::PermissionsExt;

use longhaul_contract::{IfExists, OperationId};
use longhaul_transfer::JournalRecord;
use longhaul_transfer::files::Recovered;

use crate::place::{Place, new_id, pattern, put, ranges, record};

/// A download that was cut off with `bytes` durable, and what the journal says of it.
async fn cut_off(place: &Place, bytes: &[u8]) -> (OperationId, JournalRecord) {
    let id = new_id();
    let part = place.files.create_part(&place.folder, "a.bin", id, None).await.unwrap();
    put(&part, 0, bytes).await.unwrap();
    let durable = part.sync().await.unwrap();
    (id, record(&part, durable))
}

fn replace(path: &std::path::Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    // Another file first, so that the inode number is not used again.
    std::fs::write(path.with_extension("other"), b"").unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn ours_and_nothing_published_goes_on() {
    let place = Place::new().await;
    let (id, mut kept) = cut_off(&place, b"0123456789").await;
    for publish_as in [None, Some("a.bin".to_owned())] {
        kept.publish_as = publish_as;
        let Recovered::Part(part) = place.recover(id, &kept).await else { panic!("it is there") };
        assert_eq!(part.readable(), ranges(&[(0, 10)]));
        assert_eq!(part.sync().await.unwrap(), ranges(&[(0, 10)]));
        assert_eq!(part.read_at(3, 4).await.unwrap(), "3456");
        assert_eq!(part.identity(), kept.part);
    }
}

#[tokio::test]
async fn ours_goes_on_although_another_file_has_the_final_name() {
    let place = Place::new().await;
    let (id, mut kept) = cut_off(&place, b"0123456789").await;
    std::fs::write(place.path("a.bin"), b"somebody else's").unwrap();
    kept.publish_as = Some("a.bin".to_owned());
    assert!(matches!(place.recover(id, &kept).await, Recovered::Part(_)));
    assert_eq!(std::fs::read(place.path("a.bin")).unwrap(), b"somebody else's");
}

#[tokio::test]
async fn ours_under_both_names_is_published() {
    let place = Place::new().await;
    let (id, mut kept) = cut_off(&place, b"0123456789").await;
    std::fs::hard_link(place.part_path(), place.path("a.bin")).unwrap();
    kept.publish_as = Some("a.bin".to_owned());
    let Recovered::Published { name, size } = place.recover(id, &kept).await else { panic!("published") };
    assert_eq!((name.as_str(), size), ("a.bin", 10));
    assert_eq!(place.names(), ["a.bin"]);
}

#[tokio::test]
async fn gone_and_ours_under_the_final_name_is_published() {
    let place = Place::new().await;
    let (id, mut kept) = cut_off(&place, b"0123456789").await;
    std::fs::rename(place.part_path(), place.path("b (1).bin")).unwrap();
    kept.publish_as = Some("b (1).bin".to_owned());
    let Recovered::Published { name, size } = place.recover(id, &kept).await else { panic!("published") };
    assert_eq!((name.as_str(), size), ("b (1).bin", 10));
}

#[tokio::test]
async fn gone_without_a_publication_is_missing() {
    let place = Place::new().await;
    let (id, mut kept) = cut_off(&place, b"0123456789").await;
    std::fs::rename(place.part_path(), place.path("moved")).unwrap();
    assert!(matches!(place.recover(id, &kept).await, Recovered::Missing));
    kept.publish_as = Some("a.bin".to_owned());
    assert!(matches!(place.recover(id, &kept).await, Recovered::Missing));
    std::fs::write(place.path("a.bin"), b"somebody else's").unwrap();
    assert!(matches!(place.recover(id, &kept).await, Recovered::Missing));
}

#[tokio::test]
async fn not_ours_is_replaced_unless_ours_is_published() {
    let place = Place::new().await;
    let (id, mut kept) = cut_off(&place, b"0123456789").await;
    let path = place.part_path();
    std::fs::hard_link(&path, place.path("kept-inode")).unwrap();
    replace(&path, b"another file of the name");
    assert!(matches!(place.recover(id, &kept).await, Recovered::Replaced));
    kept.publish_as = Some("a.bin".to_owned());
    assert!(matches!(place.recover(id, &kept).await, Recovered::Replaced));
    std::fs::rename(place.path("kept-inode"), place.path("a.bin")).unwrap();
    assert!(matches!(place.recover(id, &kept).await, Recovered::Published { .. }));
    assert_eq!(std::fs::read(&path).unwrap(), b"another file of the name");
}

#[tokio::test]
async fn a_link_or_folder_in_the_place_of_the_part_is_not_followed() {
    let place = Place::new().await;
    let (id, kept) = cut_off(&place, b"0123456789").await;
    let path = place.part_path();
    std::fs::rename(&path, place.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert!(matches!(place.recover(id, &kept).await, Recovered::Replaced));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(place.recover(id, &kept).await, Recovered::Replaced));
}

#[tokio::test]
async fn fault_096_what_the_journal_does_not_name_is_not_trusted_and_what_is_cut_off_is_not_read() {
    let place = Place::new().await;
    let bytes = pattern(9, 3_000_000);
    let (id, mut kept) = cut_off(&place, &bytes).await;
    kept.ranges = ranges(&[(0, 1_000_000), (2_000_000, 2_500_000)]);
    let Recovered::Part(part) = place.recover(id, &kept).await else { panic!("it is there") };
    assert_eq!(part.readable(), kept.ranges);
    assert!(part.read_at(1_000_000, 10).await.unwrap().is_empty());
    drop(part);
    std::fs::OpenOptions::new().write(true).open(place.part_path()).unwrap().set_len(2_100_000).unwrap();
    let Recovered::Part(part) = place.recover(id, &kept).await else { panic!("it is there") };
    assert_eq!(part.readable(), ranges(&[(0, 1_000_000), (2_000_000, 2_100_000)]));
}

#[tokio::test]
async fn a_part_file_that_was_never_recorded_is_taken_over() {
    let place = Place::new().await;
    let id = new_id();
    let first = place.files.create_part(&place.folder, "a", id, Some(2 << 20)).await.unwrap();
    put(&first, 0, b"void, for nobody has recorded it").await.unwrap();
    let identity = first.identity();
    drop(first);
    let second = place.files.create_part(&place.folder, "a", id, Some(2 << 20)).await.unwrap();
    assert_eq!(second.identity(), identity);
    assert!(second.readable().is_empty());
    assert_eq!(place.names().len(), 1);
}

#[tokio::test]
async fn a_part_file_with_somebody_s_bytes_is_left_alone_and_another_name_found_again() {
    let place = Place::new().await;
    let (id, kept) = cut_off(&place, b"0123456789").await;
    std::fs::set_permissions(place.part_path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let other = place.files.create_part(&place.folder, "a.bin", id, None).await.unwrap();
    assert_ne!(other.identity(), kept.part);
    put(&other, 0, b"other").await.unwrap();
    let other_kept = record(&other, other.sync().await.unwrap());
    drop(other);
    let Recovered::Part(part) = place.recover(id, &other_kept).await else { panic!("it is there") };
    assert_eq!(part.read_at(0, 100).await.unwrap(), "other");
    let Recovered::Part(part) = place.recover(id, &kept).await else { panic!("it is there") };
    assert_eq!(part.read_at(0, 100).await.unwrap(), "0123456789");
    place.files.discard(place.folder.path(), id, &other_kept).await.unwrap();
    assert_eq!(place.names().len(), 1);
}

#[tokio::test]
async fn a_recovered_file_is_published_like_any_other() {
    let place = Place::new().await;
    let bytes = pattern(5, 2_500_000);
    let (id, kept) = cut_off(&place, &bytes[..2_000_000]).await;
    let Recovered::Part(part) = place.recover(id, &kept).await else { panic!("it is there") };
    put(&part, 2_000_000, &bytes[2_000_000..]).await.unwrap();
    place.publish(part, "a.bin", IfExists::Fail).await.unwrap();
    assert!(std::fs::read(place.path("a.bin")).unwrap() == bytes);
    assert_eq!(place.names(), ["a.bin"]);
}
