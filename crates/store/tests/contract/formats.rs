//! Databases of all formats that were ever in use are kept in `tests/formats`, and today's code reads them.

use std::path::{Path, PathBuf};

use longhaul_engine::Change;
use longhaul_engine::task::{TaskChange, TaskState};
use longhaul_store::{Keys, Store as _, Write};
use rusqlite::Connection;

use crate::equality::{drawn_completion_write, drawn_task_write, drawn_upload_write, drawn_write, told};
use crate::trial::{Boxed, MemoryTrial, SqliteTrial, open};

/// What was written into the database of each format, oldest first.
const CONTENTS: &[fn() -> Vec<Write>] = &[contents_1, contents_2, contents_3, contents_4, contents_5];

fn contents_1() -> Vec<Write> {
    let mut writes = Vec::new();
    for number in 1..=4 {
        writes.push((0, number, 0, 3 * u8::try_from(number).unwrap()));
    }
    for kind in 3..=17 {
        for number in 1..=4 {
            let is_ended = kind == 11 || kind == 12 || kind == 13;
            if !is_ended || number > 2 {
                writes.push((kind, number, i64::from(kind), kind % 12));
            }
        }
    }
    // Operation 4 was removed and operation 3 begins again.
    writes.extend([(0, 3, 20, 7), (4, 3, 20, 7), (0, 4, 20, 8), (11, 4, 25, 4), (5, 4, 26, 1)]);
    writes.into_iter().map(drawn_write).collect()
}

fn contents_2() -> Vec<Write> {
    let mut writes = contents_1();
    for (kind, number) in [(0, 1), (0, 2), (0, 3), (0, 4), (2, 1), (4, 1), (4, 2), (6, 1), (7, 2), (8, 1)] {
        writes.push(in_format_2(drawn_task_write((kind, number, 5, 1))));
    }
    for drawn in [(8, 2, 5, 2), (9, 1, 5, 1), (10, 1, 5, 1), (3, 4, 5, 1), (5, 1, 9, 2)] {
        writes.push(in_format_2(drawn_task_write(drawn)));
    }
    writes
}

/// Without what firings and instances did not say then.
fn in_format_2(mut write: Write) -> Write {
    if let Write::Change(Change::Task(change)) = &mut write {
        match change {
            TaskChange::Updated { row } => {
                let TaskState { latch, running, .. } = &mut row.state;
                let firings = latch.iter_mut().chain(running.iter_mut().map(|run| &mut run.firing));
                firings.for_each(|firing| firing.expires = None);
            }
            TaskChange::Instance { instance, .. } => {
                instance.ran_out_of_memory = false;
                instance.limits.clear();
                instance.keep_awake = None;
            }
            _ => {}
        }
    }
    write
}

fn contents_3() -> Vec<Write> {
    let mut writes = contents_2();
    let uploads = [(0, 1, 0, 1), (0, 2, 0, 2), (0, 3, 0, 3), (1, 1, 1, 3), (1, 2, 2, 7), (3, 2, 9, 3)];
    writes.extend(uploads.map(drawn_upload_write));
    for drawn in [(4, 1, 30, 3), (4, 1, 30, 4), (4, 1, 31, 8), (1, 1, 32, 7), (1, 2, 32, 4), (2, 2, 33, 9)] {
        writes.push(drawn_completion_write(drawn));
    }
    writes.extend([(2, 1, 40, 1), (4, 3, 40, 4)].map(drawn_task_write));
    writes
}

fn contents_4() -> Vec<Write> {
    let mut writes = contents_3();
    writes.extend([(6, 2, 41, 1), (3, 2, 42, 2), (3, 3, 43, 5), (4, 1, 44, 5)].map(drawn_task_write));
    writes
}

/// The same as before; what may hold secrets is sealed now.
fn contents_5() -> Vec<Write> {
    contents_4()
}

/// With this the kept databases are sealed that are.
fn keys() -> Keys {
    Keys::Given { text: "01".repeat(32), from: "the test".to_owned() }
}

fn kept(format: usize) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/format-{format}.db"))
}

fn schema(database: &Path) -> Vec<(String, Option<String>)> {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
#[ignore = "makes the file of a new format; run it once, before the format is released"]
fn keep_the_newest_format() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = longhaul_store::open(folder.path(), &keys()).unwrap();
    opened.store.commit(&CONTENTS.last().unwrap()()).unwrap();
    drop(opened);
    let path = kept(CONTENTS.len());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let connection = Connection::open(folder.path().join("longhaul.db")).unwrap();
    if path.exists() {
        std::fs::remove_file(&path).unwrap();
    }
    connection.execute("VACUUM INTO ?", [path.to_str().unwrap()]).unwrap();
}

#[test]
fn every_format_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let database = folder.path().join("longhaul.db");
    let newest: usize = Connection::open(&database)
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0).map(|format: u32| format as usize))
        .unwrap();
    assert_eq!(newest, CONTENTS.len(), "each format has its contents here and its file in tests/formats");
    assert_eq!(
        schema(&kept(newest)),
        schema(&database),
        "the newest format is not what its file was made with"
    );
}

#[test]
fn every_format_is_read() {
    for (format, contents) in (1..).zip(CONTENTS) {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::copy(kept(format), state.join("longhaul.db")).unwrap();
        let mut sqlite: Boxed = SqliteTrial::open_with(folder, &keys());
        let mut memory = MemoryTrial::begin();
        memory.store().commit(&contents()).unwrap();
        let expected = told(&mut memory);
        assert_eq!(told(&mut sqlite), expected, "format {format}");
        let ended = if format < 3 { 1 } else { 2 };
        assert!(expected.loaded.rows.len() > 1 && expected.lists[4].len() == ended, "{expected:#?}");
        assert_eq!(expected.tasks.len(), [0, 3, 3, 1, 1][format - 1], "format {format}");
        for trial in [&mut sqlite, &mut memory] {
            trial.store().commit(&[crate::samples::create(9)]).unwrap();
        }
        assert_eq!(told(&mut sqlite), told(&mut memory), "format {format} can be written");
    }
}
