use expect_test::expect;
use serde_json::json;

use super::{cluster_role, cluster_role_binding, role, role_binding};
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors},
};

#[test]
fn roles() {
    let rules = json!({"rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"apiGroups": [], "resources": ["pods"]},
        {"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]},
        {"verbs": ["get"]},
    ]});
    expect![[r#"
        rules[1].verbs: Required value
        rules[1].apiGroups: Required value: resource rules must supply at least one api group
        rules[2].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs
        rules[2].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs
        rules[3].apiGroups: Required value: resource rules must supply at least one api group
        rules[3].resources: Required value: resource rules must supply at least one resource"#]].assert_eq(&create_errors(&role::KIND, rules.clone()));
    expect![[r#"
        rules[1].verbs: Required value
        rules[1].apiGroups: Required value: resource rules must supply at least one api group
        rules[2].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs
        rules[3].apiGroups: Required value: resource rules must supply at least one api group
        rules[3].resources: Required value: resource rules must supply at least one resource"#]].assert_eq(&create_errors(&cluster_role::KIND, rules));
    expect!["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"].assert_eq(&create_errors(
        &cluster_role::KIND,
        json!({"aggregationRule": {}}),
    ));
    assert!(
        role::KIND
            .strategy
            .validate_name("system:node-proxier", false)
            .is_empty()
    );
    let shown = row(
        &role::KIND,
        &json!({"metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"}}),
        0,
    );
    assert_eq!(shown, "r | 2026-01-01T00:00:00Z");
}

#[test]
fn bindings() {
    let object = json!({
        "metadata": {"name": "b", "namespace": "d"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [
            {"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"},
            {"kind": "ServiceAccount", "name": "s", "namespace": "d"},
        ],
    });
    let binding = created(&role_binding::KIND, object);
    assert_eq!(
        binding["roleRef"]["apiGroup"],
        json!("rbac.authorization.k8s.io")
    );
    expect!["b | ClusterRole/view | <unknown> | u | g | d/s"].assert_eq(&row(
        &role_binding::KIND,
        &binding,
        0,
    ));
    assert_eq!(create_errors(&role_binding::KIND, binding.clone()), "");
    let wrong = json!({
        "roleRef": {"kind": "Role", "name": "a/b", "apiGroup": "x"},
        "subjects": [
            {"kind": "ServiceAccount", "name": "S"}, {"kind": "Robot", "name": "r"}, {"kind": "User", "apiGroup": "y"},
        ],
    });
    expect![[r#"
        roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"
        roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"
        roleRef.name: Invalid value: "a/b": may not contain '/'
        subjects[0].name: Invalid value: "S": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        subjects[0].namespace: Required value
        subjects[1].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"
        subjects[2].name: Required value
        subjects[2].apiGroup: Unsupported value: "y": supported values: "rbac.authorization.k8s.io""#]].assert_eq(&create_errors(&cluster_role_binding::KIND, wrong));
    let mut odd = binding.clone();
    odd["roleRef"]["kind"] = json!("Robot");
    expect![[
        r#"roleRef.kind: Unsupported value: "Robot": supported values: "Role", "ClusterRole""#
    ]]
    .assert_eq(&create_errors(&role_binding::KIND, odd));
    let mut changed = binding.clone();
    changed["roleRef"]["name"] = json!("edit");
    expect![[r#"roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"edit"}: field is immutable"#]].assert_eq(&update_errors(
        &role_binding::KIND,
        changed,
        &binding,
        Part::Main,
    ));
}
