use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors, updated},
};

const NOW: i64 = 1_767_225_600;

fn volume(source: Value) -> Value {
    let mut spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
    let fields = source.as_object().cloned().unwrap_or_default();
    spec.as_object_mut().expect("a map").extend(fields);
    json!({"metadata": {"name": "pv"}, "spec": spec})
}

#[test]
fn defaults_and_columns() {
    let object = created(
        &KIND,
        volume(json!({
            "hostPath": {"path": "/data"}, "capacity": {"storage": "1024Mi"},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "storageClassName": "slow",
            "claimRef": {"namespace": "ns", "name": "claim"},
        })),
    );
    let spec = &object["spec"];
    assert_eq!(spec["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(spec["volumeMode"], "Filesystem");
    assert_eq!(spec["capacity"]["storage"], "1Gi");
    assert_eq!(spec["hostPath"]["type"], "");
    assert_eq!(object["status"]["phase"], "Pending");
    assert!(object["status"]["lastPhaseTransitionTime"].is_string());
    expect!["pv | 1Gi | RWO,RWX | Retain | Pending | ns/claim | slow | <unset> |  | <unknown> | Filesystem"]
        .assert_eq(&row(&KIND, &object, NOW));
}

#[test]
fn sources() {
    let check = |source: Value| create_errors(&KIND, volume(source));
    assert_eq!(check(json!({"hostPath": {"path": "/data"}})), "");
    expect!["spec: Required value: must specify a volume type"].assert_eq(&check(json!({})));
    expect![[r#"
        spec.hostPath.path: Invalid value: "/a/../b": must not contain '..'
        spec.nfs: Forbidden: may not specify more than 1 volume type"#]]
    .assert_eq(&check(json!({
        "hostPath": {"path": "/a/../b"}, "nfs": {"server": "s", "path": "/"},
    })));
    expect!["spec.nodeAffinity: Required value: Local volume requires node affinity"]
        .assert_eq(&check(json!({"local": {"path": "/data"}})));
    expect![[r#"
        spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term
        spec.local.path: Required value"#]]
    .assert_eq(&check(json!({"local": {"path": ""}, "nodeAffinity": {"required": {}}})));
    expect![[r#"
        spec.csi.driver: Required value
        spec.csi.volumeHandle: Required value
        spec.csi.nodePublishSecretRef.namespace: Required value"#]]
    .assert_eq(&check(
        json!({"csi": {"nodePublishSecretRef": {"name": "s"}}}),
    ));
    expect!["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"]
        .assert_eq(&check(json!({
            "hostPath": {"path": "//"}, "persistentVolumeReclaimPolicy": "Recycle",
        })));
}

#[test]
fn rules() {
    let check = |fields: Value| {
        let mut object = volume(fields);
        object["spec"]["hostPath"] = json!({"path": "/data"});
        create_errors(&KIND, object)
    };
    expect![[r#"
        spec.accessModes: Unsupported value: "Any": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
        spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"#]]
    .assert_eq(&check(json!({
        "accessModes": ["Any", "ReadWriteOncePod", "ReadWriteMany"],
    })));
    expect![[r#"
        spec.accessModes: Required value
        spec.capacity: Required value
        spec.capacity: Unsupported value: {}: supported values: "storage""#]]
    .assert_eq(&check(json!({"accessModes": [], "capacity": {}})));
    expect![[r#"spec.capacity[storage]: Invalid value: "0": must be greater than zero"#]]
        .assert_eq(&check(json!({"capacity": {"storage": "0"}})));
    expect![[r#"
        spec.persistentVolumeReclaimPolicy: Unsupported value: "Lose": supported values: "Delete", "Recycle", "Retain"
        spec.nodeAffinity.required: Required value: must specify required node constraints
        spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"
        spec.volumeAttributesClassName: Required value: an empty string is disallowed
        spec.csi: Required value: has to be specified when using volumeAttributesClassName"#]]
    .assert_eq(&check(json!({
        "persistentVolumeReclaimPolicy": "Lose", "volumeMode": "Tape", "nodeAffinity": {},
        "volumeAttributesClassName": "",
    })));
}

#[test]
fn updates() {
    let old = created(&KIND, volume(json!({"hostPath": {"path": "/data"}})));
    let mut new = old.clone();
    new["spec"]["capacity"]["storage"] = json!("2Gi");
    new["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
    assert_eq!(update_errors(&KIND, new.clone(), &old, Part::Main), "");
    new["spec"]["hostPath"]["path"] = json!("/other");
    new["spec"]["volumeMode"] = json!("Block");
    new["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{}]}});
    expect![[r#"
        spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation
        - hostPath: {"path":"/data","type":""}
        + hostPath: {"path":"/other","type":""}
        volumeMode: Invalid value: "Block": field is immutable"#]]
    .assert_eq(&update_errors(&KIND, new.clone(), &old, Part::Main));
    // A reference to nothing is one.
    let mut driven = old.clone();
    driven["spec"]["hostPath"] = Value::Null;
    driven["spec"]["csi"] = json!({"driver": "a.b", "volumeHandle": "v"});
    let mut referring = driven.clone();
    referring["spec"]["csi"]["nodeExpandSecretRef"] = json!({});
    expect![[r#"
        spec.csi.nodeExpandSecretRef.name: Required value
        spec.csi.nodeExpandSecretRef.namespace: Required value
        spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation
        - csi: {"driver":"a.b","volumeHandle":"v"}
        + csi: {"driver":"a.b","nodeExpandSecretRef":{},"volumeHandle":"v"}"#]]
    .assert_eq(&update_errors(&KIND, referring, &driven, Part::Main));
    new["spec"]
        .as_object_mut()
        .expect("a map")
        .remove("nodeAffinity");
    let mut placed = old.clone();
    placed["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{}]}});
    let errors = update_errors(&KIND, old.clone(), &placed, Part::Main);
    expect!["nodeAffinity: Invalid value: null: field is immutable, except for updating from beta label to GA"].assert_eq(&errors);
}

/// Labels may take the names that they have since.
#[test]
fn nodes_of_a_stored_volume() {
    let affinity = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}});
    let mut old = created(&KIND, volume(json!({"hostPath": {"path": "/data"}})));
    old["spec"]["nodeAffinity"] = affinity("beta.kubernetes.io/os");
    let errors = |key: &str| {
        let mut new = old.clone();
        new["spec"]["nodeAffinity"] = affinity(key);
        update_errors(&KIND, new, &old, Part::Main)
    };
    assert_eq!(errors("kubernetes.io/os"), "");
    expect![[r#"nodeAffinity: Invalid value: {"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/arch","operator":"Exists"}]}]}}: field is immutable, except for updating from beta label to GA"#]].assert_eq(&errors("kubernetes.io/arch"));
    expect![[r#"
        spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: Invalid value: "": name part must be non-empty
        spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        nodeAffinity: Invalid value: {"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"","operator":"Exists"}]}]}}: field is immutable, except for updating from beta label to GA"#]].assert_eq(&errors(""));
}

/// A phase that changes gets the time, unless its writer says one.
#[test]
fn transitions() {
    let old = json!({"spec": {}, "status": {
        "phase": "Pending", "lastPhaseTransitionTime": "2020-01-01T00:00:00Z",
    }});
    let mut new = old.clone();
    new["status"]["message"] = json!("m");
    let after = updated(&KIND, new.clone(), &old, Part::Status);
    assert_eq!(
        after["status"]["lastPhaseTransitionTime"],
        "2020-01-01T00:00:00Z"
    );
    new["status"]["phase"] = json!("Bound");
    let after = updated(&KIND, new.clone(), &old, Part::Status);
    let time = after["status"]["lastPhaseTransitionTime"].as_str();
    assert!(time > Some("2026"), "{after}");
    new["status"]["lastPhaseTransitionTime"] = json!("2021-01-01T00:00:00Z");
    let after = updated(&KIND, new, &old, Part::Status);
    assert_eq!(
        after["status"]["lastPhaseTransitionTime"],
        "2021-01-01T00:00:00Z"
    );
}
