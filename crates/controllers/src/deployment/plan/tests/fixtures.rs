//! Deployments, their ReplicaSets, and plans as texts.

use super::*;

pub fn deployment(more: Value) -> Deployment {
    let mut deployment = json!({
        "metadata": {"namespace": "x", "name": "web", "uid": "d", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "v1"}]},
            },
        },
    });
    merge(&mut deployment, more);
    object(deployment)
}

pub fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// A ReplicaSet of image `image`, `replicas` large, with `available` pods available.
pub fn set(
    name: &str,
    image: &str,
    replicas: i32,
    available: i32,
    revision: i64,
) -> Arc<ReplicaSet> {
    sized(name, image, replicas, available, revision, 3, 4)
}

pub fn sized(
    name: &str,
    image: &str,
    replicas: i32,
    available: i32,
    revision: i64,
    desired: i32,
    max: i32,
) -> Arc<ReplicaSet> {
    Arc::new(object(json!({
        "metadata": {
            "namespace": "x", "name": name, "uid": format!("uid-{name}"), "resourceVersion": "9", "generation": 1,
            "creationTimestamp": format!("2030-01-01T10:00:{revision:02}Z"),
            "annotations": {
                "deployment.kubernetes.io/revision": revision.to_string(),
                "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                "deployment.kubernetes.io/max-replicas": max.to_string(),
            },
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web", "pod-template-hash": name}},
            "template": {
                "metadata": {"labels": {"app": "web", "pod-template-hash": name}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
        "status": {
            "replicas": replicas, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1,
        },
    })))
}

pub fn describe(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for op in &plan.ops {
        lines.push(match op {
            Op::Create(set) => {
                let annotations = set.metadata.annotations.clone().unwrap_or_default();
                let revision = annotations.get(REVISION).cloned().unwrap_or_default();
                format!("create of revision {revision} with {} replicas", observed_replicas(set))
            }
            Op::Patch { name, patch } => format!("patch {name} {patch}"),
            Op::Delete { set } => format!("delete {}", set.metadata.name.as_deref().unwrap_or_default()),
            Op::Scaled { message } => format!("event {message}"),
            Op::Status { status, revision } => {
                let conditions = status.conditions.iter().flatten();
                let conditions: Vec<_> = conditions
                    .map(|c| format!("{}={}({})", c.type_, c.status, c.reason.as_deref().unwrap_or_default()))
                    .collect();
                let n = |n: Option<i32>| n.unwrap_or(0);
                format!(
                    "status {} replicas, {} updated, {} ready, {} available, {} unavailable; revision {}; {}",
                    n(status.replicas),
                    n(status.updated_replicas),
                    n(status.ready_replicas),
                    n(status.available_replicas),
                    n(status.unavailable_replicas),
                    revision.as_deref().unwrap_or("unchanged"),
                    conditions.join(" "),
                )
            }
        });
    }
    if let Some(after) = plan.again_after {
        lines.push(format!("again after {after:?}"));
    }
    let hash = template::hash(
        &deployment(json!({})).spec.unwrap_or_default().template,
        None,
    );
    lines.join("\n").replace(&hash, "HASH")
}

pub fn check(deployment: &Deployment, sets: &[Arc<ReplicaSet>], expected: Expect) {
    expected.assert_eq(&describe(&plan(deployment, sets, HashMap::new, now())));
}
