use serde_json::{Value, json};

use super::*;
use crate::fixtures::{object, pod};

fn set(claims: Value) -> StatefulSet {
    object(json!({
        "metadata": {"namespace": "x", "name": "db", "uid": "sts"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}, "serviceName": "names", "volumeClaimTemplates": claims,
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c"}],
                "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}},
    }))
}

fn claim() -> Value {
    json!([{"metadata": {"name": "data", "labels": {"tier": "x"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}])
}

fn made(set: &StatefulSet) -> Pod {
    let template = set.spec.as_ref().map(|s| s.template.clone());
    new_pod(set, &template.expect("a spec"), "db-abc", 7)
}

#[test]
fn numbers_are_in_names() {
    for (name, number, member) in [
        ("db-0", Some(0), true),
        ("db-12", Some(12), true),
        ("db-1-2", Some(2), false),
        ("web-0", Some(0), false),
        ("db-x", None, false),
        ("db-", None, false),
        ("db-+1", None, false),
        ("db-99999999999", None, false),
        ("db", None, false),
    ] {
        let pod = pod(name, "n", json!({}));
        assert_eq!(ordinal(&pod), number, "{name}");
        assert_eq!(is_member(&set(Value::Null), &pod), member, "{name}");
    }
}

#[test]
fn pods_have_names_of_their_own() {
    let pod = made(&set(Value::Null));
    assert_eq!(
        serde_json::to_value(&pod).expect("json"),
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "db-7", "generateName": "db-", "namespace": "x",
                "labels": {"app": "db", "apps.kubernetes.io/pod-index": "7", "controller-revision-hash": "db-abc",
                    "statefulset.kubernetes.io/pod-name": "db-7"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "sts",
                    "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {"hostname": "db-7", "subdomain": "names", "containers": [{"name": "c"}],
                "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]},
        })
    );
    assert!(is_right(&set(Value::Null), &pod));
}

#[test]
fn claims_are_the_pods() {
    let set = set(claim());
    let pod = made(&set);
    let volumes = serde_json::to_value(pod.spec.as_ref().and_then(|s| s.volumes.clone()));
    assert_eq!(
        volumes.expect("json"),
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-7"}}, {"name": "tmp", "emptyDir": {}}])
    );
    let [(volume, claim)] = claims(&set, 7).try_into().expect("one");
    assert_eq!(volume, "data");
    assert_eq!(
        serde_json::to_value(claim.metadata).expect("json"),
        json!({"name": "data-db-7", "namespace": "x", "labels": {"app": "db", "tier": "x"}})
    );
}

#[test]
fn what_was_lost_is_given_back() {
    let set = set(claim());
    let right = made(&set);
    assert!(is_right(&set, &right));
    let mut unlabelled = right.clone();
    unlabelled.metadata.labels = None;
    let mut without_volumes = right.clone();
    if let Some(spec) = &mut without_volumes.spec {
        spec.volumes = None;
    }
    for broken in [unlabelled, without_volumes] {
        assert!(!is_right(&set, &broken));
        assert!(is_right(&set, &repaired(&set, &Arc::new(broken))));
    }
}
