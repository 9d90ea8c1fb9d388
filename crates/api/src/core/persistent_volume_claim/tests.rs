use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors},
};

const NOW: i64 = 1_767_225_600;

fn claim(fields: Value) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    });
    let fields = fields.as_object().cloned().unwrap_or_default();
    spec.as_object_mut().expect("a map").extend(fields);
    json!({"metadata": {"name": "c"}, "spec": spec})
}

#[test]
fn defaults_and_columns() {
    let mut object = created(&KIND, claim(json!({"storageClassName": "slow"})));
    assert_eq!(object["spec"]["volumeMode"], "Filesystem");
    expect!["c | Pending |  |  |  | slow | <unset> | <unknown> | Filesystem"]
        .assert_eq(&row(&KIND, &object, NOW));
    object["spec"]["volumeName"] = json!("pv");
    object["status"] = json!({
        "phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOncePod"],
    });
    object["metadata"]["annotations"] = json!({"volume.beta.kubernetes.io/storage-class": "fast"});
    expect!["c | Bound | pv | 2Gi | RWOP | fast | <unset> | <unknown> | Filesystem"]
        .assert_eq(&row(&KIND, &object, NOW));
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(row(&KIND, &object, NOW).starts_with("c | Terminating |"));
}

#[test]
fn rules() {
    let check = |fields: Value| create_errors(&KIND, claim(fields));
    assert_eq!(check(json!({"storageClassName": ""})), "");
    expect![[r#"
        spec.accessModes: Required value: at least 1 access mode is required
        spec.resources[storage]: Required value"#]]
    .assert_eq(&create_errors(&KIND, json!({"spec": {}})));
    expect![[r#"
        spec.selector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator
        spec.resources[storage]: Invalid value: "-1": must be greater than zero
        spec.storageClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem""#]]
    .assert_eq(&check(json!({
        "selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
        "resources": {"requests": {"storage": "-1"}}, "storageClassName": "A", "volumeMode": "Tape",
    })));
}

#[test]
fn data_sources() {
    let source = json!({"kind": "PersistentVolumeClaim", "name": "other"});
    let object = created(&KIND, claim(json!({"dataSource": source})));
    assert_eq!(object["spec"]["dataSourceRef"], source);
    let object = created(&KIND, claim(json!({"dataSourceRef": source})));
    assert_eq!(object["spec"]["dataSource"], source);
    // Kinds that the older field never took are dropped, those of the newer one stay.
    let odd = json!({"kind": "Backup", "apiGroup": "x.io", "name": "b"});
    let object = created(&KIND, claim(json!({"dataSource": odd})));
    assert_eq!(object["spec"].get("dataSource"), None);
    let object = created(&KIND, claim(json!({"dataSourceRef": odd})));
    assert_eq!(object["spec"]["dataSource"], odd);
    let away = json!({"kind": "PersistentVolumeClaim", "name": "b", "namespace": "n"});
    let object = created(&KIND, claim(json!({"dataSourceRef": away})));
    assert_eq!(object["spec"].get("dataSourceRef"), None);
    // No namespace is the claim's own.
    let here = json!({"kind": "PersistentVolumeClaim", "name": "other", "namespace": ""});
    let both = claim(json!({"dataSource": source, "dataSourceRef": here}));
    assert_eq!(create_errors(&KIND, both), "");
    // A claim that has a source may not be given one of another namespace.
    let old = created(&KIND, claim(json!({"dataSourceRef": source})));
    let mut new = old.clone();
    new["spec"]["dataSourceRef"]["namespace"] = json!("-n");
    let errors = update_errors(&KIND, new, &old, Part::Main);
    assert!(
        errors.contains("spec.dataSourceRef.namespace: Invalid value: \"-n\""),
        "{errors}"
    );
    assert!(
        errors.contains("may not be specified when dataSourceRef.namespace"),
        "{errors}"
    );
    expect![[r#"
        spec.dataSourceRef: Invalid value: "Backup": must be 'PersistentVolumeClaim' when referencing the default apiGroup
        spec: Invalid value: {}: must match dataSourceRef"#]]
    .assert_eq(&create_errors(
        &KIND,
        claim(json!({"dataSource": source, "dataSourceRef": {"kind": "Backup", "name": "b"}})),
    ));
}

#[test]
fn groups_of_data_sources() {
    let source = json!({"kind": "Backup", "apiGroup": "A.b", "name": "b"});
    let given = claim(json!({"dataSourceRef": source}));
    expect![[r#"
        spec.dataSource.apiGroup: Invalid value: "A.b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.dataSourceRef.apiGroup: Invalid value: "A.b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]].assert_eq(&create_errors(&KIND, given.clone()));
    let stored = created(&KIND, given);
    let mut new = stored.clone();
    new["spec"]["volumeName"] = json!("pv");
    assert_eq!(update_errors(&KIND, new, &stored, Part::Main), "");
}

/// Upstream warns of parts of a byte, and takes them.
#[test]
fn parts_of_bytes() {
    let given = claim(json!({"resources": {"requests": {"storage": "100m"}}}));
    assert_eq!(create_errors(&KIND, given.clone()), "");
    let warnings = KIND.strategy.warnings(&given, None, Part::Main);
    assert_eq!(
        warnings,
        [
            "spec.resources.requests[storage]: fractional byte value \"100m\" is invalid, must be an integer"
        ]
    );
}

#[test]
fn updates() {
    let old = created(&KIND, claim(json!({})));
    let check = |new: Value, old: &Value| update_errors(&KIND, new, old, Part::Main);
    let mut new = old.clone();
    new["spec"]["volumeName"] = json!("pv");
    new["spec"]["storageClassName"] = json!("late");
    assert_eq!(check(new.clone(), &old), "");
    new["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
    expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
          resources: - {"requests":{"storage":"1Gi"}} + {"requests":{"storage":"2Gi"}}"#]]
    .assert_eq(&check(new, &old));

    let mut bound = old.clone();
    bound["spec"]["volumeName"] = json!("pv");
    bound["spec"]["storageClassName"] = json!("");
    bound["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
    let mut new = bound.clone();
    new["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
    assert_eq!(check(new.clone(), &bound), "");
    new["spec"]["resources"]["requests"]["storage"] = json!("512Mi");
    expect![
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]
    .assert_eq(&check(new, &bound));
    let mut new = bound.clone();
    new["spec"]["resources"] = json!({});
    let removed = check(new, &bound);
    assert!(
        removed.contains("spec: Forbidden: spec is immutable"),
        "{removed}"
    );
    let mut new = bound.clone();
    new["spec"]["volumeName"] = json!("other");
    new["spec"]["storageClassName"] = json!("other");
    new["spec"]["volumeMode"] = json!("Block");
    expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
          storageClassName: - "" + "other"
          volumeMode: - "Filesystem" + "Block"
          volumeName: - "pv" + "other"
        volumeMode: Invalid value: "Block": field is immutable"#]]
    .assert_eq(&check(new, &bound));
}

#[test]
fn classes_of_annotations() {
    let mut old = created(&KIND, claim(json!({})));
    old["metadata"]["annotations"] = json!({"volume.beta.kubernetes.io/storage-class": "slow"});
    let check = |new: Value| update_errors(&KIND, new, &old, Part::Main);
    let mut new = old.clone();
    new["spec"]["storageClassName"] = json!("slow");
    new["metadata"]["annotations"] = json!({});
    assert_eq!(check(new.clone()), "");
    new["spec"]["storageClassName"] = json!("fast");
    expect![[r#"
        metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "": field is immutable
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
          storageClassName: - null + "fast""#]]
    .assert_eq(&check(new));
}

#[test]
fn status() {
    let old = created(&KIND, claim(json!({})));
    let mut new = old.clone();
    new["spec"]["volumeName"] = json!("ignored");
    new["status"] = json!({
        "phase": "Bound", "capacity": {"storage": "-1"}, "allocatedResources": {"cpu": "1"},
        "allocatedResourceStatuses": {"storage": "Lost"},
    });
    expect![[r#"
        status.capacity[storage]: Invalid value: -1: must be a valid resource quantity
        status.allocatedResources: Unsupported value: "cpu": supported values: "storage"
        status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending""#]]
    .assert_eq(&update_errors(&KIND, new, &old, Part::Status));
}
