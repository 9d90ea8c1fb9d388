//! States in place of bytes, for informers of this process.

use futures::StreamExt;
use knarr_states::{Change, Changes, Offer, Page, Share};

use super::*;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The answer to a request that can take states.
async fn ask(cluster: &Cluster, user: UserInfo, uri: &str) -> http::Response<Body> {
    let mut service = cluster.server.client_service(user);
    let request = Request::get(uri)
        .extension(Share)
        .body(Full::<Bytes>::default())
        .expect("a request");
    let answer = tokio::time::timeout(DEADLINE, service.call(request)).await;
    answer.expect("an answer in time").expect("infallible")
}

fn stranger() -> UserInfo {
    UserInfo {
        name: "stranger".into(),
        ..UserInfo::default()
    }
}

fn taken<T: Send + 'static>(response: &http::Response<Body>) -> Option<T> {
    response.extensions().get::<Offer<T>>()?.take()
}

async fn next(changes: &mut Changes) -> Vec<Change> {
    let next = tokio::time::timeout(DEADLINE, changes.events.next()).await;
    next.expect("an event in time").expect("the watch goes on")
}

#[tokio::test]
async fn lists_and_watches_share_the_caches_states() {
    let cluster = Cluster::new().await;
    for name in ["a", "b", "c"] {
        let map = json!({"metadata": {"name": name, "labels": {"app": name}}});
        cluster.create(MAPS, map).await;
    }
    let list = format!("{MAPS}?limit=2&labelSelector=app!%3Dc");
    let response = ask(&cluster, authn::server(), &list).await;
    let page: Page = taken(&response).expect("a page");
    let names: Vec<_> = (page.states.iter())
        .map(|state| state.namespaced_name().1)
        .collect();
    assert!(names.contains(&"a") && !names.contains(&"c"), "{names:?}");
    assert!(taken::<Page>(&response).is_none(), "once");

    let watch = format!("{MAPS}?watch=true&resourceVersion={}", page.revision);
    let response = ask(&cluster, authn::server(), &watch).await;
    let mut changes: Changes = taken(&response).expect("changes");
    let same = ask(&cluster, authn::server(), &watch).await;
    let mut others: Changes = taken(&same).expect("changes");
    cluster
        .merge(&format!("{MAPS}/a"), json!({"data": {"k": "v"}}))
        .await;
    let (one, other) = (next(&mut changes).await, next(&mut others).await);
    match (&one[..], &other[..]) {
        ([Change::Applied(one)], [Change::Applied(other)]) => {
            assert!(Arc::ptr_eq(one, other), "one state for all");
            assert!(Arc::ptr_eq(&changes.recent, &others.recent));
        }
        _ => panic!("one change is one event"),
    }
    cluster
        .call(Method::DELETE, &format!("{MAPS}/a"), Value::Null)
        .await;
    match &next(&mut changes).await[..] {
        [Change::Deleted(last, at)] => assert!(last.revision() < *at),
        _ => panic!("a deletion"),
    }
}

/// What is shared is what would be sent: to those who may have it, and only as it is stored.
#[tokio::test]
async fn rights_and_shapes_are_looked_at() {
    let cluster = Cluster::new().await;
    for uri in [MAPS.to_owned(), format!("{MAPS}?watch=true")] {
        let response = ask(&cluster, stranger(), &uri).await;
        assert_eq!(response.status(), 403);
        assert!(response.extensions().is_empty());
        // Nobody has asked for it.
        let request = Request::get(&uri).body(Full::default()).expect("a request");
        assert!(cluster.send(request).await.extensions().is_empty());
    }
    // Events are stored in another version.
    let other = "/apis/events.k8s.io/v1/events";
    let response = ask(&cluster, authn::server(), other).await;
    assert!(taken::<Page>(&response).is_none());
    let body = super::reply(response).await.body;
    assert_eq!(body["kind"], "EventList");
}

#[tokio::test]
async fn a_revision_that_is_gone_is_an_error() {
    let cluster = Cluster::new().await;
    let map = json!({"metadata": {"name": "a"}});
    cluster.create(MAPS, map).await;
    let revision = cluster
        .server
        .core
        .registry
        .store
        .revision()
        .await
        .expect("a revision");
    let compacted = cluster.server.core.registry.store.compact(revision).await;
    compacted.expect("a compaction");
    let old = format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact&limit=1");
    let response = ask(&cluster, authn::server(), &old).await;
    assert_eq!(response.status(), 410);
}
