//! Digests made while bytes pass are those of the bytes in the file.

use longhaul_contract::{ByteRange, ChecksumAlgorithm, IfExists};
use longhaul_transfer::digest::{MultiHasher, digest_file};
use longhaul_transfer::files::Recovered;

use crate::place::{Place, new_id, pattern, put, record};

fn digests_of(bytes: &[u8]) -> Vec<(ChecksumAlgorithm, Vec<u8>)> {
    let mut hasher = MultiHasher::new(ChecksumAlgorithm::ALL);
    hasher.update(bytes);
    hasher.finish()
}

#[tokio::test]
async fn bytes_in_order_are_hashed_on_their_way() {
    let place = Place::new().await;
    let bytes = pattern(1, 11_111_111);
    let part = place.part("x", Some(bytes.len() as u64)).await;
    part.start_digests(ChecksumAlgorithm::ALL.to_vec());
    put(&part, 0, &bytes).await.unwrap();
    assert_eq!(part.finish_digests(bytes.len() as u64).await.unwrap(), digests_of(&bytes));
    assert!(part.finish_digests(bytes.len() as u64).await.unwrap().is_empty(), "that ended hashing");
}

#[tokio::test]
async fn nothing_is_hashed_unasked_and_an_empty_file_has_a_digest() {
    let place = Place::new().await;
    let part = place.part("x", None).await;
    assert!(part.finish_digests(0).await.unwrap().is_empty());
    part.start_digests(vec![ChecksumAlgorithm::Sha256]);
    let digests = part.finish_digests(0).await.unwrap();
    assert_eq!(
        hex::encode(&digests[0].1),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[tokio::test]
async fn segments_out_of_order_are_read_back() {
    let place = Place::new().await;
    let bytes = pattern(2, 24 << 20);
    let part = place.part("x", Some(bytes.len() as u64)).await;
    part.start_digests(ChecksumAlgorithm::ALL.to_vec());
    for segment in [2, 0, 5, 1, 4, 3] {
        let start = segment * (4 << 20);
        put(&part, start as u64, &bytes[start..start + (4 << 20)]).await.unwrap();
    }
    assert_eq!(part.finish_digests(bytes.len() as u64).await.unwrap(), digests_of(&bytes));
}

#[tokio::test]
async fn segments_at_once_are_hashed_right() {
    let place = Place::new().await;
    let bytes = pattern(7, 24 << 20);
    let part = place.part("x", Some(bytes.len() as u64)).await;
    part.start_digests(vec![ChecksumAlgorithm::Sha256, ChecksumAlgorithm::Blake3]);
    let segments = [0, 8, 16].map(|start: usize| {
        let range = start << 20..(start + 8) << 20;
        put(&part, range.start as u64, &bytes[range])
    });
    for result in futures_util::future::join_all(segments).await {
        result.unwrap();
    }
    let digests = part.finish_digests(bytes.len() as u64).await.unwrap();
    assert_eq!(
        digests,
        digests_of(&bytes)
            .into_iter()
            .filter(|(a, _)| digests.iter().any(|(b, _)| a == b))
            .collect::<Vec<_>>()
    );
    assert_eq!(digests.len(), 2);
}

#[tokio::test]
async fn a_resumed_file_is_hashed_from_its_start() {
    let place = Place::new().await;
    let bytes = pattern(3, 7_000_000);
    let id = new_id();
    let part = place.files.create_part(&place.folder, "x", id, Some(bytes.len() as u64)).await.unwrap();
    put(&part, 0, &bytes[..3_000_001]).await.unwrap();
    let kept = record(&part, part.sync().await.unwrap());
    drop(part);
    let Recovered::Part(part) = place.recover(id, &kept).await else { panic!("the part is there") };
    part.start_digests(vec![ChecksumAlgorithm::Sha256]);
    put(&part, 3_000_001, &bytes[3_000_001..]).await.unwrap();
    assert_eq!(part.finish_digests(bytes.len() as u64).await.unwrap(), digests_of(&bytes)[..1]);
}

#[tokio::test]
async fn forgotten_and_restarted_bytes_do_not_count() {
    let place = Place::new().await;
    let (wrong, right) = (pattern(4, 3_000_000), pattern(5, 3_000_000));
    let part = place.part("x", Some(right.len() as u64)).await;
    part.start_digests(vec![ChecksumAlgorithm::Sha256]);
    put(&part, 0, &wrong).await.unwrap();
    part.restart().await.unwrap();
    put(&part, 0, &right[..2_000_000]).await.unwrap();
    put(&part, 2_000_000, &wrong[2_000_000..]).await.unwrap();
    part.forget(ByteRange::from_bounds(2_000_000, 3_000_000)).await;
    put(&part, 2_000_000, &right[2_000_000..]).await.unwrap();
    assert_eq!(part.finish_digests(right.len() as u64).await.unwrap(), digests_of(&right)[..1]);
}

#[tokio::test]
async fn missing_bytes_are_an_error_and_no_digest() {
    let place = Place::new().await;
    let part = place.part("x", Some(4 << 20)).await;
    part.start_digests(vec![ChecksumAlgorithm::Md5]);
    put(&part, 0, &[1; 1000]).await.unwrap();
    put(&part, 2000, &[1; 1000]).await.unwrap();
    assert!(part.finish_digests(3000).await.is_err());
}

#[tokio::test]
async fn a_published_file_can_be_verified_later() {
    let place = Place::new().await;
    let bytes = pattern(6, 700_000);
    let part = place.part_with("x", &bytes).await;
    let published = place.publish(part, "x", IfExists::Fail).await.unwrap();
    let (size, digests) = digest_file(published.path.as_ref(), ChecksumAlgorithm::ALL).await.unwrap();
    assert_eq!((size, digests), (bytes.len() as u64, digests_of(&bytes)));
    assert!(digest_file(&place.path("y"), &[]).await.is_err());
}
