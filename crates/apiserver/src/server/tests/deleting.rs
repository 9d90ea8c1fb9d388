//! What a deletion is told, and what it tells.

use super::*;

/// As upstream: options have one place, and whoever has both must not think of the wrong one.
#[tokio::test]
async fn beside_a_body_a_deletion_has_no_options_in_its_query() {
    let cluster = Cluster::new().await;
    for (name, query, body, left) in [
        ("a", "dryRun=All", Value::Null, true),
        ("a", "dryRun=All", json!({"dryRun": ["All"]}), true),
        ("a", "", json!({"dryRun": ["All"]}), true),
        ("b", "dryRun=All", json!({}), false),
        ("c", "dryRun=Some", json!({}), false),
    ] {
        let uri = format!("{CONFIGMAPS}/{name}");
        if cluster.get(&uri).await.code == 404 {
            cluster.create(CONFIGMAPS, configmap(name)).await;
        }
        let asked = format!("{uri}?{query}");
        let deleted = cluster.call(Method::DELETE, &asked, body.clone()).await;
        assert_eq!(deleted.code, 200, "{query} {body}: {}", deleted.body);
        let code = if left { 200 } else { 404 };
        assert_eq!(cluster.get(&uri).await.code, code, "{query} {body}");
    }
}

/// What a collection was before it was deleted, though it is still there.
#[tokio::test]
async fn a_deleted_collection_is_told_as_it_was() {
    let cluster = Cluster::new().await;
    let mut kept = configmap("kept");
    kept["metadata"]["finalizers"] = json!(["example.com/keep"]);
    let made = cluster.create(CONFIGMAPS, kept).await;
    let asked = format!("{CONFIGMAPS}?fieldSelector=metadata.name%3Dkept");
    let deleted = cluster.call(Method::DELETE, &asked, Value::Null).await;
    let item = &deleted.body["items"][0]["metadata"];
    assert_eq!(item["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert!(item["deletionTimestamp"].is_null(), "{item}");
    let now = cluster.get(&format!("{CONFIGMAPS}/kept")).await.body;
    assert!(now["metadata"]["deletionTimestamp"].is_string(), "{now}");
}
