//! A process that commits is killed at random moments: everything it was told is kept.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use longhaul_store::{Reader as _, Store as _, Writer};
use rand::{Rng as _, SeedableRng as _};

use crate::samples::{create, id, journal};
use crate::trial::open;

const FOLDER: &str = "LONGHAUL_STORE_KILL_FOLDER";
const FIRST: &str = "LONGHAUL_STORE_KILL_FIRST";
const ROUNDS: u64 = 8;

#[test]
#[ignore = "runs as the child process of fault_097_kill_at_any_instant"]
fn child_that_commits_until_it_is_killed() {
    let folder = std::env::var(FOLDER).expect("the parent names the folder");
    let first: u64 = std::env::var(FIRST).expect("the parent names the first number").parse().unwrap();
    let writer = Writer::start(open(Path::new(&folder)).unwrap().store).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let writer = writer.clone();
            scope.spawn(move || {
                for number in (first + thread..).step_by(4) {
                    let creation = writer.submit(vec![create(number)]);
                    let records = journal(number, number, &number.to_be_bytes());
                    let record = writer.submit(vec![records]);
                    creation.wait().unwrap();
                    println!("created {number}");
                    record.wait().unwrap();
                    println!("recorded {number}");
                }
            });
        }
    });
}

/// Starts the child, reads `count` lines of it, kills it, and returns all it said.
fn run_and_kill(folder: &Path, first: u64, count: usize) -> Vec<(String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_commits_until_it_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    // The pipe ends when the child does; what it wrote before is still read.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some((what, number)) = line.unwrap().split_once(' ')
            && let Ok(number) = number.parse()
        {
            said.push((what.to_owned(), number));
        }
        if said.len() == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(said.len() >= count, "the child ended by itself after {} lines", said.len());
    said
}

#[test]
fn fault_097_kill_at_any_instant() {
    let folder = tempfile::tempdir().unwrap();
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut said = Vec::new();
    for round in 0..ROUNDS {
        said.extend(run_and_kill(folder.path(), 1 + round * 1_000_000, random.random_range(1..300)));
        let mut opened = open(folder.path()).unwrap();
        assert_eq!(opened.notice, None);
        let rows = opened.store.load().unwrap().rows;
        for (what, number) in &said {
            assert!(rows.iter().any(|row| row.id == id(*number)), "{number} was created (seed {seed})");
            if what == "recorded" {
                let record = opened.readers.journal(id(*number)).unwrap();
                assert_eq!(record.as_deref(), Some(number.to_be_bytes().as_slice()), "seed {seed}");
            }
        }
    }
}
