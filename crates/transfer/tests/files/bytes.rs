//! Whatever is written in whatever order is what is read, in memory's and the disk's view.

use longhaul_contract::{ByteRange, RangeSet};
use longhaul_transfer::files::BUFFER_BYTES_MAX;
use proptest::prelude::*;

use crate::place::{Place, pattern, put, ranges};

const SPAN: u64 = 6 << 20;

#[derive(Debug, Clone)]
enum Action {
    Write { offset: u64, length: usize },
    Forget { offset: u64, length: u64 },
    Sync,
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let aligned = (0..SPAN >> 20).prop_map(|mebibyte| mebibyte << 20);
    let offset = prop_oneof![2 => aligned, 1 => 0..SPAN, 1 => (0..SPAN / 4096).prop_map(|page| page * 4096)];
    let length = prop_oneof![1 => 1..20_000usize, 2 => 200_000..2_500_000usize, 1 => Just(1 << 20)];
    let action = prop_oneof![
        8 => (offset, length).prop_map(|(offset, length)| Action::Write { offset, length }),
        1 => (0..SPAN, 1..2_000_000u64).prop_map(|(offset, length)| Action::Forget { offset, length }),
        2 => Just(Action::Sync),
        1 => Just(Action::Restart),
    ];
    prop::collection::vec(action, 1..14)
}

async fn play(actions: Vec<Action>) {
    let place = Place::new().await;
    let part = place.part("model.bin", Some(SPAN)).await;
    let mut model = vec![0_u8; 2 * usize::try_from(SPAN).unwrap()];
    let mut held = RangeSet::new();
    for (number, action) in actions.into_iter().enumerate() {
        match action {
            Action::Write { offset, length } => {
                let bytes = pattern(number as u64 + 1, length);
                put(&part, offset, &bytes).await.unwrap();
                let start = usize::try_from(offset).unwrap();
                model[start..start + length].copy_from_slice(&bytes);
                held.insert(ByteRange::new(offset, length as u64));
            }
            Action::Forget { offset, length } => {
                part.forget(ByteRange::new(offset, length)).await;
                held.remove(ByteRange::new(offset, length));
            }
            Action::Sync => assert_eq!(part.sync().await.unwrap(), held),
            Action::Restart => {
                part.restart().await.unwrap();
                part.reserve(SPAN).await.unwrap();
                held = RangeSet::new();
            }
        }
    }
    assert_eq!(part.sync().await.unwrap(), held);
    assert_eq!(part.readable(), held);
    let on_disk = std::fs::read(place.part_path()).unwrap();
    for range in held.iter() {
        let (start, end) = (usize::try_from(range.offset).unwrap(), usize::try_from(range.end()).unwrap());
        assert!(on_disk[start..end] == model[start..end], "the file differs in {range:?}");
        let read = part.read_at(range.offset, usize::MAX).await.unwrap();
        assert!(read == model[start..end], "reading differs in {range:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_size_of_writes_gives_the_same_bytes(actions in actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(actions));
    }
}

#[tokio::test]
async fn segments_written_at_once_from_odd_offsets_do_not_disturb_each_other() {
    let place = Place::new().await;
    let bytes = pattern(3, 9_000_000);
    let part = place.part("segments.bin", Some(bytes.len() as u64)).await;
    let bounds = [0, 1_000_001, 3_333_333, 3_337_000, 6_000_000, bytes.len()];
    let segments = bounds.windows(2).map(|pair| put(&part, pair[0] as u64, &bytes[pair[0]..pair[1]]));
    for result in futures_util::future::join_all(segments).await {
        result.unwrap();
    }
    assert_eq!(part.sync().await.unwrap(), ranges(&[(0, bytes.len() as u64)]));
    assert!(std::fs::read(place.part_path()).unwrap() == bytes);
}

#[tokio::test]
async fn an_unknown_total_starts_small_and_may_grow_large() {
    let place = Place::new().await;
    let bytes = pattern(4, 5_000_000);
    let part = place.part("unknown.bin", None).await;
    for (number, piece) in bytes.chunks(300_000).enumerate() {
        put(&part, number as u64 * 300_000, piece).await.unwrap();
    }
    part.sync().await.unwrap();
    assert!(std::fs::read(place.part_path()).unwrap() == bytes);
}

#[tokio::test]
async fn small_files_are_readable_as_soon_as_they_are_written() {
    let place = Place::new().await;
    let part = place.part_with("small", b"hello").await;
    assert_eq!(part.readable(), ranges(&[(0, 5)]));
    assert_eq!(part.read_at(1, 3).await.unwrap(), "ell");
    assert_eq!(part.read_at(1, 300).await.unwrap(), "ello");
    assert!(part.read_at(5, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn readers_wait_for_bytes_and_hear_of_the_end() {
    let place = Place::new().await;
    let part = place.part("film.mkv", Some(3 << 20)).await;
    let mut reader = part.reader();
    let waiting = tokio::spawn(async move {
        let first = reader.wait(2 << 20).await;
        let bytes = reader.read_at(2 << 20, 4).await.unwrap();
        (first, bytes, reader.wait(0).await)
    });
    put(&part, 2 << 20, &[9; 100]).await.unwrap();
    let clone = part.clone();
    drop(part);
    clone.sync().await.unwrap();
    drop(clone);
    assert_eq!(waiting.await.unwrap(), (Some(100), bytes::Bytes::from_static(&[9; 4]), None));
}

#[tokio::test]
async fn readers_outlive_publication() {
    let place = Place::new().await;
    let part = place.part_with("x", b"published").await;
    let reader = part.reader();
    place.publish(part, "x", longhaul_contract::IfExists::Fail).await.unwrap();
    assert_eq!(reader.read_at(0, 100).await.unwrap(), "published");
}

#[tokio::test]
async fn a_buffer_ends_on_a_page_so_that_the_next_one_begins_there() {
    let place = Place::new().await;
    let part = place.part("x", Some(8 << 20)).await;
    for offset in [0, 1, 4095, 4096, 1_000_003] {
        let buffer = part.buffer(offset, BUFFER_BYTES_MAX * 4).await;
        assert_eq!((offset + buffer.capacity() as u64) % 4096, 0, "{offset}");
        assert!(buffer.capacity() > BUFFER_BYTES_MAX - 4096);
    }
    assert_eq!(part.buffer(7, 10).await.capacity(), 10);
}

#[tokio::test]
async fn a_reservation_takes_blocks_but_shows_no_size() {
    use std::os::unix::fs::MetadataExt as _;
    let place = Place::new().await;
    let part = place.part("reserved", Some(32 << 20)).await;
    let seen = std::fs::metadata(place.part_path()).unwrap();
    assert_eq!(seen.len(), 0);
    assert!(seen.blocks() * 512 >= 32 << 20);
    assert_eq!(seen.mode() & 0o7777, 0o600);
    put(&part, 0, b"only this").await.unwrap();
    place.publish(part, "reserved", longhaul_contract::IfExists::Fail).await.unwrap();
    let seen = std::fs::metadata(place.path("reserved")).unwrap();
    assert_eq!(seen.len(), 9);
    assert!(seen.blocks() * 512 <= 1 << 16, "what was reserved and not needed is given back");
}
