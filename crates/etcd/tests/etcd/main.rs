//! The store on real etcd clusters: the contract that every store keeps, members that die, compaction by several, TLS.

#![allow(clippy::print_stdout)]

// So that the same cases are run against every kind of store.
#[path = "../../../store/tests/it/contract.rs"]
mod contract;
mod tls;

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use knarr_etcd::{Etcd, Options, Tls};
use knarr_store::{Error, Op, Outcome, Store};
use knarr_testkit::{Etcd as Servers, EtcdOptions, etcds, eventually_async};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

fn options(address: &str, tls: Option<Tls>) -> Options {
    Options {
        tls,
        ..Options::of(address.parse().expect("an address"))
    }
}

async fn connect(servers: &Servers<'_>) -> Etcd {
    Etcd::connect(options(&servers.address(), None))
        .await
        .expect("a store")
}

/// Of the newest etcd that is there.
fn newest(members: usize) -> Option<(Servers<'static>, TempDir)> {
    let program = etcds().pop()?;
    let dir = tempfile::tempdir().expect("a directory");
    let options = EtcdOptions::free(program, members).expect("ports");
    let servers = Servers::start(options, dir.path()).expect("etcd");
    servers.wait_listening().expect("etcd listens");
    Some((servers, dir))
}

async fn put(store: &Etcd, key: &str, value: &str) -> Result<u64, Error> {
    match store.commit(Op::put(key, value.to_owned())).await? {
        Outcome::Committed { revision, .. } => Ok(revision),
        conflict => panic!("{conflict:?}"),
    }
}

#[tokio::test]
async fn every_etcd_keeps_the_contract() {
    for program in etcds() {
        println!("etcd {}", program.name);
        let dir = tempfile::tempdir().expect("a directory");
        let options = EtcdOptions::free(program, 1).expect("ports");
        let servers = Servers::start(options, dir.path()).expect("etcd");
        servers.wait_listening().expect("etcd listens");
        contract::check(Arc::new(connect(&servers).await)).await;
    }
}

/// A list is read in pages, and its pages are of one state.
#[tokio::test]
async fn long_ranges_are_of_one_revision() {
    let Some((servers, _dir)) = newest(1) else {
        return;
    };
    let store = connect(&servers).await;
    let keys: Vec<String> = (0..1203).map(|n| format!("/long/{n:05}")).collect();
    let writes = keys.iter().map(|key| put(&store, key, "x"));
    let mut writes = futures::stream::iter(writes).buffer_unordered(64);
    while let Some(write) = writes.next().await {
        write.expect("a write");
    }
    let all = store.range("/long/", None, 0, None).await.expect("a range");
    let found: Vec<&str> = all.kvs.iter().map(|kv| &*kv.key).collect();
    assert_eq!(found, keys);
    assert_eq!((all.more, all.remaining), (false, 0));
    let page = store.range("/long/", Some("/long/00001"), 700, Some(all.revision));
    let page = page.await.expect("a range");
    let first = page.kvs.first().map(|kv| &*kv.key);
    assert_eq!((page.kvs.len(), first), (700, Some("/long/00002")));
    assert_eq!((page.more, page.remaining), (true, 1203 - 2 - 700));
}

/// Whichever member dies, what was acknowledged is there, writes go on, and a watch has no gap.
#[tokio::test]
async fn a_member_that_dies_is_not_missed() {
    let Some((mut servers, _dir)) = newest(3) else {
        return;
    };
    let store = connect(&servers).await;
    let mut watch = store.watch("/k/", 0).await.expect("a watch");
    let mut acknowledged = Vec::new();
    for round in 0..9 {
        if round % 3 == 1 {
            servers.kill_member(round / 3).expect("a member");
        }
        let key = format!("/k/{round}");
        let write = eventually_async(DEADLINE, "a write", async || {
            Ok(put(&store, &key, "x").await?)
        });
        acknowledged.push((key.clone(), write.await.expect("a write")));
        if round % 3 == 2 {
            servers.start_member(round / 3).expect("a member");
            // The others may have had one less, too.
            servers.wait_listening().expect("etcd listens");
        }
    }
    let kvs = store
        .range("/k/", None, 0, None)
        .await
        .expect("a range")
        .kvs;
    assert_eq!(kvs.len(), acknowledged.len());
    for (kv, (key, revision)) in kvs.iter().zip(&acknowledged) {
        // A write that was tried again may have been made before, or after.
        assert!(*kv.key == **key && kv.mod_revision >= *revision, "{kv:?}");
    }
    let last = acknowledged.last().expect("writes").1;
    let mut seen = Vec::new();
    while watch.revision() < last {
        let next = tokio::time::timeout(DEADLINE, watch.next_batch());
        for commit in next.await.expect("in time").expect("a batch").commits {
            let events = commit.events.into_iter().map(|event| event.key.to_string());
            seen.extend(events.map(|key| (key, commit.revision)));
        }
    }
    seen.retain(|seen| acknowledged.contains(seen));
    assert_eq!(seen, acknowledged);
}

/// Nobody is told that a thing is not there, because nobody could be asked.
#[tokio::test]
async fn without_etcd_nothing_is_said_to_be_missing() {
    let Some((mut servers, _dir)) = newest(1) else {
        return;
    };
    let soon = Options {
        deadline: Duration::from_secs(3),
        ..options(&servers.address(), None)
    };
    let store = Etcd::connect(soon.clone()).await.expect("a store");
    let at = put(&store, "/a", "1").await.expect("a write");
    let mut watch = store.watch("/", at).await.expect("a watch");
    servers.kill_member(0).expect("the member");
    let unavailable = |error: &Error| matches!(error, Error::Unavailable { .. });
    let (get, range, revision, write) = tokio::join!(
        store.get("/a", None),
        store.range("/", None, 0, None),
        store.revision(),
        store.commit(Op::update("/a", at, "2")),
    );
    assert!(unavailable(&get.expect_err("no answer")));
    assert!(unavailable(&range.expect_err("no answer")));
    assert!(unavailable(&revision.expect_err("no answer")));
    assert!(unavailable(&write.expect_err("no answer")));
    let nobody = Etcd::connect(soon).await;
    let error = nobody.err().expect("nobody answers").to_string();
    assert!(
        error.starts_with("cannot use etcd at etcd://127.0.0.1:"),
        "{error}"
    );
    servers.start_member(0).expect("the member");
    servers.wait_listening().expect("etcd listens");
    let write = eventually_async(DEADLINE, "a write", async || {
        Ok(put(&store, "/a", "3").await?)
    });
    let again = write.await.expect("a write");
    assert_eq!(again, at + 1, "what nobody answered was not made later");
    for revision in [at, again] {
        let next = tokio::time::timeout(DEADLINE, watch.next());
        let commit = next.await.expect("in time").expect("a commit");
        assert_eq!(commit.revision, revision);
    }
}

#[tokio::test]
async fn one_of_several_servers_compacts() {
    let Some((servers, _dir)) = newest(1) else {
        return;
    };
    let options = Options {
        compaction_interval: Duration::from_millis(100),
        ..options(&servers.address(), None)
    };
    let one = Etcd::connect(options.clone()).await.expect("a store");
    let other = Etcd::connect(options).await.expect("a store");
    let first = put(&one, "/a", "1").await.expect("a write");
    put(&one, "/a", "2").await.expect("a write");
    for store in [&one, &other] {
        eventually_async(DEADLINE, "history goes", async || {
            match store.get("/a", Some(first)).await {
                Err(Error::Compacted { compacted }) if compacted > first => Ok(()),
                other => anyhow::bail!("{other:?}"),
            }
        })
        .await
        .expect("a compaction");
    }
    let kv = other.get("/a", None).await.expect("a read").1;
    assert_eq!(kv.expect("what is current stays").version, 2);
    let watch = other.watch("/a", first).await;
    assert!(matches!(watch.err(), Some(Error::Compacted { .. })));
}
