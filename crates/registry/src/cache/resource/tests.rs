use knarr_auth::request::Selectors;
use serde_json::json;

use super::*;
use crate::cache::entry::encode;

fn pods() -> &'static Arc<Kind> {
    knarr_api::built_in("", "v1", "pods").expect("a core kind")
}

fn pod(key: &str, revision: u64, node: &str) -> Arc<Entry> {
    let (namespace, name) = key.split_once('/').expect("a namespaced key");
    let tree = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"nodeName": node},
    });
    Arc::new(Entry::new(pods(), key.into(), revision, encode(&tree)).expect("an object"))
}

/// Pods n/a, n/b, n/c, o/d at revision 10.
fn cache() -> ResourceCache {
    let entries = ["n/a", "n/b", "n/c", "o/d"]
        .map(|key| pod(key, 5, "node1"))
        .to_vec();
    let published = Arc::new(AtomicU64::new(10));
    let ring = Ring::new(10, crate::cache::ring::RING_EVENTS);
    let prefix = "/registry/pods/".into();
    let ended = CancellationToken::new();
    ResourceCache::new(pods().clone(), prefix, published, ring, entries, ended)
}

fn filter(namespace: &str, fields: &str) -> Filter {
    Filter::new(
        pods(),
        namespace,
        &Selectors::parse("", fields).expect("selectors"),
    )
    .expect("a filter")
}

fn keys(slice: &Slice) -> Vec<&str> {
    slice.entries.iter().map(|e| &*e.key).collect()
}

const ALL: Page<'static> = Page {
    start: None,
    limit: 0,
};

#[test]
fn lists_pages_in_key_order() {
    let cache = cache();
    let slice = cache.list(
        &filter("n", ""),
        Page {
            start: None,
            limit: 2,
        },
    );
    assert_eq!(
        (keys(&slice), slice.more, slice.remaining, slice.revision),
        (vec!["n/a", "n/b"], true, Some(1), 10)
    );
    let slice = cache.list(
        &filter("", ""),
        Page {
            start: Some("n/a"),
            limit: 2,
        },
    );
    assert_eq!(
        (keys(&slice), slice.more, slice.remaining),
        (vec!["n/b", "n/c"], true, Some(1))
    );
    let slice = cache.list(
        &filter("n", ""),
        Page {
            start: Some("n/b"),
            limit: 2,
        },
    );
    assert_eq!(
        (keys(&slice), slice.more, slice.remaining),
        (vec!["n/c"], false, None)
    );
    let slice = cache.list(
        &filter("n", "spec.nodeName=node1"),
        Page {
            start: None,
            limit: 2,
        },
    );
    assert_eq!(
        (keys(&slice), slice.more, slice.remaining),
        (vec!["n/a", "n/b"], true, None)
    );
    // What follows is not selected, which only the next page finds out.
    let page = Page {
        start: None,
        limit: 2,
    };
    let slice = cache.list(&filter("n", "metadata.name!=c"), page);
    assert_eq!((keys(&slice), slice.more), (vec!["n/a", "n/b"], true));
    let slice = cache.list(&filter("n", "metadata.name!=b"), page);
    assert_eq!((keys(&slice), slice.more), (vec!["n/a", "n/c"], false));
}

#[test]
fn goes_back_to_any_revision_in_the_ring() {
    let cache = cache();
    cache.apply("n/b", 11, None);
    cache.apply("n/bb", 12, Some(pod("n/bb", 12, "")));
    cache.apply("n/bb", 13, Some(pod("n/bb", 13, "node2")));
    cache.apply("n/a", 14, Some(pod("n/a", 14, "node1")));
    cache.apply("n/bb", 15, None);
    let at = |revision| {
        let slice = cache
            .list_at(&filter("n", ""), ALL, revision)
            .expect("in the ring");
        assert_eq!(slice.revision, revision);
        slice
            .entries
            .iter()
            .map(|e| format!("{}@{}", e.key, e.revision))
            .collect::<Vec<_>>()
    };
    assert_eq!(at(10), ["n/a@5", "n/b@5", "n/c@5"]);
    assert_eq!(at(11), ["n/a@5", "n/c@5"]);
    assert_eq!(at(12), ["n/a@5", "n/bb@12", "n/c@5"]);
    assert_eq!(at(13), ["n/a@5", "n/bb@13", "n/c@5"]);
    assert_eq!(at(14), ["n/a@14", "n/bb@13", "n/c@5"]);
    assert_eq!(at(15), ["n/a@14", "n/c@5"]);
    assert!(cache.list_at(&filter("n", ""), ALL, 9).is_none());
    let page = Page {
        start: Some("n/a"),
        limit: 1,
    };
    let slice = cache
        .list_at(&filter("n", ""), page, 10)
        .expect("in the ring");
    assert_eq!(
        (keys(&slice), slice.more, slice.remaining),
        (vec!["n/b"], true, Some(1))
    );
}

#[test]
fn reads_are_consistent_with_what_was_applied() {
    let cache = cache();
    cache.apply("n/x", 12, Some(pod("n/x", 12, "")));
    // Published says 10 still: the list shows revision 12, so it must say so.
    assert_eq!(cache.list(&filter("", ""), ALL).revision, 12);
    assert_eq!(
        (cache.revision(), cache.last_change(), cache.len()),
        (12, 12, 5)
    );
    cache.apply("n/nope", 13, None);
    assert_eq!(cache.revision(), 13);
}

#[test]
fn keeps_its_index_of_nodes() {
    let cache = cache();
    cache.apply("n/a", 11, Some(pod("n/a", 11, "node2")));
    cache.apply("n/b", 12, None);
    let on = |node: &str| {
        let entries = cache.by_field(node).expect("pods are indexed by node");
        entries
            .iter()
            .map(|e| e.key.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (on("node1"), on("node2"), on("")),
        (vec!["n/c".into(), "o/d".into()], vec!["n/a".into()], vec![])
    );
    let slice = cache.list(&filter("", "spec.nodeName=node1"), ALL);
    assert_eq!(keys(&slice), ["n/c", "o/d"]);
}

#[test]
fn wakes_only_whom_it_concerns() {
    let cache = cache();
    let watch = |namespace: &str, fields: &str| {
        let registration = cache.routes.add(filter(namespace, fields).route(pods()));
        // The first look.
        assert!(registration.slot.take().is_some());
        registration
    };
    let all = watch("", "");
    let n = watch("n", "");
    let o = watch("o", "");
    let a = watch("n", "metadata.name=a");
    let node1 = watch("", "spec.nodeName=node1");
    let node2 = watch("", "spec.nodeName=node2");
    let node3 = watch("", "spec.nodeName=node3");
    cache.apply("n/a", 11, Some(pod("n/a", 11, "node2")));
    let woken = [&all, &n, &o, &a, &node1, &node2, &node3]
        .map(|r| r.slot.take().map(|first| first.revision));
    assert_eq!(
        woken,
        [Some(11), Some(11), None, Some(11), Some(11), Some(11), None]
    );
    cache.routes.remove(&all);
    cache.apply("n/b", 12, None);
    assert_eq!((all.slot.take(), cache.watchers()), (None, 6));
}

#[tokio::test(start_paused = true)]
async fn what_is_about_to_be_created_can_be_waited_for() {
    let cache = cache();
    let wait = Duration::from_secs(1);
    assert_eq!(cache.appears("n/a", wait).await.unwrap().revision, 5);
    assert!(cache.appears("n/late", wait).await.is_none());
    let creation = async {
        tokio::time::sleep(wait / 2).await;
        cache.apply("n/other", 11, Some(pod("n/other", 11, "node1")));
        cache.apply("n/late", 12, Some(pod("n/late", 12, "node1")));
    };
    let (come, ()) = tokio::join!(cache.appears("n/late", wait), creation);
    assert_eq!(come.unwrap().revision, 12);
    assert_eq!(cache.watchers(), 0);
}
