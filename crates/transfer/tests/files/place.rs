//! A folder of a test's own, and mounts that nobody else sees.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use longhaul_contract::{ByteRange, Failure, IfExists, OperationId, RangeSet, Receipt};
use longhaul_transfer::files::{Files, Folder, PartFile, Published, Recovered};
use longhaul_transfer::{JournalError, JournalRecord, Validators};

pub(crate) struct Place {
    _temporary: tempfile::TempDir,
    /// Without symbolic links.
    pub(crate) root: PathBuf,
    pub(crate) files: Files,
    pub(crate) folder: Folder,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        let files = Files::new();
        let folder = files.open_folder(root.to_str().unwrap()).await.unwrap();
        Self { _temporary: temporary, root, files, folder }
    }

    pub(crate) async fn part(&self, name: &str, total: Option<u64>) -> PartFile {
        self.files.create_part(&self.folder, name, new_id(), total).await.unwrap()
    }

    /// A part file that holds `bytes`.
    pub(crate) async fn part_with(&self, name: &str, bytes: &[u8]) -> PartFile {
        let part = self.part(name, Some(bytes.len() as u64)).await;
        put(&part, 0, bytes).await.unwrap();
        part
    }

    pub(crate) async fn publish(
        &self,
        part: PartFile,
        name: &str,
        if_exists: IfExists,
    ) -> Result<Published, Failure> {
        self.files.publish(part, name, if_exists, no_intent).await
    }

    pub(crate) async fn recover(&self, id: OperationId, record: &JournalRecord) -> Recovered {
        self.files.recover(&self.folder, id, record).await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(&self.root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The only part file in the folder.
    pub(crate) fn part_path(&self) -> PathBuf {
        let names: Vec<_> = self.names().into_iter().filter(|name| name.ends_with(".part")).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        self.root.join(&names[0])
    }
}

pub(crate) fn no_intent(_name: String) -> BoxFuture<'static, Result<(), JournalError>> {
    Box::pin(async { Ok(()) })
}

pub(crate) fn new_id() -> OperationId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number.to_le_bytes());
    OperationId::from_parts(number, &random)
}

/// Writes `bytes` at `offset`, in as many buffers as it takes.
pub(crate) async fn put(part: &PartFile, mut offset: u64, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        let mut buffer = part.buffer(offset, bytes.len()).await;
        let count = buffer.put_slice(bytes);
        part.write(offset, buffer).await?;
        offset += count as u64;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Bytes that repeat nowhere near.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn ranges(list: &[(u64, u64)]) -> RangeSet {
    list.iter().map(|(start, end)| ByteRange::from_bounds(*start, *end)).collect()
}

/// What the journal would say of `part`.
pub(crate) fn record(part: &PartFile, durable: RangeSet) -> JournalRecord {
    JournalRecord {
        validators: Validators::default(),
        ranges: durable,
        part: part.identity(),
        name: part.name().to_owned(),
        folder: part.folder().path().to_owned(),
        publish_as: None,
        receipt: Receipt::default(),
        response: None,
        source: None,
        others: Vec::new(),
        seams: Vec::new(),
    }
}

const CHILD: &str = "LONGHAUL_TEST_IN_NAMESPACE";

/// Runs the rest of the test in a process with mounts of its own, which end with it. Returns true in that process;
/// in the first one it waits, fails if the test failed there, and returns false. `test` is the full name of the test.
pub(crate) fn in_own_mounts(test: &str) -> bool {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let status = command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .status()
        .expect("unshare (util-linux) is needed for this test");
    assert!(status.success(), "{test} failed in its own mounts");
    false
}

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("{program} is needed for this test: {error}");
    });
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A tmpfs of `bytes` at `path`, which is made.
pub(crate) fn mount_tmpfs(path: &Path, bytes: u64) {
    std::fs::create_dir_all(path).unwrap();
    run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes},mode=755"), "tmpfs", path.to_str().unwrap()]);
}

/// A file system of `kind` (with `mke2fs` options) in the file `image`, mounted at `path`.
pub(crate) fn mount_image(image: &Path, bytes: u64, options: &[&str], path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::File::create(image).unwrap().set_len(bytes).unwrap();
    let mut arguments = vec!["-q", "-F", "-m", "0"];
    arguments.extend_from_slice(options);
    arguments.push(image.to_str().unwrap());
    run("mke2fs", &arguments);
    run("mount", &["-o", "loop", image.to_str().unwrap(), path.to_str().unwrap()]);
}
