use serde_json::json;

use super::*;
use crate::fixtures::object;

#[test]
fn pods_are_made_of_the_template() {
    let set: DaemonSet = object(json!({
        "metadata": {"namespace": "x", "name": "agent", "uid": "ds",
            "annotations": {"deprecated.daemonset.template.generation": "5"}},
        "spec": {"selector": {}, "template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
            "spec": {"containers": [{"name": "c"}]},
        }},
    }));
    let pod = new_pod(&set, "abc", "n");
    assert_eq!(
        serde_json::to_value(&pod.metadata).expect("json"),
        json!({
            "generateName": "agent-", "namespace": "x", "annotations": {"a": "b"},
            "labels": {"app": "web", "controller-revision-hash": "abc", "pod-template-generation": "5"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "ds",
                "controller": true, "blockOwnerDeletion": true}],
        })
    );
    assert_eq!(placement::target(&pod), Some("n"));
    let tolerations = pod.spec.and_then(|spec| spec.tolerations);
    assert_eq!(tolerations.map(|list| list.len()), Some(6));
}

#[test]
fn an_empty_selector_selects_nothing() {
    let set: DaemonSet = object(json!({"spec": {"selector": {}, "template": {}}}));
    assert!(selector(&set).expect("a selector").is_nothing());
}
