use serde_json::{Value, json};

use super::*;

/// Everything that a ReplicationController has comes through the form of a ReplicaSet unchanged.
#[test]
fn a_controller_is_seen_as_a_set_and_written_as_itself() {
    let object = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "u", "generation": 3},
        "spec": {
            "replicas": 2, "minReadySeconds": 4, "selector": {"app": "web"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
        },
        "status": {
            "replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 3,
            "conditions": [{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "m",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    });
    let controller: ReplicationController = serde_json::from_value(object.clone()).expect("typed");
    let set = controller.as_set().into_owned();
    let seen = serde_json::to_value(&set).expect("a tree");
    assert_eq!(
        seen["spec"]["selector"],
        json!({"matchLabels": {"app": "web"}})
    );
    let same = |a: &Value, b: &Value, fields: &[&str]| {
        for field in fields {
            assert_eq!(a[*field], b[*field], "{field}");
        }
    };
    same(&seen, &object, &["metadata", "status"]);
    same(
        &seen["spec"],
        &object["spec"],
        &["replicas", "minReadySeconds", "template"],
    );
    let bare = ReplicationController {
        status: None,
        ..controller
    };
    let written = bare.with_status(set.status.unwrap_or_default());
    let written = serde_json::to_value(&written).expect("a tree");
    same(&written, &object, &["metadata", "spec", "status"]);
}
