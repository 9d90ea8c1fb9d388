use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::testing::{create_errors, created, row, update_errors};

const NOW: i64 = 1_767_225_600;

fn db(more: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "db", "namespace": "d", "creationTimestamp": "2025-12-31T22:00:00Z"},
        "spec": {
            "selector": {"matchLabels": {"app": "db"}}, "serviceName": "db",
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}]},
            },
        },
    });
    if let (Some(spec), Value::Object(more)) = (object["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    object
}

#[test]
fn defaults() {
    let object = created(&KIND, db(json!({})));
    let spec = &object["spec"];
    assert_eq!(spec["podManagementPolicy"], json!("OrderedReady"));
    assert_eq!(
        spec["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}})
    );
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    assert_eq!(spec["replicas"], json!(1));
    assert_eq!(spec["revisionHistoryLimit"], json!(10));
    assert_eq!(
        object["status"],
        json!({"replicas": 0, "availableReplicas": 0})
    );
    let strategy = |given: Value| {
        created(&KIND, db(json!({"updateStrategy": given})))["spec"]["updateStrategy"].clone()
    };
    for (given, stored) in [
        (json!({"type": "OnDelete"}), json!({"type": "OnDelete"})),
        (
            json!({"type": "RollingUpdate"}),
            json!({"type": "RollingUpdate"}),
        ),
        (
            json!({"rollingUpdate": {"partition": 2}}),
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2, "maxUnavailable": 1}}),
        ),
    ] {
        assert_eq!(strategy(given), stored);
    }
    let claims = created(
        &KIND,
        db(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}]})),
    );
    assert_eq!(
        claims["spec"]["volumeClaimTemplates"][0],
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}})
    );
}

#[test]
fn errors() {
    let check = |more: Value| create_errors(&KIND, db(more));
    assert_eq!(check(json!({})), "");
    let mounted = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"hostname": "Not A Name", "containers": [
        {"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}});
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claims = json!([{"metadata": {"name": "data"}, "spec": spec}]);
    assert_eq!(
        check(json!({"template": mounted, "volumeClaimTemplates": claims})),
        "",
        "a claim's volume is there, and the hostname is the pod's"
    );
    assert_eq!(
        check(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}]})),
        "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required\n\
         spec.volumeClaimTemplates[0].spec.resources[storage]: Required value"
    );
    expect![[r#"
        spec.podManagementPolicy: Invalid value: "Any": must be 'OrderedReady' or 'Parallel'
        spec.updateStrategy: Invalid value: {"type":"Recreate"}: must be 'RollingUpdate' or 'OnDelete'
        spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Lose": supported values: "Retain", "Delete"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
        spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0
        spec.ordinals.start: Invalid value: -3: must be greater than or equal to 0"#]]
    .assert_eq(&check(json!({
        "podManagementPolicy": "Any", "updateStrategy": {"type": "Recreate"}, "replicas": -1, "minReadySeconds": -2,
        "ordinals": {"start": -3}, "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Lose"},
    })));
    expect![[r#"spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for updateStrategy 'RollingUpdate'"#]]
        .assert_eq(&check(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}})));
    expect![[r#"
        spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0
        spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "0%": cannot be 0"#]]
    .assert_eq(&check(json!({"updateStrategy": {"rollingUpdate": {"partition": -1, "maxUnavailable": "0%"}}})));
    expect![[r#"
        spec.selector: Required value
        spec.template.metadata.labels: Invalid value: {"app":"db"}: `selector` does not match template `labels`"#]]
    .assert_eq(&check(json!({"selector": null})));
    expect!["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"]
        .assert_eq(&check(json!({"selector": {}})));
    assert!(
        check(json!({"serviceName": "Not A Name"})).starts_with("spec.serviceName: Invalid value")
    );
}

#[test]
fn updates() {
    let old = created(&KIND, db(json!({})));
    let mut new = old.clone();
    new["spec"]["serviceName"] = json!("other");
    new["spec"]["podManagementPolicy"] = json!("Parallel");
    new["spec"]["replicas"] = json!(4);
    new["spec"]["revisionHistoryLimit"] = json!(-1);
    expect![[r#"
        spec.serviceName: Invalid value: "other": field is immutable
        spec.podManagementPolicy: Invalid value: "Parallel": field is immutable"#]]
    .assert_eq(&update_errors(&KIND, new.clone(), &old, Part::Main));
    assert_eq!(
        KIND.strategy
            .warnings(&new, None, crate::kind::Part::Main)
            .len(),
        1
    );
    let mut status = old.clone();
    status["status"] =
        json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 1, "updatedReplicas": -1});
    expect![[r#"
        status.updatedReplicas: Invalid value: -1: must be greater than or equal to 0
        status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"#]]
    .assert_eq(&update_errors(&KIND, status, &old, Part::Status));
}

#[test]
fn rows_and_scale() {
    let mut object = created(&KIND, db(json!({"replicas": 3})));
    object["status"] = json!({"replicas": 2, "readyReplicas": 1});
    assert_eq!(row(&KIND, &object, NOW), "db | 1/3 | 120m | c | i:1");
    let strategy = KIND.strategy;
    assert_eq!(strategy.scale(&object), Some((3, 2, "app=db".to_owned())));
    strategy.set_scale(&mut object, 7).expect("a spec");
    assert_eq!(object["spec"]["replicas"], json!(7));
    assert!(!strategy.validate_name("a.b", false).is_empty());
    assert!(strategy.validate_name("a-", true).is_empty());
}
