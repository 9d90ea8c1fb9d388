//! What patches make of objects.

use knarr_meta::patch;
use serde_json::{Value, json};

use super::{super::strict, deployment, schema};

#[test]
fn strategic_merge_follows_the_schema() {
    let original = json!({"spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"spec": {
            "containers": [{"name": "a", "image": "a:1", "args": ["x"]}, {"name": "b", "image": "b:1"}],
            "nodeSelector": {"x": "y"},
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "t"}]
        }}
    }});
    let change = json!({"spec": {
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        "template": {"spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "a", "image": "a:2", "args": ["y", "z"]}],
            "nodeSelector": {"x": null, "z": "1"},
            "volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}],
            "tolerations": [{"key": "u"}]
        }}
    }});
    assert_eq!(
        patch::strategic(&original, &change, deployment()).unwrap(),
        json!({"spec": {
            "strategy": {"type": "Recreate"},
            "template": {"spec": {
                "containers": [{"name": "b", "image": "b:1"}, {"name": "a", "image": "a:2", "args": ["y", "z"]}],
                "nodeSelector": {"z": "1"},
                "volumes": [{"name": "v", "configMap": {"name": "c"}}],
                "tolerations": [{"key": "u"}]
            }}
        }})
    );
    let pod = json!({"metadata": {"finalizers": ["a", "b"]}});
    let change =
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}});
    assert_eq!(
        patch::strategic(&pod, &change, schema("io.k8s.api.core.v1.Pod")).unwrap(),
        json!({"metadata": {"finalizers": ["c", "b"]}})
    );
}

#[test]
fn what_a_patch_adds_is_told_without_keys_of_maps() {
    let slice_schema = schema("io.k8s.api.resource.v1.ResourceSlice");
    let slice = || {
        let capacity = json!({"memory": {"value": "1", "odd": 1}});
        json!({"spec": {"devices": [{"name": "d"}, {"name": "e", "capacity": capacity}]}})
    };
    for (source, wanted) in [
        (
            strict::Source::Document,
            r#"unknown field "spec.devices[1].capacity.memory.odd""#,
        ),
        (
            strict::Source::Unstructured,
            r#"unknown field "spec.devices[1].capacity.odd""#,
        ),
    ] {
        let told = strict::decode_from(source, slice_schema, &mut slice(), None);
        assert_eq!(told.unwrap(), [wanted]);
    }
}

#[test]
fn all_that_a_patch_adds_is_told_in_the_order_of_the_texts() {
    let containers: Vec<Value> = (0..120).map(|_| json!({"odd": 1})).collect();
    let mut pod = json!({"spec": {"containers": containers, "odd": 1}});
    let mut document = pod.clone();
    let pod_schema = schema("io.k8s.api.core.v1.Pod");
    let told = strict::decode_from(strict::Source::Unstructured, pod_schema, &mut pod, None);
    let told = told.unwrap();
    assert_eq!(told.len(), 121);
    assert_eq!(told[1], r#"unknown field "spec.containers[100].odd""#);
    assert_eq!(told[120], r#"unknown field "spec.odd""#);
    let told = strict::decode_from(strict::Source::Document, pod_schema, &mut document, None);
    assert_eq!(told.unwrap().len(), 100);
}

#[test]
fn results_of_patches_are_converted_as_upstream_does() {
    let convert = |object: &Value| {
        let mut object = object.clone();
        let source = strict::Source::Unstructured;
        strict::decode_from(source, deployment(), &mut object, None).map(|_| object)
    };
    for (given, kept) in [
        (json!(2_147_483_648_u64), json!(-2_147_483_648)),
        (json!(4_294_967_299_u64), json!(3)),
        (json!(-1), json!(-1)),
        (json!(5.0), json!(5)),
    ] {
        let object = convert(&json!({"spec": {"minReadySeconds": given}})).unwrap();
        assert_eq!(object["spec"]["minReadySeconds"], kept, "{given}");
    }
    for (spec, message) in [
        (json!([]), "cannot restore struct from: slice"),
        (json!({"replicas": "seven"}), "unrecognized type: int32"),
        (json!({"replicas": 1.5}), "cannot convert float64 to int32"),
        (
            json!({"strategy": {"type": 7}}),
            "cannot convert int64 to v1.DeploymentStrategyType",
        ),
        (
            json!({"strategy": {"type": true}}),
            "unrecognized type: string",
        ),
        (
            json!({"template": {"spec": {"containers": {"a": "b"}}}}),
            "cannot restore slice from map",
        ),
        (
            json!({"template": {"metadata": {"labels": 1.5}}}),
            "cannot restore map from float64",
        ),
        (
            json!({"template": {"metadata": {"creationTimestamp": 7}}}),
            "json: cannot unmarshal number into Go value of type string",
        ),
    ] {
        let error = convert(&json!({"spec": spec})).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let mut secret = json!({"data": {"a": "a*b="}});
    let definition = schema("io.k8s.api.core.v1.Secret");
    let error = strict::decode_from(strict::Source::Unstructured, definition, &mut secret, None);
    assert_eq!(
        error.unwrap_err().to_string(),
        "error decoding from json: illegal base64 data at input byte 1"
    );
}
