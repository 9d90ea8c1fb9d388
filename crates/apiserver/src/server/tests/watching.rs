//! How watches begin.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn watch_lists_end_with_an_annotated_bookmark() {
    let cluster = Cluster::new().await;
    let made = cluster.create(CONFIGMAPS, configmap("a")).await;
    // Who begins with what is there without saying so is told as well.
    for (name, query) in [
        (
            "b",
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        ),
        ("c", "resourceVersion=0"),
        ("d", "resourceVersion="),
    ] {
        let query = format!(
            "watch=1&allowWatchBookmarks=true&{query}&fieldSelector=metadata.name!%3Dkube-root-ca.crt"
        );
        let mut watch = cluster.watch(&format!("{CONFIGMAPS}?{query}")).await;
        let mut event = watch.next().await.expect("an event");
        assert_eq!(event["object"]["metadata"]["name"], "a");
        while event["type"] == "ADDED" {
            event = watch.next().await.expect("an event");
        }
        assert_eq!(event["type"], "BOOKMARK");
        let metadata = &event["object"]["metadata"];
        assert_eq!(metadata.get("creationTimestamp"), None);
        assert_eq!(
            event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
            "true"
        );
        assert!(version(&event["object"]) >= version(&made));
        cluster.create(CONFIGMAPS, configmap(name)).await;
        assert!(watch.short().await.starts_with(&format!("ADDED {name} ")));
    }
}
