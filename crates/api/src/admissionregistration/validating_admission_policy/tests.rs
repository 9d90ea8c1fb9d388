use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    admissionregistration::validating_admission_policy_binding,
    kind::Part,
    testing::{create_errors, created, row, update_errors, updated},
};

fn rules() -> Value {
    json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}])
}

fn policy(spec: Value) -> Value {
    let mut whole = json!({"matchConstraints": {"resourceRules": rules()}});
    whole
        .as_object_mut()
        .expect("an object")
        .extend(spec.as_object().expect("an object").clone());
    json!({"metadata": {"name": "p"}, "spec": whole})
}

#[test]
fn defaults() {
    let object = created(
        &KIND,
        policy(json!({"validations": [{"expression": "true"}]})),
    );
    let constraints = &object["spec"]["matchConstraints"];
    assert_eq!(object["spec"]["failurePolicy"], "Fail");
    assert_eq!(constraints["matchPolicy"], "Equivalent");
    assert_eq!(constraints["resourceRules"][0]["scope"], "*");
    assert_eq!(
        (
            &constraints["namespaceSelector"],
            &constraints["objectSelector"]
        ),
        (&json!({}), &json!({}))
    );
    assert_eq!(object["status"], json!({}));
}

#[test]
fn refusals() {
    let errors = [
        json!({}),
        json!({"matchConstraints": null, "failurePolicy": "Perhaps", "validations": [{"expression": "true"}]}),
        json!({"matchConstraints": {}, "paramKind": {}, "validations": [{}]}),
        json!({"paramKind": {"apiVersion": "a/b/c", "kind": "X_"}, "validations": [{"expression": "true"}]}),
        json!({"paramKind": {"apiVersion": "A!/1", "kind": "Rule"}, "validations": [{"expression": "params != null"}]}),
        json!({"paramKind": {"apiVersion": "a/", "kind": "Rule"}, "validations": [{"expression": "params != null"}]}),
        json!({"validations": [{"expression": "object.x"}, {"expression": "params == null"}, {"expression": "1 +"}]}),
        json!({"validations": [{"expression": "true", "message": " ", "messageExpression": " ", "reason": "NotFound"}]}),
        json!({"validations": [{"expression": "true", "message": "a\nb", "messageExpression": "1"}]}),
        json!({"validations": [{"expression": "true", "messageExpression": "string(authorizer.path('/x').check('get').allowed())"}]}),
        json!({"auditAnnotations": [{"key": "a", "valueExpression": "'x'"}, {"key": "a", "valueExpression": "1"}, {"key": "", "valueExpression": ""}]}),
        json!({"variables": [{"name": "a-b", "expression": "1"}, {"name": "", "expression": ""}, {"name": "c", "expression": "nothing"}], "validations": [{"expression": "variables.c"}]}),
        json!({"variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "list", "expression": "[1]"}], "validations": [{"expression": "variables.n > 1 && variables.list == ['a'] && variables.m"}]}),
        json!({"matchConditions": [{"name": "a", "expression": "1"}, {"name": "a", "expression": " true "}, {"name": "!", "expression": ""}], "validations": [{"expression": "true"}]}),
    ]
    .map(|spec| create_errors(&KIND, policy(spec)))
    .join("\n--\n");
    expect![[r#"
        spec.validations: Required value: validations or auditAnnotations must contain at least one item
        spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item
        --
        spec.failurePolicy: Unsupported value: "Perhaps": supported values: "Fail", "Ignore"
        spec.matchConstraints: Required value
        --
        spec.paramKind.apiVersion: Required value
        spec.paramKind.kind: Required value
        spec.matchConstraints.resourceRules: Required value
        spec.validations[0].expression: Required value: expression is not specified
        --
        spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c
        spec.paramKind.kind: Invalid value: "X_": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        --
        spec.paramKind.apiVersion: Invalid value: "A!": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.paramKind.apiVersion: Invalid value: "1": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        --
        spec.paramKind.apiVersion: Invalid value: "a/": version must be specified
        --
        spec.validations[0].expression: Invalid value: "object.x": must evaluate to bool but got dyn
        spec.validations[1].expression: Invalid value: "params == null": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')
         | params == null
         | ^
        spec.validations[2].expression: Invalid value: "1 +": compilation failed: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
         | 1 +
         | ...^
        --
        spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified
        spec.validations[0].message: Invalid value: " ": must be non-empty if specified
        spec.validations[0].reason: Unsupported value: "NotFound": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"
        --
        spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string but got int
        spec.validations[0].message: Invalid value: "a\nb": must not contain line breaks
        --
        spec.validations[0].messageExpression: Invalid value: "string(authorizer.path('/x').check('get').allowed())": compilation failed: ERROR: <input>:1:8: undeclared reference to 'authorizer' (in container '')
         | string(authorizer.path('/x').check('get').allowed())
         | .......^
        --
        spec.auditAnnotations[1].valueExpression: Invalid value: "1": must evaluate to one of [string null_type] but got int
        spec.auditAnnotations[1].key: Duplicate value: "a"
        spec.auditAnnotations[2].key: Invalid value: "p/": name part must be non-empty
        spec.auditAnnotations[2].key: Invalid value: "p/": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.auditAnnotations[2].valueExpression: Required value: valueExpression is not specified
        --
        spec.variables[0].name: Invalid value: "a-b": must be a valid CEL identifier
        spec.variables[1].name: Required value: name is not specified
        spec.variables[1].expression: Required value: expression is not specified
        spec.variables[2].expression: Invalid value: "nothing": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')
         | nothing
         | ^
        spec.validations[0].expression: Invalid value: "variables.c": must evaluate to bool but got dyn
        --
        spec.validations[0].expression: Invalid value: "variables.n > 1 && variables.list == ['a'] && variables.m": compilation failed: ERROR: <input>:1:35: found no matching overload for '_==_' applied to '(list(int), list(string))'
         | variables.n > 1 && variables.list == ['a'] && variables.m
         | ..................................^
        ERROR: <input>:1:56: undefined field 'm'
         | variables.n > 1 && variables.list == ['a'] && variables.m
         | .......................................................^
        --
        spec.matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int
        spec.matchConditions[1].name: Duplicate value: "a"
        spec.matchConditions[2].expression: Required value
        spec.matchConditions[2].name: Invalid value: "!": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]].assert_eq(&errors);
}

#[test]
fn rules_are_judged() {
    let errors = [
        json!([{}]),
        json!([{"apiGroups": ["*", "a"], "apiVersions": ["*", "", "v1"], "operations": ["*", "PATCH"], "resources": ["*", "pods"], "scope": "Here"}]),
        json!([{"apiGroups": ["a"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/*", "pods/log", "*/scale", "a/scale", "", "*/*"], "resourceNames": ["a", "a", "a/b"]}]),
    ]
    .map(|rules| {
        let spec = json!({"matchConstraints": {"resourceRules": rules, "matchPolicy": "Near", "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}, "validations": [{"expression": "true"}]});
        create_errors(&KIND, policy(spec))
    })
    .join("\n--\n");
    expect![[r#"
        spec.matchConstraints.matchPolicy: Unsupported value: "Near": supported values: "Equivalent", "Exact"
        spec.matchConstraints.namespaceSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator
        spec.matchConstraints.resourceRules[0].operations: Required value
        spec.matchConstraints.resourceRules[0].apiGroups: Required value
        spec.matchConstraints.resourceRules[0].apiVersions: Required value
        spec.matchConstraints.resourceRules[0].resources: Required value
        --
        spec.matchConstraints.matchPolicy: Unsupported value: "Near": supported values: "Equivalent", "Exact"
        spec.matchConstraints.namespaceSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator
        spec.matchConstraints.resourceRules[0].operations: Invalid value: ["*","PATCH"]: if '*' is present, must not specify other operations
        spec.matchConstraints.resourceRules[0].operations[1]: Unsupported value: "PATCH": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"
        spec.matchConstraints.resourceRules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other API groups
        spec.matchConstraints.resourceRules[0].apiVersions: Invalid value: ["*","","v1"]: if '*' is present, must not specify other API versions
        spec.matchConstraints.resourceRules[0].apiVersions[1]: Required value
        spec.matchConstraints.resourceRules[0].resources: Invalid value: ["*","pods"]: if '*' is present, must not specify other resources without subresources
        spec.matchConstraints.resourceRules[0].scope: Unsupported value: "Here": supported values: "*", "Cluster", "Namespaced"
        --
        spec.matchConstraints.matchPolicy: Unsupported value: "Near": supported values: "Equivalent", "Exact"
        spec.matchConstraints.namespaceSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator
        spec.matchConstraints.resourceRules[0].resourceNames[1]: Duplicate value: "a"
        spec.matchConstraints.resourceRules[0].resourceNames[2]: Invalid value: "a/b": may not contain '/'
        spec.matchConstraints.resourceRules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log
        spec.matchConstraints.resourceRules[0].resources[3]: Invalid value: "a/scale": if '*/scale' is present, must not specify a/scale
        spec.matchConstraints.resourceRules[0].resources[4]: Required value
        spec.matchConstraints.resourceRules[0].resources: Invalid value: ["pods/*","pods/log","*/scale","a/scale","","*/*"]: if '*/*' is present, must not specify other resources"#]].assert_eq(&errors);
}

#[test]
fn parts_generations_and_rows() {
    let old = created(
        &KIND,
        policy(
            json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "true"}]}),
        ),
    );
    let mut new = old.clone();
    new["spec"]["failurePolicy"] = "Ignore".into();
    new["status"] = json!({"observedGeneration": 1, "typeChecking": {"expressionWarnings": [{"fieldRef": "spec.x[", "warning": ""}, {"fieldRef": "spec.validations[0].expression", "warning": "w"}]}});
    let status = updated(&KIND, new.clone(), &old, Part::Status);
    assert_eq!(
        (&status["spec"], &status["status"]),
        (&old["spec"], &new["status"])
    );
    let main = updated(&KIND, new.clone(), &old, Part::Main);
    assert_eq!(
        (&main["spec"], &main["status"]),
        (&new["spec"], &old["status"])
    );
    assert!(KIND.strategy.changes_generation(&main, &old));
    expect![[r#"
        status.typeChecking.expressionWarnings[0].warning: Required value
        status.typeChecking.expressionWarnings[0].fieldRef: Invalid value: "spec.x[": invalid JSONPath: unterminated array"#]].assert_eq(&update_errors(&KIND, new, &old, Part::Status));
    assert_eq!(row(&KIND, &old, 0), "p | 1 | v1/ConfigMap | <unknown>");
}

#[test]
fn conditions_that_did_not_change_are_not_judged_again() {
    let spec = json!({"matchConditions": [{"name": "a", "expression": "from.another.release"}], "validations": [{"expression": "true"}]});
    let old = created(&KIND, policy(spec.clone()));
    assert_eq!(
        update_errors(&KIND, policy(spec.clone()), &old, Part::Main),
        ""
    );
    let mut new = policy(spec);
    new["spec"]["matchConditions"][0]["name"] = "b".into();
    assert!(!update_errors(&KIND, new, &old, Part::Main).is_empty());
}

#[test]
fn bindings() {
    let kind = &validating_admission_policy_binding::KIND;
    let binding = |spec: Value| json!({"metadata": {"name": "b"}, "spec": spec});
    let errors = [
        json!({}),
        json!({"policyName": "P!", "validationActions": ["Deny", "Warn", "Deny", "Shout"], "paramRef": {}}),
        json!({"policyName": "p", "validationActions": ["Audit"], "paramRef": {"name": "a/b", "selector": {}, "parameterNotFoundAction": "Perhaps"}}),
        json!({"policyName": "p", "validationActions": ["Deny"], "matchResources": {"resourceRules": [{"operations": ["CREATE"]}]}}),
    ]
    .map(|spec| create_errors(kind, binding(spec)))
    .join("\n--\n");
    expect![[r#"
        spec.policyName: Required value
        spec.validationActions: Required value
        --
        spec.policyName: Invalid value: "P!": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.paramRef: Required value: one of name or selector must be specified
        spec.paramRef.parameterNotFoundAction: Required value
        spec.validationActions[2]: Duplicate value: "Deny"
        spec.validationActions[3]: Unsupported value: "Shout": supported values: "Audit", "Deny", "Warn"
        spec.validationActions: Invalid value: ["Deny","Warn","Deny","Shout"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)
        --
        spec.paramRef.name: Invalid value: "a/b": may not contain '/'
        spec.paramRef.name: Forbidden: name and selector are mutually exclusive
        spec.paramRef.selector: Forbidden: name and selector are mutually exclusive
        spec.paramRef.parameterNotFoundAction: Unsupported value: "Perhaps": supported values: "Deny", "Allow"
        --
        spec.matchResources.resourceRules[0].apiGroups: Required value
        spec.matchResources.resourceRules[0].apiVersions: Required value
        spec.matchResources.resourceRules[0].resources: Required value"#]].assert_eq(&errors);
    let rows = [
        json!({"policyName": "p"}),
        json!({"policyName": "p", "paramRef": {"name": "x"}}),
        json!({"policyName": "p", "paramRef": {"name": "x", "namespace": "ns"}}),
    ]
    .map(|spec| row(kind, &binding(spec), 0));
    assert_eq!(
        rows,
        [
            "b | p | <unset> | <unknown>",
            "b | p | */x | <unknown>",
            "b | p | ns/x | <unknown>"
        ]
    );
}
