//! Stored objects that cannot be read.

use knarr_store::{Op, Store};

use super::*;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn reason(reply: &Reply) -> (u16, &str) {
    (reply.code, reply.body["reason"].as_str().unwrap_or(""))
}

/// A server that has found one object of each kind of damage when it started: `s`, a Secret of another encryption key, and
/// `c`, a ConfigMap cut off in the middle.
async fn damaged() -> Cluster {
    let cluster = Cluster::new().await;
    for name in ["c", "whole"] {
        cluster.create(CONFIGMAPS, configmap(name)).await;
    }
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}});
    cluster.create(SECRETS, secret).await;
    let Cluster { server, dir } = cluster;
    let token = CancellationToken::new();
    token.cancel();
    server.run(token).await.expect("an orderly end");
    let store = Embedded::open(dir.path().join("store"), Default::default()).expect("a store");
    let ops = [
        Op::put(
            "/registry/secrets/default/s",
            "k8s:enc:aesgcm:v1:local:some nonce and what another key has sealed",
        ),
        Op::put(
            "/registry/configmaps/default/c",
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","namespace":"default"},"data":{"#,
        ),
    ];
    for op in ops {
        store.commit(op).await.expect("committed");
    }
    drop(store);
    let server = open(dir.path()).await;
    Cluster { server, dir }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_is_an_error_and_can_be_deleted() {
    let cluster = damaged().await;
    let health = cluster.get("/readyz?verbose").await;
    assert_eq!(health.code, 200, "the server is fit for everything else");
    let text = health.body.as_str().expect("text").to_owned();
    assert!(
        text.contains("[-]stored-objects failed: 2 cannot be read"),
        "{text}"
    );
    assert_eq!(cluster.get("/healthz/stored-objects").await.code, 500);

    for (collection, name, key) in [(SECRETS, "s", "default/s"), (CONFIGMAPS, "c", "default/c")] {
        let uri = format!("{collection}/{name}");
        let read = cluster.get(&uri).await;
        assert_eq!(reason(&read), (500, "InternalError"), "{}", read.body);
        let message = read.body["message"].as_str().expect("a message");
        assert!(
            message.contains(&format!("unable to transform key \"{key}\"")),
            "{message}"
        );
        let list = cluster.get(collection).await;
        assert_eq!(list.code, 200, "others are listed: {}", list.body);
        let object = json!({"metadata": {"name": name}});
        let update = cluster.call(Method::PUT, &uri, object.clone()).await;
        assert_eq!(reason(&update), (500, "InternalError"), "{}", update.body);
        let create = cluster.call(Method::POST, collection, object.clone()).await;
        assert_eq!(reason(&create), (409, "AlreadyExists"), "{}", create.body);
        let guarded = json!({"preconditions": {"uid": "which it had, perhaps"}});
        let refused = cluster.call(Method::DELETE, &uri, guarded).await;
        assert_eq!(reason(&refused), (500, "InternalError"), "{}", refused.body);
        let gone = cluster.call(Method::DELETE, &uri, Value::Null).await;
        assert_eq!(gone.code, 200, "{}", gone.body);
        assert_eq!(cluster.get(&uri).await.code, 404);
        cluster.create(collection, object).await;
    }
    assert_eq!(cluster.get("/healthz/stored-objects").await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_goes_with_its_collection() {
    let cluster = damaged().await;
    let deleted = cluster.call(Method::DELETE, SECRETS, Value::Null).await;
    assert_eq!(deleted.code, 200, "{}", deleted.body);
    assert_eq!(cluster.get(&format!("{SECRETS}/s")).await.code, 404);
}

/// Another writer's value: who watches sees the object go, and come back when it can be read again.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_damaged_while_the_server_runs_goes_from_watches() {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("c")).await;
    let from = version(&cluster.get(CONFIGMAPS).await.body);
    let uri = format!("{CONFIGMAPS}?watch=1&resourceVersion={from}");
    let mut watch = cluster.watch(&uri).await;
    let store = &cluster.server.core.registry.store;
    let broken = Op::put("/registry/configmaps/default/c", "no object");
    store.commit(broken).await.expect("committed");
    assert_eq!(
        watch.short().await,
        format!("DELETED c {}", store.revision().await.expect("a revision"))
    );
    assert_eq!(cluster.get(&format!("{CONFIGMAPS}/c")).await.code, 500);
    cluster
        .call(Method::DELETE, &format!("{CONFIGMAPS}/c"), Value::Null)
        .await;
    let again = cluster.create(CONFIGMAPS, configmap("c")).await;
    assert_eq!(watch.short().await, format!("ADDED c {}", version(&again)));
    let list = cluster.get(CONFIGMAPS).await;
    assert_eq!(list.body["items"].as_array().map(Vec::len), Some(1));
}
