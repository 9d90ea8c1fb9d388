use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::testing::{create_errors, created, row, update_errors, updated};

const NOW: i64 = 1_767_225_600;

fn agent(more: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "agent", "namespace": "d", "creationTimestamp": "2025-12-31T22:00:00Z"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
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
    let object = created(&KIND, agent(json!({})));
    assert_eq!(
        object["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    assert_eq!(object["spec"]["revisionHistoryLimit"], json!(10));
    assert_eq!(
        object["spec"]["template"]["spec"]["restartPolicy"],
        json!("Always")
    );
    assert_eq!(
        object["status"],
        json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0})
    );
    let on_delete = created(
        &KIND,
        agent(json!({"updateStrategy": {"type": "OnDelete"}})),
    );
    assert_eq!(
        on_delete["spec"]["updateStrategy"],
        json!({"type": "OnDelete"})
    );
}

#[test]
fn errors() {
    let check = |more: Value| create_errors(&KIND, agent(more));
    let rolling = |rolling: Value| check(json!({"updateStrategy": {"rollingUpdate": rolling}}));
    assert_eq!(check(json!({})), "");
    assert_eq!(rolling(json!({"maxUnavailable": 0, "maxSurge": "10%"})), "");
    expect![[r#"spec.template.metadata.labels: Invalid value: {"app":"agent"}: `selector` does not match template `labels`"#]]
        .assert_eq(&check(json!({"selector": null})));
    expect!["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]
        .assert_eq(&check(json!({"selector": {}})));
    expect![[r#"spec.template.metadata.labels: Invalid value: {"app":"agent"}: `selector` does not match template `labels`"#]]
        .assert_eq(&check(json!({"selector": {"matchLabels": {"app": "x"}}})));
    expect![[r#"
        spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
        spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported
        spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0
        spec.revisionHistoryLimit: Invalid value: -2: must be greater than or equal to 0"#]]
    .assert_eq(&check(json!({
        "minReadySeconds": -1, "revisionHistoryLimit": -2,
        "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {
            "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never", "activeDeadlineSeconds": 5}},
    })));
    expect![[r#"spec.updateStrategy: Unsupported value: {"type":"Recreate"}: supported values: "RollingUpdate", "OnDelete""#]]
        .assert_eq(&check(json!({"updateStrategy": {"type": "Recreate"}})));
    expect!["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]
        .assert_eq(&rolling(json!({"maxUnavailable": "0%"})));
    expect!["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"]
        .assert_eq(&rolling(json!({"maxSurge": 1})));
    expect![[r#"
        spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: -1: must be greater than or equal to 0
        spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": must not be greater than 100%
        spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": may not be set when maxUnavailable is non-zero"#]]
    .assert_eq(&rolling(json!({"maxUnavailable": -1, "maxSurge": "101%"})));
}

#[test]
fn updates() {
    let old = created(&KIND, agent(json!({})));
    let mut new = old.clone();
    new["spec"]["selector"]["matchLabels"]["tier"] = json!("x");
    new["spec"]["template"]["metadata"]["labels"]["tier"] = json!("x");
    expect![[r#"spec.selector: Invalid value: {"matchLabels":{"app":"agent","tier":"x"}}: field is immutable"#]]
        .assert_eq(&update_errors(&KIND, new, &old, Part::Main));
    let mut old = old;
    old["status"]["collisionCount"] = json!(2);
    let mut status = old.clone();
    status["status"] = json!({"numberReady": -1, "numberUnavailable": -1, "collisionCount": 1});
    expect![[r#"
        status.numberReady: Invalid value: -1: must be greater than or equal to 0
        status.numberUnavailable: Invalid value: -1: must be greater than or equal to 0
        status.collisionCount: Invalid value: 1: cannot be decremented"#]]
    .assert_eq(&update_errors(&KIND, status, &old, Part::Status));
}

/// The generation of the template is the server's, whatever a client says.
#[test]
fn generations_that_are_no_numbers_cannot_be_converted() {
    let set = |text: &str| json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": text}}});
    for (text, wanted) in [
        ("12", None),
        ("+1", None),
        ("", Some(r#"strconv.ParseInt: parsing "": invalid syntax"#)),
        (
            "1x",
            Some(r#"strconv.ParseInt: parsing "1x": invalid syntax"#),
        ),
        (
            "9223372036854775808",
            Some(r#"strconv.ParseInt: parsing "9223372036854775808": value out of range"#),
        ),
    ] {
        let found = KIND.strategy.unconvertible(&set(text));
        assert_eq!(found.as_deref(), wanted, "{text}");
    }
    assert_eq!(KIND.strategy.unconvertible(&json!({})), None);
}

#[test]
fn template_generations() {
    let generation =
        |object: &Value| object["metadata"]["annotations"][TEMPLATE_GENERATION].clone();
    let mut given = agent(json!({}));
    for (text, stored) in [("7", "7"), ("-3", "1"), ("x", "1")] {
        given["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: text});
        assert_eq!(generation(&created(&KIND, given.clone())), json!(stored));
    }
    let old = created(&KIND, agent(json!({})));
    assert_eq!(generation(&old), json!("1"));
    let change = |change: &dyn Fn(&mut Value), part| {
        let mut new = old.clone();
        new["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "9"});
        change(&mut new);
        generation(&updated(&KIND, new, &old, part))
    };
    let image = |object: &mut Value| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("i:2")
    };
    assert_eq!(change(&|_| {}, Part::Main), json!("1"));
    assert_eq!(
        change(&|o| o["spec"]["minReadySeconds"] = json!(1), Part::Main),
        json!("1")
    );
    assert_eq!(change(&image, Part::Main), json!("2"));
    assert_eq!(change(&image, Part::Status), json!("1"));
}

#[test]
fn rows() {
    let mut object = created(&KIND, agent(json!({})));
    object["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    object["status"] = json!({"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3,
        "updatedNumberScheduled": 2, "numberAvailable": 1});
    expect!["agent | 5 | 4 | 3 | 2 | 1 | disk=ssd | 120m | c | i:1 | app=agent"]
        .assert_eq(&row(&KIND, &object, NOW));
}
