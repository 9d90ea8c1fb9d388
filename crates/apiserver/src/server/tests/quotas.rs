//! Quotas and limit ranges through the whole chain.

use super::*;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "serviceAccountName": "default", "automountServiceAccountToken": false}})
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writes_share_a_quota() {
    const ALLOWED: usize = 5;
    let cluster = Cluster::new().await;
    let hard = json!({"count/configmaps": ALLOWED.to_string(), "pods": "1"});
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    cluster.create(QUOTAS, quota).await;
    let status = json!({"status": {"hard": hard, "used": {"count/configmaps": "0", "pods": "0"}}});
    let reply = cluster.merge(&format!("{QUOTAS}/q/status"), status).await;
    assert_eq!(reply.code, 200, "{}", reply.body);
    let uri = format!("{CONFIGMAPS}?dryRun=All");
    assert_eq!(
        cluster
            .call(Method::POST, &uri, configmap("dry"))
            .await
            .code,
        201
    );
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let writes = names
        .iter()
        .map(|name| cluster.call(Method::POST, CONFIGMAPS, configmap(name)));
    let replies = futures::future::join_all(writes).await;
    let codes = |code| replies.iter().filter(|reply| reply.code == code).count();
    assert_eq!((codes(201), codes(403)), (ALLOWED, names.len() - ALLOWED));
    let refused = replies
        .iter()
        .find(|reply| reply.code == 403)
        .expect("a refusal");
    let message = refused.body["message"].as_str().unwrap_or_default();
    assert!(
        message.ends_with("exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=5, limited: count/configmaps=5"),
        "{message}"
    );
    let used = cluster.get(&format!("{QUOTAS}/q")).await.body["status"]["used"].clone();
    assert_eq!(used, json!({"count/configmaps": "5", "pods": "0"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_complete_pods() {
    let cluster = Cluster::new().await;
    let account = json!({"metadata": {"name": "default"}});
    cluster
        .create("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "max": {"cpu": "1"}, "defaultRequest": {"memory": "0.5Gi"}}]}});
    let made = cluster
        .create("/api/v1/namespaces/default/limitranges", range)
        .await;
    let limit = &made["spec"]["limits"][0];
    assert_eq!(
        (&limit["default"], &limit["defaultRequest"]),
        (
            &json!({"cpu": "1"}),
            &json!({"cpu": "1", "memory": "512Mi"})
        )
    );
    let pod = cluster.create(PODS, pod("p")).await;
    assert_eq!(
        pod["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1", "memory": "512Mi"}})
    );
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    let mut big = self::pod("big");
    big["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    let reply = cluster.call(Method::POST, PODS, big).await;
    assert_eq!(
        (reply.code, reply.body["message"].as_str()),
        (
            403,
            Some("pods \"big\" is forbidden: maximum cpu usage per Container is 1, but limit is 2")
        )
    );
}
