use knarr_api::Kinds;
use knarr_store::{Embedded, Op, Store};

use super::*;
use crate::transform;

const DEADLINE: Duration = Duration::from_secs(20);

async fn put(store: &Embedded, name: &str) {
    let json = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"default"}}}}"#
    );
    let key = format!("/registry/configmaps/default/{name}");
    store.commit(Op::put(key, json)).await.expect("committed");
}

/// A server that could not reach the store for longer than its history goes on with what is there then.
#[tokio::test]
async fn history_that_went_on_is_loaded_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(dir.path(), Default::default()).expect("a store");
    let store = Arc::new(store);
    put(&store, "before").await;
    let transformer = transform::for_tests();
    let cache = Cache::load(store.clone(), transformer, &Kinds::built_in()).await;
    let cache = Arc::new(cache.expect("a cache"));
    let before = cache.resource("", "configmaps").expect("a resource");
    put(&store, "missed").await;
    let gone = Op::delete("/registry/configmaps/default/before");
    store.commit(gone).await.expect("committed");
    store.compact(store.published()).await.expect("compacted");

    let stop = CancellationToken::new();
    let feeding = tokio::spawn({
        let (cache, stop) = (cache.clone(), stop.clone());
        async move { cache.feed(stop).await }
    });
    let ended = tokio::time::timeout(DEADLINE, before.ended.cancelled());
    ended.await.expect("watches of what was there end");
    cache.fresh().await.expect("a cache that keeps up");
    put(&store, "after").await;
    cache.fresh().await.expect("a cache that keeps up");
    let now = cache.resource("", "configmaps").expect("a resource");
    for (name, there) in [("before", false), ("missed", true), ("after", true)] {
        assert_eq!(
            now.get(&format!("default/{name}")).is_some(),
            there,
            "{name}"
        );
    }
    stop.cancel();
    feeding.await.expect("no panic").expect("a feed");
}
