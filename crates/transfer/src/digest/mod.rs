//! Hash functions over passing bytes, and digest fields (RFC 9530).

mod fields;

pub use fields::{DigestField, parse_digest_field};

use longhaul_contract::ChecksumAlgorithm;
use sha2::Digest as _;

/// Several hash functions over the same bytes.
#[derive(Clone)]
pub struct MultiHasher(Vec<State>);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
}

impl MultiHasher {
    /// Each of `algorithms` once.
    #[must_use]
    pub fn new(algorithms: &[ChecksumAlgorithm]) -> Self {
        let mut wanted = algorithms.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        Self(
            wanted
                .into_iter()
                .map(|algorithm| match algorithm {
                    ChecksumAlgorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
                    ChecksumAlgorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
                    ChecksumAlgorithm::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
                    ChecksumAlgorithm::Md5 => State::Md5(md5::Md5::new()),
                    ChecksumAlgorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
                })
                .collect(),
        )
    }

    pub fn update(&mut self, bytes: &[u8]) {
        for state in &mut self.0 {
            match state {
                State::Sha256(state) => state.update(bytes),
                State::Sha512(state) => state.update(bytes),
                State::Blake3(state) => {
                    state.update(bytes);
                }
                State::Md5(state) => state.update(bytes),
                State::Sha1(state) => state.update(bytes),
            }
        }
    }

    /// The digests, in the order of [`ChecksumAlgorithm`].
    #[must_use]
    pub fn finish(self) -> Vec<(ChecksumAlgorithm, Vec<u8>)> {
        self.0
            .into_iter()
            .map(|state| match state {
                State::Sha256(state) => (ChecksumAlgorithm::Sha256, state.finalize().to_vec()),
                State::Sha512(state) => (ChecksumAlgorithm::Sha512, state.finalize().to_vec()),
                State::Blake3(state) => (ChecksumAlgorithm::Blake3, state.finalize().as_bytes().to_vec()),
                State::Md5(state) => (ChecksumAlgorithm::Md5, state.finalize().to_vec()),
                State::Sha1(state) => (ChecksumAlgorithm::Sha1, state.finalize().to_vec()),
            })
            .collect()
    }
}
