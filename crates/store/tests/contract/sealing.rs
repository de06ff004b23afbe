//! What lies in the files of a state folder, and with which keys it opens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use longhaul_contract::{Credential, RequestHeader, Secret, Spec};
use longhaul_store::{Keys, Opened, Reader as _, Store as _, StoreError, Write, rotate_key};

use crate::samples::{created, id, journal, row, spec};
use crate::trial::open;

const SECRETS: [&str; 4] = ["pass-phrase-7461", "header-9917", "signed-query-3310", "journal-token-5521"];

fn secret_writes() -> Vec<Write> {
    let mut spec = spec(1);
    spec.requested_uri = format!("https://example.com/f?signature={}", SECRETS[2]);
    spec.server_credential =
        Some(Credential { user: "someone".to_owned(), password: Secret::new(SECRETS[0]) });
    spec.request_headers =
        vec![RequestHeader { name: "X-Api-Key".to_owned(), value: Secret::new(SECRETS[1]) }];
    vec![created(row(1), spec), journal(1, 5, SECRETS[3].as_bytes())]
}

fn key_file(folder: &Path) -> PathBuf {
    folder.join("longhaul.key")
}

/// Which secrets can be read in which files of the folder.
fn legible(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let is_in = |secret: &&&str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        found.extend(SECRETS.iter().filter(is_in).map(|secret| (path.clone(), *secret)));
    }
    found
}

#[track_caller]
fn assert_is_read(opened: &Opened) {
    let stored = opened.readers.operation(id(1)).unwrap().unwrap();
    let Spec::Download(spec) = stored.spec else { panic!("{:?}", stored.spec) };
    assert_eq!(spec.server_credential.as_ref().unwrap().password.reveal(), SECRETS[0]);
    assert_eq!(opened.readers.journal(id(1)).unwrap().unwrap(), SECRETS[3].as_bytes());
}

fn given(text: &str) -> Keys {
    Keys::Given { text: text.to_owned(), from: "the keeper".to_owned() }
}

#[track_caller]
fn refusal(folder: &Path, keys: &Keys) -> StoreError {
    match longhaul_store::open(folder, keys) {
        Err(error) => error,
        Ok(_) => panic!("it was opened"),
    }
}

#[test]
fn no_file_shows_what_is_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path()).unwrap();
    opened.store.commit(&secret_writes()).unwrap();
    assert!(folder.path().join("longhaul.db-wal").metadata().unwrap().len() > 0);
    assert_eq!(legible(folder.path()), []);
    let mode = fs::metadata(key_file(folder.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(opened);
    assert_eq!(legible(folder.path()), []);
    assert_is_read(&open(folder.path()).unwrap());
}

#[test]
fn an_older_database_keeps_nothing_legible_but_its_backup() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/format-4.db");
    let words = b"\"requestedUri\"";
    let is_legible = |path: &Path| fs::read(path).unwrap().windows(words.len()).any(|window| window == words);
    assert!(is_legible(&kept));
    fs::copy(kept, folder.path().join("longhaul.db")).unwrap();
    drop(open(folder.path()).unwrap());
    assert!(!is_legible(&folder.path().join("longhaul.db")));
    assert!(is_legible(&folder.path().join("longhaul.db.format-4")));
}

#[test]
fn a_new_key_takes_over_and_the_old_one_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path()).unwrap();
    opened.store.commit(&secret_writes()).unwrap();
    drop(opened);
    let old = fs::read_to_string(key_file(folder.path())).unwrap();
    rotate_key(folder.path()).unwrap();
    let both = fs::read_to_string(key_file(folder.path())).unwrap();
    assert!(both.ends_with(&old) && both.lines().count() == 2, "the old key opens until all is sealed anew");
    assert_is_read(&open(folder.path()).unwrap());
    let new = fs::read_to_string(key_file(folder.path())).unwrap();
    assert_eq!(new.lines().collect::<Vec<_>>(), [both.lines().next().unwrap()]);
    assert_is_read(&open(folder.path()).unwrap());
    // The old key opens nothing any more.
    fs::write(key_file(folder.path()), old).unwrap();
    assert!(matches!(refusal(folder.path(), &Keys::InFolder), StoreError::KeyMissing { .. }));
}

#[test]
fn a_lost_key_is_reported_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path()).unwrap();
    opened.store.commit(&secret_writes()).unwrap();
    drop(opened);
    let key = fs::read(key_file(folder.path())).unwrap();
    fs::remove_file(key_file(folder.path())).unwrap();
    let message = refusal(folder.path(), &Keys::InFolder).to_string();
    assert!(message.contains("longhaul.key") && message.contains("put that key back"), "{message}");
    assert!(!key_file(folder.path()).exists());
    fs::write(key_file(folder.path()), key).unwrap();
    let message = refusal(folder.path(), &Keys::InFolder).to_string();
    assert!(message.contains("chmod 600"), "{message}");
    fs::set_permissions(key_file(folder.path()), fs::Permissions::from_mode(0o600)).unwrap();
    assert_is_read(&open(folder.path()).unwrap());
}

#[test]
fn given_keys_take_over_from_those_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path()).unwrap();
    opened.store.commit(&secret_writes()).unwrap();
    drop(opened);
    let (first, second) = ("ab".repeat(32), "cd".repeat(32));
    assert_is_read(&longhaul_store::open(folder.path(), &given(&first)).unwrap());
    assert!(!key_file(folder.path()).exists());
    assert!(matches!(rotate_key(folder.path()), Err(StoreError::UnusableKey { .. })));
    let message = refusal(folder.path(), &given(&second)).to_string();
    assert!(message.contains("the keeper"), "{message}");
    assert_is_read(&longhaul_store::open(folder.path(), &given(&format!("{second}\n{first}\n"))).unwrap());
    assert_is_read(&longhaul_store::open(folder.path(), &given(&second)).unwrap());
}

#[test]
fn what_is_no_key_is_told_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, problem) in [("", "holds no key"), ("\nabc\n", "line 2"), (&"zz".repeat(32), "line 1")] {
        let message = refusal(folder.path(), &given(text)).to_string();
        assert!(message.contains(problem) && !message.contains("zz"), "{message}");
    }
}
