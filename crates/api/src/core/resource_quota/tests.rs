use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors},
};

fn quota(spec: Value) -> Value {
    json!({"metadata": {"name": "q", "namespace": "d"}, "spec": spec})
}

#[test]
fn refusals() {
    let selector = |scope: &str, operator: &str, values: Value| {
        json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
            {"scopeName": scope, "operator": operator, "values": values}]}})
    };
    let errors = [
        json!({"hard": {"cpu": "-1", "pods": "1.5", "gold": "1", "storage": "1", "count/deployments.apps": "many", "a b": "1"}}),
        json!({"hard": {"x.y/z": "0.5", "services.nodeports": "0.5", "requests.x.y/z": "0.5"}}),
        json!({"hard": {"services": "1", "pods": "1"}, "scopes": ["Terminating"]}),
        json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort", "Nice"]}),
        selector("PriorityClass", "In", json!([])),
        selector("PriorityClass", "Exists", json!(["a"])),
        selector("BestEffort", "In", json!(["a"])),
        selector("Nice", "Like", json!([])),
        selector("PriorityClass", "NotIn", json!(["a"])),
        json!({"hard": {"count/deployments.apps": "1", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"}}),
    ]
    .map(|spec| create_errors(&KIND, quota(spec)))
    .join("\n");
    expect![[r#"
        spec.hard[a b]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.hard[a b]: Invalid value: "a b": must be a standard resource for quota
        spec.hard[count/deployments.apps]: Invalid value: "many": must be a valid resource quantity
        spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0
        spec.hard[gold]: Invalid value: "gold": must be a standard resource type or fully qualified
        spec.hard[gold]: Invalid value: "gold": must be a standard resource for quota
        spec.hard[pods]: Invalid value: "1500m": must be an integer
        spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota
        spec.hard[services.nodeports]: Invalid value: "500m": must be an integer
        spec.hard[x.y/z]: Invalid value: "500m": must be an integer
        spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource
        spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Nice"]: unsupported scope
        spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Nice"]: conflicting scopes
        spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector
        spec.scopeSelector.matchExpressions.values: Invalid value: ["a"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector
        spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity
        spec.scopeSelector.matchExpressions.scopeName: Invalid value: "Nice": unsupported scope
        spec.scopeSelector.matchExpressions.operator: Invalid value: "Like": not a valid selector operator

    "#]].assert_eq(&errors);
    let old = created(
        &KIND,
        quota(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "Terminating"]})),
    );
    let turned = quota(json!({"hard": {"pods": "2"}, "scopes": ["Terminating", "BestEffort"]}));
    assert_eq!(update_errors(&KIND, turned, &old, Part::Main), "");
    let other = quota(json!({"hard": {"pods": "2"}, "scopes": ["BestEffort"]}));
    expect![[r#"spec.scopes: Invalid value: ["BestEffort"]: field is immutable"#]]
        .assert_eq(&update_errors(&KIND, other, &old, Part::Main));
    let mut status = old.clone();
    status["status"] = json!({"hard": {"pods": "1"}, "used": {"pods": "-1"}});
    expect![[r#"status.used[pods]: Invalid value: "-1": must be greater than or equal to 0"#]]
        .assert_eq(&update_errors(&KIND, status, &old, Part::Status));
}

#[test]
fn rows_and_warnings() {
    let mut object = created(
        &KIND,
        quota(json!({"hard": {"cpu": "3", "limits.cpu": "2", "requests.memory": "1"}})),
    );
    object["status"] = json!({"hard": {"cpu": "3", "limits.cpu": "2", "pods": "5"}, "used": {"cpu": "500m", "pods": "1"}});
    expect!["q | cpu: 500m/3, pods: 1/5 | limits.cpu: 0/2 | <unknown>"]
        .assert_eq(&row(&KIND, &object, 0));
    assert_eq!(
        KIND.strategy
            .warnings(&object, None, crate::kind::Part::Main),
        ["ResourceQuota cpu (3) should be less than limits.cpu (2)"]
    );
}
