use expect_test::expect;
use knarr_api::built_in_kinds;

use super::*;

fn policy(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "generation": 2}, "spec": spec})
}

fn told(spec: Value) -> String {
    let warnings = check::warnings(&policy(spec), built_in_kinds());
    let lines = warnings
        .iter()
        .map(|warning| format!("{}: {}", warning.field, warning.text));
    lines.collect::<Vec<_>>().join("")
}

fn rules(groups: &[&str], resources: &[&str]) -> Value {
    json!({"resourceRules": [{"apiGroups": groups, "apiVersions": ["v1"], "operations": ["*"], "resources": resources}]})
}

#[test]
fn expressions_are_checked_against_each_type() {
    let told = [
        json!({"matchConstraints": rules(&["apps"], &["deployments", "replicasets"]), "validations": [
            {"expression": "object.spec.replicas > 1"},
            {"expression": "object.spec.replicas > '1'", "messageExpression": "'has ' + object.spec.replicas"},
            {"expression": "object.spec.strategy.type == 'x'"},
        ]}),
        json!({"matchConstraints": rules(&["*"], &["deployments"]), "validations": [{"expression": "object.nothing == 1"}]}),
        json!({"matchConstraints": rules(&["apps"], &["*", "deployments/scale"]), "validations": [{"expression": "object.nothing == 1"}]}),
        json!({"matchConstraints": rules(&["apps"], &["deployments"]), "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "bad", "expression": "object.nothing"}],
            "validations": [{"expression": "variables.n == params.data['n'] && variables.bad == 1"}, {"expression": "params.nothing == 1"}]}),
    ]
    .map(told)
    .join("--\n");
    expect![[r#"
        spec.validations[1].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'
         | object.spec.replicas > '1'
         | .....................^

        apps/v1, Kind=ReplicaSet: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'
         | object.spec.replicas > '1'
         | .....................^
        spec.validations[1].messageExpression: apps/v1, Kind=Deployment: ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(string, int)'
         | 'has ' + object.spec.replicas
         | .......^

        apps/v1, Kind=ReplicaSet: ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(string, int)'
         | 'has ' + object.spec.replicas
         | .......^
        spec.validations[2].expression: apps/v1, Kind=ReplicaSet: ERROR: <input>:1:12: undefined field 'strategy'
         | object.spec.strategy.type == 'x'
         | ...........^
        --
        --
        --
        spec.validations[0].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'
         | variables.n == params.data['n'] && variables.bad == 1
         | ............^
        spec.validations[1].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'nothing'
         | params.nothing == 1
         | ......^
    "#]].assert_eq(&told);
}

#[test]
fn a_generation_is_checked_once() {
    let typed = |status: Value| {
        let mut tree = policy(json!({}));
        tree["status"] = status;
        serde_json::from_value::<ValidatingAdmissionPolicy>(tree).expect("a policy")
    };
    assert!(is_due(&typed(json!({}))));
    assert!(is_due(&typed(json!({"observedGeneration": 1}))));
    assert!(!is_due(&typed(json!({"observedGeneration": 2}))));
}

#[test]
fn what_is_applied() {
    let policy = serde_json::from_value(policy(json!({}))).expect("a policy");
    let none = status(&policy, &[]);
    assert_eq!(
        none["status"],
        json!({"observedGeneration": 2, "typeChecking": {}})
    );
    let warning = check::Warning {
        field: "spec.validations[0].expression".to_owned(),
        text: "x".to_owned(),
    };
    let one = status(&policy, &[warning]);
    assert_eq!(
        one["status"]["typeChecking"]["expressionWarnings"],
        json!([{"fieldRef": "spec.validations[0].expression", "warning": "x"}])
    );
}
