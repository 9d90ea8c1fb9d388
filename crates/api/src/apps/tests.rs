use expect_test::expect;
use serde_json::{Value, json};

use super::{controller_revision, deployment, replica_set};
use crate::{
    kind::Part,
    testing::{create_errors, created, pretty, row, update_errors},
};

const NOW: i64 = 1_767_225_600;

fn web(more: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "d", "creationTimestamp": "2025-12-31T22:00:00Z"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j:2"}]},
            },
        },
    });
    if let (Some(spec), Value::Object(more)) = (object["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    object
}

#[test]
fn deployment_defaults() {
    let object = created(&deployment::KIND, web(json!({})));
    expect![[r#"
        {
          "metadata": {
            "creationTimestamp": "2025-12-31T22:00:00Z",
            "name": "web",
            "namespace": "d"
          },
          "spec": {
            "progressDeadlineSeconds": 600,
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "selector": {
              "matchLabels": {
                "app": "web"
              }
            },
            "strategy": {
              "rollingUpdate": {
                "maxSurge": "25%",
                "maxUnavailable": "25%"
              },
              "type": "RollingUpdate"
            },
            "template": {
              "metadata": {
                "labels": {
                  "app": "web"
                }
              },
              "spec": {
                "containers": [
                  {
                    "image": "i:1",
                    "imagePullPolicy": "IfNotPresent",
                    "name": "c",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File"
                  },
                  {
                    "image": "j:2",
                    "imagePullPolicy": "IfNotPresent",
                    "name": "d",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File"
                  }
                ],
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "terminationGracePeriodSeconds": 30
              }
            }
          },
          "status": {}
        }"#]]
    .assert_eq(&pretty(&object));
    let recreate = created(
        &deployment::KIND,
        web(json!({"strategy": {"type": "Recreate"}})),
    );
    assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
    let set = created(&replica_set::KIND, web(json!({})));
    assert_eq!(set["spec"]["replicas"], json!(1));
    assert_eq!(set["status"], json!({"replicas": 0}));
}

#[test]
fn deployment_errors() {
    let check = |more: Value| create_errors(&deployment::KIND, web(more));
    expect![[r#""#]].assert_eq(&check(json!({})));
    expect![[r#"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
        spec.selector: Required value
        spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#]].assert_eq(&check(json!({"selector": null, "replicas": -1})));
    expect!["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]
        .assert_eq(&check(json!({"selector": {}})));
    expect![[r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#]].assert_eq(&check(json!({"selector": {"matchLabels": {"app": "db"}}})));
    expect![[r#"
        spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'
        spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0
        spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"#]].assert_eq(&check(json!({
        "strategy": {"type": "Recreate", "rollingUpdate": {}}, "minReadySeconds": 700, "revisionHistoryLimit": -1,
    })));
    expect!["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"].assert_eq(&check(json!({
        "strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}},
    })));
    expect![[r#"
        spec.strategy.rollingUpdate.maxSurge: Invalid value: "some": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
        spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#]].assert_eq(&check(json!({
        "strategy": {"rollingUpdate": {"maxSurge": "some", "maxUnavailable": "101%"}},
    })));
    expect![[r#"
        spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
        spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"#]].assert_eq(&check(json!({
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never", "activeDeadlineSeconds": 5}},
    })));
}

#[test]
fn updates() {
    let old = created(&deployment::KIND, web(json!({})));
    let mut new = old.clone();
    new["spec"]["selector"]["matchLabels"]["tier"] = json!("x");
    new["spec"]["template"]["metadata"]["labels"]["tier"] = json!("x");
    expect![[r#"spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"x"}}: field is immutable"#]].assert_eq(&update_errors(&deployment::KIND, new, &old, Part::Main));
    let mut status = old.clone();
    status["status"] =
        json!({"replicas": 1, "updatedReplicas": 2, "readyReplicas": -1, "availableReplicas": 1});
    status["spec"]["replicas"] = json!(9);
    expect![[r#"
        status.readyReplicas: Invalid value: -1: must be greater than or equal to 0
        status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas
        status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas"#]]
    .assert_eq(&update_errors(
        &deployment::KIND,
        status,
        &old,
        Part::Status,
    ));
}

#[test]
fn collisions_are_counted_up() {
    let count = |count: i64| {
        let mut object = created(&deployment::KIND, web(json!({})));
        object["status"] = json!({"collisionCount": count});
        object
    };
    expect!["status.collisionCount: Invalid value: 1: cannot be decremented"].assert_eq(
        &update_errors(&deployment::KIND, count(1), &count(2), Part::Status),
    );
    let kept = update_errors(&deployment::KIND, count(2), &count(2), Part::Status);
    assert_eq!(kept, "");
}

#[test]
fn generation() {
    let strategy = deployment::KIND.strategy;
    let old = created(&deployment::KIND, web(json!({})));
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        strategy.changes_generation(&new, &old)
    };
    assert!(!changed(&|_| {}));
    assert!(!changed(&|object| object["status"] = json!({"replicas": 5})));
    assert!(!changed(
        &|object| object["metadata"]["labels"] = json!({"a": "b"})
    ));
    assert!(!changed(&|object| object["spec"]["paused"] = Value::Null));
    assert!(changed(
        &|object| object["metadata"]["annotations"] = json!({"a": "b"})
    ));
    assert!(changed(&|object| object["spec"]["replicas"] = json!(2)));
    assert!(deployment::KIND.strategy.has_generation());
}

#[test]
fn scale() {
    let mut object = created(&deployment::KIND, web(json!({"replicas": 3})));
    object["status"] = json!({"replicas": 2});
    let strategy = deployment::KIND.strategy;
    assert_eq!(strategy.scale(&object), Some((3, 2, "app=web".to_owned())));
    strategy.set_scale(&mut object, 7).expect("a spec");
    assert_eq!(object["spec"]["replicas"], json!(7));
}

#[test]
fn rows() {
    let mut object = created(&deployment::KIND, web(json!({"replicas": 3})));
    object["status"] =
        json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1});
    let revision = json!({
        "metadata": {"name": "r", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "controller": true}]},
        "revision": 4,
    });
    let rows = [
        row(&deployment::KIND, &object, NOW),
        row(&replica_set::KIND, &object, NOW),
        row(&controller_revision::KIND, &revision, NOW),
    ];
    expect![[r#"
        web | 2/3 | 3 | 1 | 120m | c,d | i:1,j:2 | app=web
        web | 3 | 3 | 2 | 120m | c,d | i:1,j:2 | app=web
        r | daemonset.apps/x | 4 | <unknown>"#]]
    .assert_eq(&rows.join("\n"));
}
