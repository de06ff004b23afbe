//! What the store in memory does beyond the contract: failing and crashing on demand.

use longhaul_engine::Change;
use longhaul_store::{GroupStore as _, Loaded, MemoryStore, Reader as _, Store as _, StoreError, Write};

use crate::samples::{create, id, time};

fn start(number: u64) -> Write {
    Write::Change(Change::Started { id: id(number), time: time(1) })
}

fn started(store: &MemoryStore, number: u64) -> bool {
    store.reader().operation(id(number)).unwrap().unwrap().started.is_some()
}

#[test]
fn a_crash_takes_what_no_durable_write_followed() {
    let mut store = MemoryStore::new();
    store.commit(&[create(1), create(2)]).unwrap();
    store.commit(&[start(1)]).unwrap();
    assert!(started(&store, 1));
    assert!(!started(&store.crash(), 1));

    let mut store = MemoryStore::new();
    store.commit(&[create(1)]).unwrap();
    store.commit(&[start(1)]).unwrap();
    store.commit(&[create(2)]).unwrap();
    store.commit(&[start(2)]).unwrap();
    let survivor = store.crash();
    assert!(started(&survivor, 1));
    assert!(!started(&survivor, 2));
}

#[test]
fn closing_makes_everything_durable() {
    let mut store = MemoryStore::new();
    store.commit(&[create(1)]).unwrap();
    store.commit(&[start(1)]).unwrap();
    store.close().unwrap();
    assert!(started(&store.crash(), 1));
}

#[test]
fn a_crashed_store_takes_nothing_and_its_survivor_goes_on() {
    let mut store = MemoryStore::new();
    store.commit(&[create(1)]).unwrap();
    let mut survivor = store.crash();
    assert_eq!(store.commit(&[create(2)]), Err(StoreError::Closed));
    survivor.commit(&[create(2)]).unwrap();
    assert_eq!(survivor.load().unwrap().rows.len(), 2);
}

#[test]
fn a_failed_commit_keeps_nothing() {
    let mut store = MemoryStore::new();
    let full = StoreError::CannotWrite("no space".to_owned());
    store.fail_next(full.clone());
    store.fail_next(StoreError::CannotWrite("still none".to_owned()));
    assert_eq!(store.commit(&[create(1)]), Err(full));
    assert!(store.commit(&[create(1)]).is_err());
    assert_eq!(store.load().unwrap(), Loaded::default());
    store.commit(&[create(1)]).unwrap();
    assert_eq!(store.load().unwrap().rows.len(), 1);
}
