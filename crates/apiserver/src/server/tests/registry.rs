//! Kinds come and go while requests run.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize},
};

use knarr_api::{
    Kind, Strategy,
    kind::{Behaviour, Scope, Verb, text},
};

use super::*;

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
/// How often the kind comes and goes.
const ROUNDS: usize = 12;

struct Plain;

impl Strategy for Plain {}

/// A kind that is no part of the program.
fn widgets() -> Arc<Kind> {
    let given = |word: &str| word.to_owned().into();
    Arc::new(Kind {
        group: given("example.com"),
        version: given("v1"),
        kind: given("Widget"),
        list_kind: None,
        resource: given("widgets"),
        singular: given("widget"),
        short_names: vec![given("wd")],
        categories: vec![given("all")],
        scope: Scope::Namespaced,
        verbs: Verb::ALL,
        subresources: Default::default(),
        storage: Some(given("/registry/example.com/widgets")),
        stored: None,
        definition: text(""),
        strategy: Behaviour::Made(Arc::new(Plain)),
        aliases: Default::default(),
    })
}

fn names(list: &Value) -> BTreeSet<String> {
    let items = list["items"].as_array().expect("items");
    let name = |item: &Value| item["metadata"]["name"].as_str().map(str::to_owned);
    items.iter().filter_map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_is_served_from_its_addition_to_its_removal() {
    let cluster = Cluster::new().await;
    let registry = &cluster.server.core.registry.catalog;
    assert_eq!(cluster.get(WIDGETS).await.code, 404);
    let before = cluster.get("/openapi/v3").await.body;

    let kind = widgets();
    registry.add(kind.clone()).await.expect("added");
    let made = cluster.create(WIDGETS, configmap("w")).await;
    assert_eq!(made["kind"], "Widget");
    assert_eq!(made["apiVersion"], "example.com/v1");
    let found = cluster.get("/apis/example.com/v1").await.body;
    assert_eq!(found["resources"][0]["name"], "widgets");
    assert_eq!(found["resources"][0]["shortNames"], json!(["wd"]));
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let groups = async || {
        let all = cluster.get_as("/apis", accept).await.body;
        let groups = all["items"].as_array().expect("groups");
        let named = |group: &Value| group["metadata"]["name"] == "example.com";
        groups.iter().any(named)
    };
    assert!(groups().await);
    let twice = registry.add(widgets()).await;
    assert_eq!(
        twice.expect_err("the name is taken").to_string(),
        "example.com/v1/widgets is taken by another kind"
    );

    let mut watch = cluster.watch(&format!("{WIDGETS}?watch=1")).await;
    assert!(watch.short().await.starts_with("ADDED w "));
    registry.remove(&kind).await.expect("removed");
    assert_eq!(watch.next().await, None, "the watch ends");
    assert_eq!(cluster.get(WIDGETS).await.code, 404);
    assert_eq!(cluster.get("/apis/example.com/v1").await.code, 404);
    assert!(!groups().await);
    assert_eq!(cluster.get("/openapi/v3").await.body, before);

    registry.add(kind).await.expect("added again");
    assert_eq!(
        names(&cluster.get(WIDGETS).await.body),
        ["w".to_owned()].into()
    );
}

/// Creates widgets for as long as `over` is not set: those that were acknowledged.
async fn create_widgets(cluster: &Cluster, of: usize, over: &AtomicBool) -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let name = format!("w-{of}-{number}");
        number += 1;
        let reply = cluster.call(Method::POST, WIDGETS, configmap(&name)).await;
        match reply.code {
            201 => {
                made.insert(name);
            }
            404 => tokio::task::yield_now().await,
            code => panic!("{code}: {}", reply.body),
        }
    }
    made
}

/// Requests for a kind that stays: none of them may notice.
async fn use_configmaps(cluster: &Cluster, over: &AtomicBool, done: &AtomicUsize) {
    let mut watch = cluster
        .watch(&format!(
            "{CONFIGMAPS}?watch=1&fieldSelector=metadata.name%3Dsteady"
        ))
        .await;
    while !over.load(Ordering::Relaxed) {
        cluster.create(CONFIGMAPS, configmap("steady")).await;
        assert!(watch.short().await.starts_with("ADDED steady "));
        let url = format!("{CONFIGMAPS}/steady");
        let gone = cluster.call(Method::DELETE, &url, Value::Null).await;
        assert_eq!(gone.code, 200, "{}", gone.body);
        assert!(watch.short().await.starts_with("DELETED steady "));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every widget that was acknowledged is listed, and seen once by a watch from that list, whenever the kind was added.
#[tokio::test(flavor = "multi_thread")]
async fn kinds_come_and_go_under_load() {
    let cluster = Cluster::new().await;
    let registry = &cluster.server.core.registry.catalog;
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let change = async {
        let mut seen = BTreeSet::new();
        for round in 0..ROUNDS {
            let kind = widgets();
            registry.add(kind.clone()).await.expect("added");
            let list = cluster.get(WIDGETS).await.body;
            let listed = names(&list);
            assert!(listed.is_superset(&seen), "round {round}: none is lost");
            seen = listed;
            let from = version(&list);
            let url = format!("{WIDGETS}?watch=1&resourceVersion={from}");
            let mut watch = cluster.watch(&url).await;
            for _ in 0..20 {
                let event = watch.next().await.expect("an event");
                assert_eq!(event["type"], "ADDED");
                let name = event["object"]["metadata"]["name"].as_str();
                let name = name.expect("a name").to_owned();
                assert!(seen.insert(name.clone()), "round {round}: {name} twice");
            }
            registry.remove(&kind).await.expect("removed");
            while watch.next().await.is_some() {}
        }
        over.store(true, Ordering::Relaxed);
    };
    let ((), first, second, ()) = tokio::join!(
        change,
        create_widgets(&cluster, 1, &over),
        create_widgets(&cluster, 2, &over),
        use_configmaps(&cluster, &over, &done),
    );
    assert!(done.load(Ordering::Relaxed) > ROUNDS);
    registry.add(widgets()).await.expect("added");
    let listed = names(&cluster.get(WIDGETS).await.body);
    let acknowledged: BTreeSet<String> = first.union(&second).cloned().collect();
    assert!(acknowledged.len() >= ROUNDS * 20);
    assert!(listed.is_superset(&acknowledged), "none is lost");
}

/// Whoever gives up on adding a kind leaves nothing of it behind.
#[tokio::test(flavor = "multi_thread")]
async fn an_addition_that_nobody_waits_for_is_not_made() {
    let cluster = Cluster::new().await;
    let (registry, cache) = (
        &cluster.server.core.registry.catalog,
        &cluster.server.core.registry.cache,
    );
    for _ in 0..50 {
        let kind = widgets();
        let mut adding = Box::pin(registry.add(kind.clone()));
        // The request is on its way when its future goes; or the feed was as quick as that.
        let added = futures::poll!(adding.as_mut()).is_ready();
        drop(adding);
        if added {
            registry.remove(&kind).await.expect("removed");
        }
    }
    // Changes are made in their order.
    let gadgets = Arc::new(Kind {
        resource: "gadgets".into(),
        storage: Some("/registry/example.com/gadgets".into()),
        ..(*widgets()).clone()
    });
    registry.add(gadgets).await.expect("added");
    assert!(cache.resource("example.com", "gadgets").is_some());
    assert!(cache.resource("example.com", "widgets").is_none());
    registry.add(widgets()).await.expect("added");
    assert_eq!(cluster.get(WIDGETS).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_priority_classes_stay() {
    let cluster = Cluster::new().await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    cluster
        .create(classes, json!({"metadata": {"name": "mine"}, "value": 1}))
        .await;
    let delete = async |name: &str| {
        let uri = format!("{classes}/{name}");
        cluster.call(Method::DELETE, &uri, Value::Null).await
    };
    let refused = delete("system-node-critical").await;
    let why = "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and cannot be deleted";
    assert_eq!((refused.code, &refused.body["message"]), (403, &json!(why)));
    assert_eq!(delete("mine").await.code, 200);
}
