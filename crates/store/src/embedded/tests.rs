use super::*;
use futures::FutureExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::types::Event;

const DEADLINE: Duration = Duration::from_secs(20);

fn open(dir: &Path, options: Options) -> Embedded {
    Embedded::open(dir, options).expect("opens")
}

fn committed(outcome: Result<Outcome>) -> u64 {
    match outcome {
        Ok(Outcome::Committed { revision, .. }) => revision,
        other => panic!("not committed: {other:?}"),
    }
}

async fn put(store: &Embedded, key: &str, value: &str) -> u64 {
    committed(store.commit(Op::put(key, value.to_owned())).await)
}

fn is_swept(store: &Embedded) -> bool {
    let state = store.shared.state.read();
    state.swept >= state.compacted
}

/// Waits until the compaction's sweep has caught up.
async fn swept(store: &Embedded) {
    let caught_up = async {
        while !is_swept(store) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, caught_up)
        .await
        .expect("the sweep ends");
}

fn rows(store: &Embedded) -> Vec<u64> {
    let disk = store.shared.disk().expect("is open");
    let snapshot = disk.snapshot().expect("snapshot");
    snapshot
        .entries(0..=u64::MAX)
        .expect("rows")
        .map(|entry| entry.expect("row").stamp.revision())
        .collect()
}

#[tokio::test]
async fn a_failed_sync_is_fatal_and_shows_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let fatal: FatalHook = Arc::new(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let store = open(
        dir.path(),
        Options {
            fatal,
            ..Options::default()
        },
    );
    let mut watch = store.watch("", 0).await.expect("watch");
    assert_eq!(put(&store, "/a", "1").await, 2);
    store
        .shared
        .disk()
        .expect("is open")
        .fail_commit
        .store(true, Ordering::SeqCst);
    assert!(matches!(
        store.commit(Op::put("/b", "2")).await,
        Err(Error::Closed)
    ));
    assert!(matches!(
        store.commit(Op::put("/c", "3")).await,
        Err(Error::Closed)
    ));
    assert_eq!(watch.next().await.expect("the durable commit").revision, 2);
    assert!(matches!(watch.next().await, Err(Error::Closed)));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(store.published(), 2);
    drop(store);
    let store = open(dir.path(), Options::default());
    assert_eq!(store.get("/b", None).await.expect("get"), (2, None));
}

/// A crash while the store was made for the first time, at any step.
#[tokio::test]
async fn a_store_half_made_is_made_anew() {
    let torn: [&[(&str, &[u8])]; 4] = [
        &[],
        &[("new/data.mdb", &[0; 8192])],
        &[("new/data.mdb", &[0; 100]), ("new/lock.mdb", &[])],
        &[("lock.mdb", &[0; 100])],
    ];
    for files in torn {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::create_dir(dir.path().join("new")).expect("directory");
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).expect("file");
        }
        let store = open(dir.path(), Options::default());
        assert_eq!(put(&store, "/a", "1").await, 2);
        drop(store);
        assert!(!dir.path().join("new").exists());
        assert_eq!(open(dir.path(), Options::default()).published(), 2);
    }
}

#[tokio::test]
async fn a_full_store_refuses_writes_and_lives() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(
        dir.path(),
        Options {
            max_bytes: 1 << 20,
            ..Options::default()
        },
    );
    let mut full = false;
    for i in 0..64 {
        match store
            .commit(Op::put(format!("/{i}"), vec![7; 64 << 10]))
            .await
        {
            Ok(_) => {}
            Err(Error::Full) => {
                full = true;
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(full, "1 MiB does not hold 4 MiB");
    let (revision, first) = store.get("/0", None).await.expect("reads go on");
    assert_eq!(revision, store.published());
    assert!(first.is_some());
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("made/on/demand");
    let store = open(&path, Options::default());
    assert!(
        matches!(Embedded::open(&path, Options::default()), Err(Error::Locked { path: locked }) if locked == path)
    );
    let mut watch = store.watch("", 0).await.expect("watch");
    store.close();
    assert!(matches!(watch.next().await, Err(Error::Closed)));
    assert!(matches!(store.get("/a", None).await, Err(Error::Closed)));
    // Neither the handle nor the watch keep the directory.
    open(&path, Options::default());
}

#[tokio::test]
async fn a_round_decides_against_its_own_writes() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path(), Options::default());
    let queue = &store.shared.queue;
    let submit = |i: u32| {
        queue
            .submit(Op::create("/a", i.to_string()))
            .now_or_never()
            .expect("there is room")
    };
    let outcomes: Vec<_> = {
        // The writer cannot begin a round while this lock is held: what comes now is decided in one round or two.
        let _lock = store.shared.state.write();
        (0..4).map(|i| submit(i).expect("submitted")).collect()
    };
    let mut seen = Vec::new();
    for outcome in outcomes {
        seen.push(outcome.await.expect("answered").expect("decided"));
    }
    assert_eq!(
        seen[0],
        Outcome::Committed {
            revision: 2,
            previous: None
        }
    );
    for outcome in &seen[1..] {
        let Outcome::Conflict {
            current: Some(current),
            revision: 2,
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((&current.value[..], current.mod_revision), (&b"0"[..], 2));
    }
}

#[tokio::test]
async fn compaction_removes_what_was_superseded() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path(), Options::default());
    for i in 2..=300 {
        assert_eq!(put(&store, &format!("/{}", i % 3), &i.to_string()).await, i);
    }
    assert_eq!(committed(store.commit(Op::delete("/0")).await), 301);
    assert_eq!(put(&store, "/1", "after").await, 302);
    store.compact(301).await.expect("compacts");
    swept(&store).await;
    // 299 = /2, 298 = /1 (still what 301 shows), 302 = the new /1; /0 is gone with its delete.
    assert_eq!(rows(&store), [298, 299, 302]);
    let page = store.range("", None, 0, Some(301)).await.expect("range");
    assert_eq!(
        page.kvs
            .iter()
            .map(|kv| kv.mod_revision)
            .collect::<Vec<_>>(),
        [298, 299]
    );
    let mut watch = store.watch("", 302).await.expect("watch");
    let commit = watch.next().await.expect("commit");
    let [
        Event {
            previous: Some(previous),
            ..
        },
    ] = &commit.events[..]
    else {
        panic!("{commit:?}")
    };
    assert_eq!(previous.mod_revision, 298);
    drop(store);
    let store = open(dir.path(), Options::default());
    assert_eq!((store.published(), store.compacted()), (302, 301));
    assert_eq!(rows(&store), [298, 299, 302]);
}

#[tokio::test]
async fn an_interrupted_sweep_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path(), Options::default());
    for i in 2..=50 {
        put(&store, "/a", &i.to_string()).await;
    }
    store.close();
    // As if the process had died right after the first step of the sweep.
    let disk = Disk::open(dir.path(), 1 << 30).expect("opens");
    let mut txn = disk.begin().expect("begins");
    for revision in 2..10 {
        txn.forget(Stamp::new(revision, false)).expect("forgets");
    }
    txn.set_marks(disk::Marks {
        compacted: 40,
        swept: 10,
    })
    .expect("marks");
    txn.commit().expect("commits");
    drop(disk);
    let store = open(dir.path(), Options::default());
    assert_eq!((store.published(), store.compacted()), (50, 40));
    swept(&store).await;
    assert_eq!(rows(&store), (40..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_revision_outlives_the_last_key() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path(), Options::default());
    put(&store, "/a", "1").await;
    assert_eq!(committed(store.commit(Op::delete("/a")).await), 3);
    store.compact(3).await.expect("compacts");
    swept(&store).await;
    assert!(rows(&store).is_empty());
    drop(store);
    let store = open(dir.path(), Options::default());
    assert_eq!(store.published(), 3);
    assert_eq!(put(&store, "/a", "2").await, 4);
}

#[tokio::test]
async fn a_missing_revision_is_corruption() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path(), Options::default());
    for i in 2..=9 {
        put(&store, "/a", &i.to_string()).await;
    }
    store.close();
    let disk = Disk::open(dir.path(), 1 << 30).expect("opens");
    let mut txn = disk.begin().expect("begins");
    txn.forget(Stamp::new(5, false)).expect("forgets");
    txn.commit().expect("commits");
    drop(disk);
    let error = Embedded::open(dir.path(), Options::default())
        .err()
        .expect("refuses");
    assert_eq!(error.to_string(), "store is corrupt: revision 5 is missing");
}

#[tokio::test]
async fn history_is_compacted_by_itself() {
    let dir = tempfile::tempdir().expect("directory");
    let options = Options {
        compaction_interval: Duration::from_millis(5),
        history_retention: Duration::from_millis(20),
        ..Options::default()
    };
    let store = open(dir.path(), options);
    for i in 2..=20 {
        put(&store, "/a", &i.to_string()).await;
    }
    let all_gone = async {
        while rows(&store) != [20] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, all_gone)
        .await
        .expect("the history goes");
    assert_eq!(store.compacted(), 20);
}

#[tokio::test]
async fn a_watch_from_before_the_ring_replays_history() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(
        dir.path(),
        Options {
            ring_commits: 10,
            ..Options::default()
        },
    );
    for i in 2..=1500 {
        put(
            &store,
            if i % 2 == 0 { "/even" } else { "/odd" },
            &i.to_string(),
        )
        .await;
    }
    for (prefix, step, first) in [("", 1, 2), ("/odd", 2, 3)] {
        let mut watch = store.watch(prefix, 2).await.expect("watch");
        for revision in (first..=1500).step_by(step) {
            let commit = watch.next().await.expect("commit");
            let [event] = &commit.events[..] else {
                panic!("{commit:?}")
            };
            let value = event.value.as_ref().expect("a put");
            assert_eq!(
                (commit.revision, &value.value[..]),
                (revision, revision.to_string().as_bytes())
            );
            let previous = event.previous.as_ref().map_or(0, |kv| kv.mod_revision);
            assert_eq!(previous, if revision > 3 { revision - 2 } else { 0 });
        }
        assert_eq!(watch.revision(), 1500);
    }
}
