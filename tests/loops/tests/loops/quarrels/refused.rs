use super::*;

/// Who makes pods, each with some.
async fn create_all(cluster: &Cluster) {
    let labels = |name: &str| json!({"app": name});
    let deployments = cluster.namespaced::<Deployment>(NAMESPACE);
    create(&deployments, set("deployment", 3, &labels("deployment"))).await;
    let sets = cluster.namespaced::<ReplicaSet>(NAMESPACE);
    create(&sets, set("set", 3, &labels("set"))).await;
    let stateful = cluster.namespaced::<StatefulSet>(NAMESPACE);
    create(&stateful, workload("stateful", 3, &labels("stateful"))).await;
    let daemon = json!({"metadata": {"name": "daemon"}, "spec": {"selector": {"matchLabels": labels("daemon")},
        "template": template(&labels("daemon"))}});
    create(&cluster.namespaced::<DaemonSet>(NAMESPACE), daemon).await;
    create(
        &cluster.namespaced::<Job>(NAMESPACE),
        job("job", &labels("job")),
    )
    .await;
}

#[test]
fn a_quota_below_what_is_used_is_asked_rarely() {
    without_faults(|cluster| async move {
        let stage = Stage::set(cluster).await;
        create_all(&stage.cluster).await;
        sleep(SETTLED).await;
        let all = 3 + 3 + 3 + 1 + 2;
        assert_eq!(stage.active().await, all);
        let quotas = stage.cluster.namespaced::<ResourceQuota>(NAMESPACE);
        create(
            &quotas,
            json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}}),
        )
        .await;
        sleep(MINUTE).await;
        // Pods that are there stay, and nobody minds.
        assert_eq!(stage.active().await, all);
        stage.rests("a quota below use").await;
        let pods = stage.cluster.namespaced::<Pod>(NAMESPACE);
        for pod in list(&pods).await {
            let name = pod.metadata.name.unwrap_or_default();
            pods.delete(&name, &DeleteParams::default())
                .await
                .expect("deleted");
        }
        let first = stage.writes(MINUTE).await;
        // A dozen tries of each, with the pods that two of them may have.
        let count: u64 = first.values().sum();
        assert!(count < 400, "{count}: {first:#?}");
        sleep(SETTLED).await;
        assert_eq!(stage.active().await, 2);
        stage.is_slow("a quota that is used up", WORKLOADS).await;
        let failing = stage
            .cluster
            .namespaced::<ReplicaSet>(NAMESPACE)
            .get("set")
            .await;
        let failure = condition(&failing.expect("a set"), "ReplicaFailure");
        assert_eq!(failure.as_deref(), Some("True FailedCreate"));
        assert!(
            stage
                .is_told(
                    "FailedCreate",
                    "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
                )
                .await
        );
        quotas
            .delete("q", &DeleteParams::default())
            .await
            .expect("deleted");
        // The longest pause is 1 000 s.
        sleep(MINUTE * 20).await;
        assert_eq!(stage.active().await, all);
        stage.rests("without the quota").await;
        stage.end();
    });
}

/// A resource, a reason and what refuses pods for it, by path.
type Refusal = (&'static str, &'static str, Vec<(String, Value)>);

/// Refuses every pod of the namespace: by an expression, or by a webhook that nobody answers for.
fn refusals() -> [Refusal; 2] {
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
    let group = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({"metadata": {"name": "no"}, "spec": {"matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "false", "message": "not today"}]}});
    let binding = json!({"metadata": {"name": "no"}, "spec": {"policyName": "no", "validationActions": ["Deny"]}});
    // Nobody listens there.
    let webhook = json!({"metadata": {"name": "no"}, "webhooks": [{"name": "no.example.com", "admissionReviewVersions": ["v1"],
        "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 1, "rules": rules,
        "clientConfig": {"url": "https://127.0.0.1:1/no"}}]});
    [
        (
            "a policy",
            "not today",
            vec![
                (format!("{group}/validatingadmissionpolicies"), policy),
                (
                    format!("{group}/validatingadmissionpolicybindings"),
                    binding,
                ),
            ],
        ),
        (
            "a webhook",
            "failed calling webhook",
            vec![(format!("{group}/validatingwebhookconfigurations"), webhook)],
        ),
    ]
}

#[test]
fn controllers_whose_pods_are_refused_ask_rarely() {
    for (what, words, objects) in refusals() {
        without_faults(|cluster| {
            let objects = objects.clone();
            async move {
                let stage = Stage::set(cluster).await;
                for (path, object) in &objects {
                    let request =
                        http::Request::post(path).header("content-type", "application/json");
                    let request = request
                        .body(object.to_string().into_bytes())
                        .expect("a request");
                    let made = stage.cluster.admin.request::<Value>(request).await;
                    made.expect("a refusal");
                }
                // Until it is in force.
                sleep(MINUTE).await;
                create_all(&stage.cluster).await;
                let first = stage.writes(MINUTE).await;
                let count: u64 = first.values().sum();
                assert!(count < 400, "{what}: {count}: {first:#?}");
                sleep(SETTLED).await;
                assert_eq!(stage.active().await, 0, "{what}");
                stage.is_slow(what, WORKLOADS).await;
                assert!(stage.is_told("FailedCreate", words).await, "{what}");
                let deployments = stage.cluster.namespaced::<Deployment>(NAMESPACE);
                let deployment = deployments.get("deployment").await.expect("a deployment");
                let failure = condition(&deployment, "ReplicaFailure");
                assert_eq!(failure.as_deref(), Some("True FailedCreate"), "{what}");
                stage.end();
            }
        });
    }
}
