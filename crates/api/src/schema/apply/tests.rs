use knarr_apply::{Set, typed};
use serde_json::{Value, json};

use crate::schema::{self, definition};

fn schema(name: &str) -> &'static schema::Schema {
    definition(name).expect("a definition")
}

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const SERVICE: &str = "io.k8s.api.core.v1.Service";

/// The paths of a new object, as upstream shows them in managedFields: `.` where the object itself is a member.
fn created(name: &str, object: &Value) -> Value {
    let changes = typed::compare(&Value::Null, object, schema(name)).expect("a valid object");
    changes.modified.union(&changes.added).to_json()
}

#[test]
fn a_deployments_fields_are_those_that_upstream_writes() {
    let object = json!({"spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{
                "name": "web",
                "image": "nginx",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {},
            }]},
        },
    }});
    assert_eq!(
        created(DEPLOYMENT, &object),
        json!({"f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:strategy": {
                "f:rollingUpdate": {".": {}, "f:maxSurge": {}},
                "f:type": {},
            },
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
                    ".": {},
                    "f:image": {},
                    "f:name": {},
                    "f:ports": {
                        ".": {},
                        "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                            ".": {},
                            "f:containerPort": {},
                            "f:protocol": {},
                        },
                    },
                    "f:resources": {},
                }}},
            },
        }})
    );
}

#[test]
fn keys_have_the_defaults_of_their_fields() {
    let object = json!({"spec": {
        "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}, {"name": "none"}],
    }});
    let set = typed::field_set(&object, schema(SERVICE)).expect("a valid object");
    let ports = set.to_json()["f:spec"]["f:ports"].clone();
    let keys: Vec<&String> = ports.as_object().expect("ports").keys().collect();
    assert_eq!(
        keys,
        [
            "k:{\"port\":0,\"protocol\":\"TCP\"}",
            "k:{\"port\":80,\"protocol\":\"TCP\"}",
            "k:{\"port\":80,\"protocol\":\"UDP\"}",
        ]
    );
}

#[test]
fn lists_and_maps_are_merged_as_their_marks_say() {
    let live = json!({
        "metadata": {"finalizers": ["a"], "ownerReferences": [{"uid": "1"}], "annotations": {"a": "1"}},
        "spec": {
            "containers": [{"name": "a", "args": ["1"], "env": [{"name": "A", "value": "1"}]}],
            "tolerations": [{"key": "a"}],
            "nodeSelector": {"a": "1"},
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    });
    let config = json!({
        "metadata": {"finalizers": ["b"], "ownerReferences": [{"uid": "2"}], "annotations": {"b": "1"}},
        "spec": {
            "containers": [{"name": "a", "args": ["2"], "env": [{"name": "B", "value": "1"}]}],
            "tolerations": [{"key": "b"}],
            "nodeSelector": {"b": "1"},
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
        },
    });
    let merged = typed::merge(&live, &config, schema(POD)).expect("valid objects");
    assert_eq!(
        merged,
        json!({
            "metadata": {
                "finalizers": ["a", "b"],
                "ownerReferences": [{"uid": "1"}, {"uid": "2"}],
                "annotations": {"a": "1", "b": "1"},
            },
            "spec": {
                "containers": [{
                    "name": "a",
                    "args": ["2"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
                }],
                "tolerations": [{"key": "b"}],
                "nodeSelector": {"b": "1"},
                "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
            },
        })
    );
}

#[test]
fn every_definition_can_be_walked() {
    for name in schema::names() {
        let schema = schema(name);
        assert!(typed::field_set(&Value::Null, schema).is_ok(), "{name}");
        let set = Set::default();
        assert!(set.reconciled(schema).is_none(), "{name}");
    }
}
