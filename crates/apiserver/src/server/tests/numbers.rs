//! Numbers at the ends of their range, wherever a request can say one.

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn no_number_panics() {
    let cluster = Cluster::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.create(accounts, configmap("default")).await;
    for (most, name) in [(i64::MAX, "a"), (i64::MAX - 1, "b"), (253_402_300_800, "c")] {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "nodeName": "node1",
                "terminationGracePeriodSeconds": most,
                "containers": [{"name": "c", "image": "i"}],
            },
        });
        cluster.create(PODS, pod).await;
        let uri = format!("{PODS}/{name}");
        let marked = cluster.call(Method::DELETE, &uri, Value::Null).await;
        assert_eq!(marked.code, 200, "{}", marked.body);
        let end = marked.body["metadata"]["deletionTimestamp"].as_str();
        let end = end.and_then(knarr_meta::time::parse);
        assert!(end.is_some(), "{}", marked.body);
        for grace in [i64::MAX, i64::MIN, 3600, 1] {
            let uri = format!("{uri}?gracePeriodSeconds={grace}");
            let shortened = cluster.call(Method::DELETE, &uri, Value::Null).await;
            assert_eq!(shortened.code, 200, "{grace}: {}", shortened.body);
        }
        let gone = cluster
            .call(
                Method::DELETE,
                &format!("{uri}?gracePeriodSeconds=0"),
                Value::Null,
            )
            .await;
        assert_eq!(gone.code, 200, "{}", gone.body);
        assert_eq!(cluster.get(&uri).await.code, 404);
    }
    for number in [
        i64::MAX.to_string(),
        i64::MIN.to_string(),
        u64::MAX.to_string(),
    ] {
        for field in ["limit", "timeoutSeconds"] {
            let listed = cluster.get(&format!("{PODS}?{field}={number}")).await;
            assert!(
                matches!(listed.code, 200 | 400),
                "{field}={number}: {}",
                listed.body
            );
        }
        let token = json!({"spec": {"expirationSeconds": number.parse::<i64>().unwrap_or(0)}});
        let uri = format!("{accounts}/default/token");
        let refused = cluster.call(Method::POST, &uri, token).await;
        assert_eq!(refused.code, 422, "{}", refused.body);
    }
    let watch = cluster
        .send(
            Request::get(format!("{PODS}?watch=true&timeoutSeconds={}", i64::MAX))
                .body(Full::default())
                .expect("a request"),
        )
        .await;
    assert_eq!(watch.status(), 200);
}
