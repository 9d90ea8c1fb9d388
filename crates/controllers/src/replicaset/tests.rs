use std::cell::Cell;

use serde_json::json;

use super::*;
use crate::fixtures::object;

#[tokio::test]
async fn batches_double_until_one_fails() {
    for (count, fails_at, expected_calls, expected_successes) in [
        (0, None, 0, 0),
        (1, None, 1, 1),
        (10, None, 10, 10),
        (10, Some(0), 1, 0),
        (10, Some(4), 7, 6),
        (500, Some(1), 3, 2),
    ] {
        let calls = Cell::new(0);
        let (succeeded, result) = slow_start(count, || {
            let call = calls.replace(calls.get() + 1);
            async move {
                if Some(call) == fails_at {
                    Err("no")
                } else {
                    Ok(())
                }
            }
        })
        .await;
        assert_eq!(
            (calls.get(), succeeded),
            (expected_calls, expected_successes),
            "{count} wanted, {fails_at:?} fails"
        );
        assert_eq!(result.is_err(), fails_at.is_some());
    }
}

#[test]
fn pods_are_made_of_the_template() {
    let set: ReplicaSet = object(json!({
        "metadata": {"namespace": "x", "name": "web-abc", "uid": "rs"},
        "spec": {"selector": {}, "template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}, "finalizers": ["f/f"]},
            "spec": {"containers": [{"name": "c"}]},
        }},
    }));
    assert_eq!(
        serde_json::to_value(new_pod(&set)).expect("json"),
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": "web-abc-", "namespace": "x", "labels": {"app": "web"}, "annotations": {"a": "b"},
                "finalizers": ["f/f"],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "rs",
                    "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {"containers": [{"name": "c"}]},
        })
    );
}
