use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    admissionregistration::mutating_admission_policy_binding,
    testing::{create_errors, row},
};

fn policy(mutations: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
        "mutations": mutations,
    }})
}

#[test]
fn mutations_compile() {
    let apply = "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'a', restartPolicy: 'Always'}]}}";
    let patch = "[JSONPatch{op: 'test', path: '/spec/x', value: 'Red'}]";
    let mutations = json!([
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": apply}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": patch}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "has(object.a) ? [JSONPatch{op: 'remove', path: '/a'}] : []"}},
    ]);
    assert_eq!(create_errors(&KIND, policy(mutations.clone())), "");
    assert_eq!(
        row(&KIND, &policy(mutations), 0),
        "p | 3 | <unset> | <unknown>"
    );
}

#[test]
fn refusals() {
    let mut deletes = policy(json!([]));
    deletes["spec"]["reinvocationPolicy"] = "".into();
    deletes["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["DELETE"]);
    let errors = [
        deletes,
        policy(json!([
            {},
            {"patchType": "Merge"},
            {"patchType": "JSONPatch", "applyConfiguration": {"expression": "x"}},
            {"patchType": "ApplyConfiguration", "jsonPatch": {"expression": "x"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "Object{}"}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object.spec{}"}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": " "}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "object"}},
        ])),
    ]
    .map(|object| create_errors(&KIND, object))
    .join("\n--\n");
    expect![[r#"
        spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"
        spec.mutations: Required value: mutations must contain at least one item
        spec.reinvocationPolicy: Required value
        --
        spec.mutations[0].patchType: Required value
        spec.mutations[1].patchType: Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"
        spec.mutations[2].jsonPatch: Required value: must be specified when patchType is JSONPatch
        spec.mutations[2].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch
        spec.mutations[3].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration
        spec.mutations[3].jsonPatch: Invalid value: "{jsonPatch}": must not be specified when patchType is ApplyConfiguration
        spec.mutations[4].jsonPatch.expression: Invalid value: "Object{}": must evaluate to list(JSONPatch) but got Object
        spec.mutations[5].applyConfiguration.expression: Invalid value: "Object.spec{}": must evaluate to Object but got Object.spec
        spec.mutations[6].applyConfiguration.expression: Required value
        spec.mutations[7].applyConfiguration.expression: Invalid value: "object": must evaluate to Object but got dyn"#]].assert_eq(&errors);
}

#[test]
fn bindings_name_a_policy_and_no_deletes() {
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]}]);
    let binding =
        json!({"metadata": {"name": "b"}, "spec": {"matchResources": {"resourceRules": rules}}});
    let errors = create_errors(&mutating_admission_policy_binding::KIND, binding);
    expect![[r#"
        spec.policyName: Required value
        spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#]].assert_eq(&errors);
}
