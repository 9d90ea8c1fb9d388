//! What every [`Store`] does, checked through the trait only. Each case has a prefix of its own and counts from the
//! revision it finds, so that a store that has seen other things before passes too.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use knarr_store::{Batch, Commit, Error, Event, KeyValue, Op, Outcome, Range, Store, Watch};

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs all cases. The store's history is compacted at the end.
pub async fn check(store: Arc<dyn Store>) {
    let store = &*store;
    changes_count_revisions_and_versions(store).await;
    conflicts_tell_the_current_state(store).await;
    deleting_nothing_changes_nothing(store).await;
    reads_at_a_revision(store).await;
    ranges_page_in_byte_order(store).await;
    watches_have_no_gap_and_no_repeat(store).await;
    watches_wait_for_the_future(store).await;
    watches_tell_progress(store).await;
    writers_race_for_one_key(store).await;
    unusual_keys_and_values(store).await;
    compaction_forgets(store).await;
}

fn committed(outcome: Outcome) -> (u64, Option<KeyValue>) {
    match outcome {
        Outcome::Committed { revision, previous } => (revision, previous),
        Outcome::Conflict { .. } => panic!("{outcome:?}"),
    }
}

async fn commit(store: &dyn Store, op: Op) -> Outcome {
    tokio::time::timeout(DEADLINE, store.commit(op))
        .await
        .expect("in time")
        .expect("commits")
}

async fn put(store: &dyn Store, key: &str, value: &str) -> u64 {
    committed(commit(store, Op::put(key, value.to_owned())).await).0
}

async fn get(store: &dyn Store, key: &str, at: Option<u64>) -> Option<KeyValue> {
    store.get(key, at).await.expect("get").1
}

async fn range(
    store: &dyn Store,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    at: Option<u64>,
) -> Range {
    store.range(prefix, after, limit, at).await.expect("range")
}

async fn newest(store: &dyn Store) -> u64 {
    store.revision().await.expect("a revision")
}

async fn next(watch: &mut Watch) -> Commit {
    tokio::time::timeout(DEADLINE, watch.next())
        .await
        .expect("in time")
        .expect("commit")
}

fn kv(key: &str, value: &str, create: u64, modified: u64, version: u64) -> KeyValue {
    KeyValue {
        key: Arc::from(key),
        value: value.to_owned().into(),
        create_revision: create,
        mod_revision: modified,
        version,
    }
}

fn event(value: Option<KeyValue>, previous: Option<KeyValue>) -> Event {
    let key = value
        .as_ref()
        .or(previous.as_ref())
        .map(|kv| kv.key.clone())
        .expect("a change");
    Event {
        key,
        value,
        previous,
    }
}

async fn changes_count_revisions_and_versions(store: &dyn Store) {
    let start = newest(store).await;
    let key = "/changes/a";
    assert_eq!(
        commit(store, Op::create(key, "1")).await,
        Outcome::Committed {
            revision: start + 1,
            previous: None
        }
    );
    let first = kv(key, "1", start + 1, start + 1, 1);
    assert_eq!(
        store.get(key, None).await.expect("get"),
        (start + 1, Some(first.clone()))
    );
    let second = committed(commit(store, Op::update(key, start + 1, "2")).await);
    assert_eq!(second, (start + 2, Some(first)));
    let third = committed(commit(store, Op::put(key, "2")).await);
    assert_eq!(
        third,
        (start + 3, Some(kv(key, "2", start + 1, start + 2, 2))),
        "the same value is a change too"
    );
    let deleted = committed(commit(store, Op::delete_at(key, start + 3)).await);
    assert_eq!(
        deleted,
        (start + 4, Some(kv(key, "2", start + 1, start + 3, 3)))
    );
    assert_eq!(store.get(key, None).await.expect("get"), (start + 4, None));
    assert_eq!(put(store, key, "3").await, start + 5);
    assert_eq!(
        get(store, key, None).await,
        Some(kv(key, "3", start + 5, start + 5, 1)),
        "a new life"
    );
    assert_eq!(newest(store).await, start + 5);
}

async fn conflicts_tell_the_current_state(store: &dyn Store) {
    let key = "/conflicts/a";
    let absent = commit(store, Op::update(key, 1, "x")).await;
    assert_eq!(
        absent,
        Outcome::Conflict {
            current: None,
            revision: newest(store).await
        }
    );
    assert_eq!(commit(store, Op::delete_at(key, 1)).await, absent);
    let at = put(store, key, "1").await;
    let current = Some(kv(key, "1", at, at, 1));
    let conflict = Outcome::Conflict {
        current,
        revision: at,
    };
    for op in [
        Op::create(key, "x"),
        Op::update(key, 0, "x"),
        Op::update(key, at - 1, "x"),
        Op::update(key, at + 1, "x"),
        Op::delete_at(key, at + 1),
    ] {
        assert_eq!(commit(store, op.clone()).await, conflict, "{op:?}");
    }
    assert_eq!(newest(store).await, at, "a conflict takes no revision");
    committed(commit(store, Op::delete(key)).await);
    assert_eq!(
        committed(commit(store, Op::update(key, 0, "2")).await),
        (at + 2, None),
        "0 is absent"
    );
}

async fn deleting_nothing_changes_nothing(store: &dyn Store) {
    let revision = newest(store).await;
    let outcome = commit(store, Op::delete("/nothing/a")).await;
    assert_eq!(
        outcome,
        Outcome::Committed {
            revision,
            previous: None
        }
    );
    assert_eq!(newest(store).await, revision);
}

async fn reads_at_a_revision(store: &dyn Store) {
    let key = "/reads/a";
    let first = put(store, key, "1").await;
    let second = put(store, key, "2").await;
    let gone = committed(commit(store, Op::delete(key)).await).0;
    let again = put(store, key, "3").await;
    assert_eq!(get(store, key, Some(first - 1)).await, None);
    assert_eq!(
        get(store, key, Some(first)).await,
        Some(kv(key, "1", first, first, 1))
    );
    assert_eq!(
        get(store, key, Some(second)).await,
        Some(kv(key, "2", first, second, 2))
    );
    assert_eq!(get(store, key, Some(gone)).await, None);
    assert_eq!(
        get(store, key, Some(0)).await,
        Some(kv(key, "3", again, again, 1)),
        "0 is now"
    );
    let old = range(store, "/reads/", None, 0, Some(second)).await;
    assert_eq!(
        (old.revision, old.kvs),
        (again, vec![kv(key, "2", first, second, 2)])
    );
    assert_eq!(range(store, "/reads/", None, 0, Some(gone)).await.kvs, []);
    let future = store.get(key, Some(again + 1)).await;
    assert!(
        matches!(future, Err(Error::Future { current }) if current == again),
        "{future:?}"
    );
    let future = store.range(key, None, 0, Some(again + 1)).await;
    assert!(
        matches!(future, Err(Error::Future { current }) if current == again),
        "{future:?}"
    );
}

async fn ranges_page_in_byte_order(store: &dyn Store) {
    let mut names: Vec<String> = (0..25).map(|i| format!("/pages/{}/{i}", i % 2)).collect();
    for name in &names {
        put(store, name, "x").await;
    }
    put(store, "/pages", "beside").await;
    put(store, "/pages0", "beside").await;
    names.sort();
    let at = newest(store).await;
    // What comes later must not show on later pages.
    put(store, "/pages/0/05", "x").await;
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = range(store, "/pages/", after.as_deref(), 10, Some(at)).await;
        seen.extend(page.kvs.iter().map(|kv| kv.key.to_string()));
        assert_eq!(page.remaining as usize, names.len() - seen.len());
        assert_eq!(page.more, page.remaining > 0);
        after = seen.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, names);
    assert_eq!(range(store, "/pages/1/", None, 0, None).await.kvs.len(), 12);
    assert_eq!(
        range(store, "/pages/1/", Some("/pages/0/4"), 0, None)
            .await
            .kvs
            .len(),
        12
    );
    assert_eq!(
        range(store, "/pages/0/", Some("/pages/1/"), 0, None)
            .await
            .kvs,
        []
    );
    assert_eq!(range(store, "/pages/none/", None, 5, None).await.kvs, []);
}

async fn watches_have_no_gap_and_no_repeat(store: &dyn Store) {
    let start = newest(store).await;
    let mut early = store.watch("/watch/a/", start + 1).await.expect("watch");
    let a = put(store, "/watch/a/1", "1").await;
    let b = put(store, "/watch/b/1", "1").await;
    let c = put(store, "/watch/a/1", "2").await;
    let d = committed(commit(store, Op::delete("/watch/a/1")).await).0;
    assert_eq!((a, b, c, d), (start + 1, start + 2, start + 3, start + 4));
    let (one, two) = (
        kv("/watch/a/1", "1", a, a, 1),
        kv("/watch/a/1", "2", a, c, 2),
    );
    let all = [
        Commit {
            revision: a,
            events: vec![event(Some(one.clone()), None)],
        },
        Commit {
            revision: c,
            events: vec![event(Some(two.clone()), Some(one.clone()))],
        },
        Commit {
            revision: d,
            events: vec![event(None, Some(two.clone()))],
        },
    ];
    for commit in &all {
        assert_eq!(next(&mut early).await, *commit);
    }
    for (from, expected) in [
        (a, &all[..]),
        (b, &all[1..]),
        (c, &all[1..]),
        (d, &all[2..]),
    ] {
        let mut late = store.watch("/watch/a/", from).await.expect("watch");
        for commit in expected {
            assert_eq!(next(&mut late).await, *commit, "from {from}");
        }
    }
}

async fn watches_wait_for_the_future(store: &dyn Store) {
    let now = newest(store).await;
    let mut from_now = store.watch("/future/", 0).await.expect("watch");
    let mut from_later = store.watch("/future/", now + 2).await.expect("watch");
    put(store, "/future/a", "1").await;
    put(store, "/future/a", "2").await;
    assert_eq!(next(&mut from_now).await.revision, now + 1);
    assert_eq!(next(&mut from_later).await.revision, now + 2);
}

async fn watches_tell_progress(store: &dyn Store) {
    let mut watch = store.watch("/progress/", 0).await.expect("watch");
    put(store, "/progress/a", "1").await;
    let beside = put(store, "/beside/a", "1").await;
    let reached = async {
        let mut commits = Vec::new();
        while watch.revision() < beside {
            let Batch {
                commits: more,
                revision,
            } = watch.next_batch().await.expect("batch");
            assert_eq!(revision, watch.revision());
            commits.extend(more);
        }
        commits
    };
    let commits = tokio::time::timeout(DEADLINE, reached)
        .await
        .expect("progress");
    assert_eq!(
        commits
            .iter()
            .map(|commit| commit.revision)
            .collect::<Vec<_>>(),
        [beside - 1]
    );
}

async fn writers_race_for_one_key(store: &dyn Store) {
    let key = "/race/a";
    let start = put(store, key, "0").await;
    let outcomes =
        join_all((0..50).map(|i| commit(store, Op::update(key, start, i.to_string())))).await;
    let won: Vec<u64> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Committed { revision, .. } => Some(*revision),
            Outcome::Conflict { current, revision } => {
                assert_eq!(current.as_ref().map(|kv| kv.mod_revision), Some(start + 1));
                assert_eq!(*revision, start + 1);
                None
            }
        })
        .collect();
    assert_eq!(won, [start + 1]);
    let created =
        join_all((0..50).map(|i| commit(store, Op::create(format!("/race/b/{i}"), "x")))).await;
    let mut revisions: Vec<u64> = created
        .into_iter()
        .map(|outcome| committed(outcome).0)
        .collect();
    revisions.sort_unstable();
    assert_eq!(
        revisions,
        (start + 2..start + 52).collect::<Vec<_>>(),
        "each commit has its own revision"
    );
    let mut watch = store.watch("/race/b/", start).await.expect("watch");
    for revision in revisions {
        assert_eq!(next(&mut watch).await.revision, revision);
    }
}

async fn unusual_keys_and_values(store: &dyn Store) {
    let long = format!("/unusual/{}", "k".repeat(3000));
    let large = vec![42; 1 << 20];
    for (key, value) in [
        ("/unusual/empty", vec![]),
        (&long, vec![0, 255]),
        ("/unusual/\u{1F6A2}", large),
    ] {
        committed(commit(store, Op::put(key, value.clone())).await);
        assert_eq!(
            get(store, key, None).await.map(|kv| kv.value.to_vec()),
            Some(value)
        );
    }
    let keys = range(store, "/unusual/", None, 0, None).await.kvs;
    assert_eq!(keys.len(), 3);
}

async fn compaction_forgets(store: &dyn Store) {
    let key = "/compaction/a";
    let first = put(store, key, "1").await;
    let second = put(store, key, "2").await;
    let third = put(store, key, "3").await;
    let mut behind = store.watch("/compaction/", first).await.expect("watch");
    store.compact(second).await.expect("compacts");
    assert_eq!(store.compacted(), second);
    let is_compacted =
        |error: Error| matches!(error, Error::Compacted { compacted } if compacted == second);
    assert!(is_compacted(
        store.get(key, Some(first)).await.expect_err("is gone")
    ));
    assert!(is_compacted(
        store
            .range(key, None, 0, Some(first))
            .await
            .expect_err("is gone")
    ));
    assert!(is_compacted(
        store.watch(key, first).await.err().expect("is gone")
    ));
    assert!(is_compacted(
        store.compact(first).await.expect_err("is done")
    ));
    assert!(
        matches!(store.compact(third + 1).await, Err(Error::Future { current }) if current == third)
    );
    assert_eq!(
        get(store, key, Some(second)).await,
        Some(kv(key, "2", first, second, 2))
    );
    let mut watch = store.watch("/compaction/", third).await.expect("watch");
    let (two, three) = (
        kv(key, "2", first, second, 2),
        kv(key, "3", first, third, 3),
    );
    let change = Commit {
        revision: third,
        events: vec![event(Some(three), Some(two))],
    };
    assert_eq!(next(&mut watch).await, change);
    // A watch that was opened in time may have read ahead; if not, it is told.
    match tokio::time::timeout(DEADLINE, behind.next())
        .await
        .expect("in time")
    {
        Ok(commit) => assert_eq!(commit.revision, first),
        Err(error) => assert!(is_compacted(error)),
    }
    assert_eq!(
        range(store, "/changes/", None, 0, None).await.kvs.len(),
        1,
        "what is current stays"
    );
}
