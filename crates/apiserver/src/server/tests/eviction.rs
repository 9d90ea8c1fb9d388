//! Evictions and the budgets that refuse them.

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn pod(cluster: &Cluster, name: &str, phase: &str, ready: &str) {
    let body = json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "default",
            "automountServiceAccountToken": false},
    });
    cluster.create(PODS, body).await;
    let status =
        json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
    let reply = cluster
        .merge(&format!("{PODS}/{name}/status"), status)
        .await;
    assert_eq!(reply.code, 200, "{}", reply.body);
    // Bound to a node it is deleted with a grace period: it stays to be looked at.
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
    cluster
        .create(&format!("{PODS}/{name}/binding"), binding)
        .await;
}

async fn budget(cluster: &Cluster, name: &str, spec: Value, status: Value) {
    let body = json!({"metadata": {"name": name}, "spec": spec});
    cluster.create(BUDGETS, body).await;
    let mut status = json!({"status": status});
    status["status"]["observedGeneration"] = json!(1);
    let reply = cluster
        .merge(&format!("{BUDGETS}/{name}/status"), status)
        .await;
    assert_eq!(reply.code, 200, "{}", reply.body);
}

async fn cluster() -> Cluster {
    let cluster = Cluster::new().await;
    let account = json!({"metadata": {"name": "default"}});
    cluster
        .create("/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    cluster
}

async fn evict(cluster: &Cluster, name: &str, options: Value) -> Reply {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options});
    cluster
        .call(Method::POST, &format!("{PODS}/{name}/eviction"), body)
        .await
}

/// Code, message, causes and when to ask again.
fn told(reply: &Reply) -> String {
    let details = &reply.body["details"];
    let causes = details["causes"].as_array().into_iter().flatten();
    let causes = causes.map(|c| format!("; {}: {}", c["reason"], c["message"]));
    format!(
        "{} {}{} {}",
        reply.code,
        reply.body["message"].as_str().unwrap_or("-"),
        causes.collect::<String>(),
        details["retryAfterSeconds"]
    )
}

fn web(more: Value) -> Value {
    let mut spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_taken_from() {
    let cluster = cluster().await;
    for name in ["a", "b"] {
        pod(&cluster, name, "Running", "True").await;
    }
    let status = json!({"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2});
    budget(&cluster, "web", web(json!({})), status).await;
    let dry = evict(&cluster, "a", json!({"dryRun": ["All"]})).await;
    assert_eq!(dry.code, 201, "{}", dry.body);
    let done = evict(&cluster, "a", json!({})).await;
    assert_eq!((done.code, &done.body["status"]), (201, &json!("Success")));
    let left = cluster.get(&format!("{BUDGETS}/web")).await.body;
    assert_eq!(left["status"]["disruptionsAllowed"], 0);
    assert!(left["status"]["disruptedPods"]["a"].is_string(), "{left}");
    let condition = &left["status"]["conditions"][0];
    assert_eq!(
        (
            &condition["type"],
            &condition["status"],
            &condition["reason"]
        ),
        (
            &json!("DisruptionAllowed"),
            &json!("False"),
            &json!("InsufficientPods")
        )
    );
    let going = cluster.get(&format!("{PODS}/a")).await.body;
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let conditions = going["status"]["conditions"]
        .as_array()
        .expect("conditions");
    let target = conditions
        .iter()
        .find(|c| c["type"] == "DisruptionTarget")
        .expect("a condition");
    assert_eq!(
        (&target["status"], &target["reason"], &target["message"]),
        (
            &json!("True"),
            &json!("EvictionByEvictionAPI"),
            &json!("Eviction API: evicting")
        )
    );
    let refused = evict(&cluster, "b", json!({})).await;
    expect_test::expect![[r#"429 Cannot evict pod as it would violate the pod's disruption budget.; "DisruptionBudget": "The disruption budget web does not allow evicting pods currently" null"#]].assert_eq(&told(&refused));
    // On its way already: nothing more is taken.
    assert_eq!(evict(&cluster, "a", json!({})).await.code, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_serve_nobody_need_no_budget() {
    let cluster = cluster().await;
    let full = json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2});
    budget(&cluster, "web", web(json!({})), full).await;
    for (name, phase, ready) in [
        ("done", "Succeeded", "False"),
        ("new", "Pending", "False"),
        ("ill", "Running", "False"),
    ] {
        pod(&cluster, name, phase, ready).await;
        assert_eq!(evict(&cluster, name, json!({})).await.code, 201, "{name}");
    }
    let short = json!({"status": {"currentHealthy": 1}});
    cluster.merge(&format!("{BUDGETS}/web/status"), short).await;
    pod(&cluster, "ill2", "Running", "False").await;
    assert_eq!(evict(&cluster, "ill2", json!({})).await.code, 429);
    let always = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}});
    cluster.merge(&format!("{BUDGETS}/web"), always).await;
    assert_eq!(evict(&cluster, "ill2", json!({})).await.code, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_their_cause() {
    let cluster = cluster().await;
    pod(&cluster, "a", "Running", "True").await;
    let mut table = Vec::new();
    let ok = json!({"disruptionsAllowed": 5, "currentHealthy": 6, "desiredHealthy": 1, "expectedPods": 6});
    budget(&cluster, "web", web(json!({})), ok).await;
    for uid in ["other", ""] {
        let refused = evict(&cluster, "a", json!({"preconditions": {"uid": uid}})).await;
        assert_eq!(refused.code, 409, "{}", refused.body);
    }
    let condition = |reason: &str| {
        json!({"disruptionsAllowed": 0, "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": reason,
            "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    };
    for status in [
        json!({"observedGeneration": 0, "disruptionsAllowed": 5}),
        json!({"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1}),
        json!({"currentHealthy": 3}),
        condition("SyncFailed"),
        condition("InsufficientPods"),
    ] {
        let reply = cluster
            .merge(&format!("{BUDGETS}/web/status"), json!({"status": status}))
            .await;
        assert_eq!(reply.code, 200, "{}", reply.body);
        table.push(told(&evict(&cluster, "a", json!({})).await));
    }
    budget(
        &cluster,
        "all",
        json!({"minAvailable": 1, "selector": {}}),
        json!({}),
    )
    .await;
    table.push(told(&evict(&cluster, "a", json!({})).await));
    table.push(told(&evict(&cluster, "nope", json!({})).await));
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "b"}});
    table.push(told(
        &cluster
            .call(Method::POST, &format!("{PODS}/a/eviction"), body)
            .await,
    ));
    let breaking = json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true});
    table.push(told(&evict(&cluster, "a", breaking).await));
    expect_test::expect![[r#"
        429 Cannot evict pod as it would violate the pod's disruption budget.; "DisruptionBudget": "The disruption budget web is still being processed by the server." 10
        429 Cannot evict pod as it would violate the pod's disruption budget.; "DisruptionBudget": "The disruption budget web needs 1 healthy pods and has 1 currently" null
        429 Cannot evict pod as it would violate the pod's disruption budget.; "DisruptionBudget": "The disruption budget web does not allow evicting pods currently" null
        429 Cannot evict pod as it would violate the pod's disruption budget.; "DisruptionBudget": "The disruption budget web does not allow evicting pods currently because it failed sync: why" null
        429 Cannot evict pod as it would violate the pod's disruption budget.; "DisruptionBudget": "The disruption budget web does not allow evicting pods currently (InsufficientPods): why" null
        500 This pod has more than one PodDisruptionBudget, which the eviction subresource does not support. null
        404 pods "nope" not found null
        400 name in URL does not match name in Eviction object null
        422 Eviction.policy "a" is invalid: deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential: Invalid value: true: can not be set for pod eviction, try after removing the option; "FieldValueInvalid": "Invalid value: true: can not be set for pod eviction, try after removing the option" null"#]].assert_eq(&table.join("\n"));
}
