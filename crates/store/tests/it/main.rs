//! The store from outside: the contract that every kind of store keeps, and what only the embedded one can be put
//! through.

#![allow(clippy::print_stdout)]

mod contract;
mod crash;
mod full_disk;
mod model;

use std::sync::Arc;

use knarr_store::{Embedded, Options};

#[tokio::test]
async fn the_embedded_store_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Embedded::open(dir.path(), Options::default()).expect("opens");
    contract::check(Arc::new(store)).await;
}

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    contract::check(Arc::new(knarr_store::Memory::default())).await;
}

/// History comes from the engine instead of from memory; nobody may notice.
#[tokio::test]
async fn the_embedded_store_keeps_the_contract_without_a_ring() {
    let dir = tempfile::tempdir().expect("directory");
    let options = Options {
        ring_commits: 0,
        queue_requests: 1,
        ..Options::default()
    };
    let store = Embedded::open(dir.path(), options).expect("opens");
    contract::check(Arc::new(store)).await;
}
