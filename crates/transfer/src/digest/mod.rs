//! Hash functions over passing bytes, and digest fields (RFC 9530).
//!
//! SHA-2 is that of ring, which is fast also on processors without instructions for it.

mod fields;

pub use fields::{DigestField, parse_digest_field};

use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use longhaul_contract::ChecksumAlgorithm;
use md5::Digest as _;
use ring::digest::{Context, SHA256, SHA512};

const READ_BYTES: usize = 256 << 10;

/// Several hash functions over the same bytes.
#[derive(Clone)]
pub struct MultiHasher(Vec<State>);

#[derive(Clone)]
enum State {
    Sha256(Context),
    Sha512(Context),
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
                    ChecksumAlgorithm::Sha256 => State::Sha256(Context::new(&SHA256)),
                    ChecksumAlgorithm::Sha512 => State::Sha512(Context::new(&SHA512)),
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
                State::Sha256(state) | State::Sha512(state) => state.update(bytes),
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
                State::Sha256(state) => (ChecksumAlgorithm::Sha256, state.finish().as_ref().to_vec()),
                State::Sha512(state) => (ChecksumAlgorithm::Sha512, state.finish().as_ref().to_vec()),
                State::Blake3(state) => (ChecksumAlgorithm::Blake3, state.finalize().as_bytes().to_vec()),
                State::Md5(state) => (ChecksumAlgorithm::Md5, state.finalize().to_vec()),
                State::Sha1(state) => (ChecksumAlgorithm::Sha1, state.finalize().to_vec()),
            })
            .collect()
    }
}

/// Size and digests of a whole file.
///
/// # Errors
/// The file cannot be opened or read, or is no regular file.
pub async fn digest_file(
    path: &Path,
    algorithms: &[ChecksumAlgorithm],
) -> io::Result<(u64, Vec<(ChecksumAlgorithm, Vec<u8>)>)> {
    let (path, mut hasher) = (path.to_owned(), MultiHasher::new(algorithms));
    let read = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut buffer = vec![0; READ_BYTES];
        let mut size = 0;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok((size, hasher.finish())),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    size += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    });
    read.await.map_err(io::Error::other)?
}
