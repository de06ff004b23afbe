//! Opening a state folder: whose it is, who else uses it, and what to do with a file that cannot be read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use longhaul_store::{GroupStore as _, Opened, Reader as _, Store as _, StoreError};
use rusqlite::Connection;

use crate::samples::{create, id};
use crate::trial::open;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn database(folder: &Path) -> PathBuf {
    folder.join("longhaul.db")
}

/// A database with operations 1 to `count`, closed.
fn filled(folder: &Path, count: u64) {
    let mut opened = open(folder).unwrap();
    let writes: Vec<_> = (1..=count).map(create).collect();
    opened.store.commit(&writes).unwrap();
    opened.store.close().unwrap();
}

/// Opens what is expected to be damaged, and checks that a working store has taken its place.
fn open_anew(folder: &Path) -> (Opened, PathBuf) {
    let mut opened = open(folder).unwrap();
    let notice = opened.notice.clone().expect("the loss is told");
    assert_eq!(opened.store.load().unwrap().rows, []);
    opened.store.commit(&[create(7)]).unwrap();
    assert!(opened.readers.operation(id(7)).unwrap().is_some());
    let moved_to = notice.split_whitespace().find(|word| word.contains(".damaged-")).unwrap();
    (opened, PathBuf::from(moved_to))
}

#[test]
fn only_the_owner_can_look_in() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/state");
    filled(&folder, 1);
    let _opened = open(&folder).unwrap();
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_folder_made_beforehand_is_closed_to_others() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state");
    fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o777);
    drop(open(&folder).unwrap());
    assert_eq!(mode(&folder), 0o700);
    set_mode(&folder, 0o755);
    set_mode(&database(&folder), 0o644);
    drop(open(&folder).unwrap());
    assert_eq!((mode(&folder), mode(&database(&folder))), (0o700, 0o600));
}

#[test]
fn a_folder_with_other_things_in_it_is_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("shared");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("theirs"), "x").unwrap();
    set_mode(&folder, 0o1777);
    assert!(matches!(open(&folder).map(drop), Err(StoreError::UnsafeFolder { .. })));
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o7777, 0o1777);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    set_mode(&folder, 0o755);
    drop(open(&folder).unwrap());
    assert_eq!(mode(&folder), 0o755);
}

#[test]
fn a_file_is_no_state_folder() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(open(&file).is_err());
}

#[test]
fn a_second_service_is_told_who_was_first() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let Err(error) = open(folder.path()).map(drop) else { panic!("both may write") };
    let process = std::process::id();
    let path = folder.path().display().to_string();
    assert_eq!(error, StoreError::InUse { path, holder: Some(process) });
    assert!(error.to_string().contains(&process.to_string()), "{error}");
    drop(first);
    drop(open(folder.path()).unwrap());
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 1);
    let path = database(folder.path());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 4_000).unwrap();
    let before = fs::read(&path).unwrap();
    let Err(error) = open(folder.path()).map(drop) else { panic!("it was opened") };
    let StoreError::NewerFormat { found, known, .. } = error else { panic!("{error}") };
    assert_eq!(found, 4_000);
    assert!(known < found);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_database_is_moved_aside_and_told() {
    for content in ["no database", &"x".repeat(10_000)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(database(folder.path()), content).unwrap();
        let (opened, moved_to) = open_anew(folder.path());
        assert_eq!(fs::read_to_string(moved_to).unwrap(), content);
        drop(opened);
        assert_eq!(open(folder.path()).unwrap().notice, None);
    }
}

#[test]
fn a_database_of_something_else_is_moved_aside_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = Connection::open(database(folder.path())).unwrap();
    theirs.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (5)").unwrap();
    drop(theirs);
    let (_opened, moved_to) = open_anew(folder.path());
    let theirs = Connection::open(moved_to).unwrap();
    assert_eq!(theirs.query_row("SELECT x FROM theirs", [], |row| row.get::<_, i64>(0)).unwrap(), 5);
}

#[test]
fn a_damaged_table_is_found_moved_aside_and_told() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 2_000);
    let path = database(folder.path());
    let root: u32 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'live'", [], |row| row.get(0))
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let begin = usize::try_from(root - 1).unwrap() * 4_096;
    bytes[begin..begin + 2_048].fill(0x5a);
    fs::write(&path, &bytes).unwrap();
    let (_opened, moved_to) = open_anew(folder.path());
    assert_eq!(fs::read(moved_to).unwrap().len(), bytes.len());
}

#[test]
fn a_database_cut_short_is_moved_aside_and_told() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 2_000);
    let path = database(folder.path());
    let length = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(length / 3).unwrap();
    open_anew(folder.path());
}

#[test]
fn a_log_of_commits_goes_aside_with_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    filled(folder.path(), 100);
    let mut opened = open(folder.path()).unwrap();
    opened.store.commit(&[create(101)]).unwrap();
    // As a kill leaves it: the last commit is only in the log.
    fs::copy(folder.path().join("longhaul.db-wal"), copy.path().join("longhaul.db-wal")).unwrap();
    fs::write(database(copy.path()), "damaged beyond repair".repeat(1_000)).unwrap();
    let (_opened, moved_to) = open_anew(copy.path());
    assert!(PathBuf::from(format!("{}-wal", moved_to.display())).exists());
}

#[test]
fn a_torn_end_of_the_log_loses_only_what_was_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path()).unwrap();
    opened.store.commit(&[create(1)]).unwrap();
    let log = folder.path().join("longhaul.db-wal");
    let acknowledged = fs::metadata(&log).unwrap().len();
    opened.store.commit(&[create(2), create(3)]).unwrap();
    let bytes = fs::read(&log).unwrap();
    let begun = fs::read(database(folder.path())).unwrap();
    fs::copy(folder.path().join("longhaul.key"), copy.path().join("longhaul.key")).unwrap();
    let whole = bytes.len();
    for length in (usize::try_from(acknowledged).unwrap()..=whole).step_by(1_000).chain([whole]) {
        fs::write(database(copy.path()), &begun).unwrap();
        fs::write(copy.path().join("longhaul.db-wal"), &bytes[..length]).unwrap();
        let mut opened = open(copy.path()).unwrap();
        assert_eq!(opened.notice, None);
        let rows = opened.store.load().unwrap().rows.len();
        assert_eq!(rows, if length == whole { 3 } else { 1 }, "{length} of {whole}: all or none of a commit");
        drop(opened);
    }
}
