use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{
    validate, validate_label_selector, validate_standard_finalizers, validate_update, validate_with,
};
use crate::{
    field::{ErrorList, Path},
    names,
};

fn check(errors: &ErrorList, expected: Expect) {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

fn path() -> Path {
    Path::new("metadata")
}

#[test]
fn finalizers_without_a_domain_are_known() {
    let good =
        json!({"finalizers": ["kubernetes", "orphan", "foregroundDeletion", "example.com/f"]});
    check(&validate_standard_finalizers(&good, &path()), expect![[""]]);
    check(
        &validate_standard_finalizers(&json!({}), &path()),
        expect![[""]],
    );
    let bad = json!({"finalizers": ["example.com/f", "foo"]});
    check(
        &validate_standard_finalizers(&bad, &path()),
        expect![[
            r#"metadata.finalizers[1]: Invalid value: "foo": name is neither a standard finalizer name nor is it fully qualified"#
        ]],
    );
}

#[test]
fn create() {
    let good = json!({
        "name": "a", "namespace": "n", "labels": {"a": "b"}, "annotations": {"Example.com/A": "x y"},
        "finalizers": ["example.com/f"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}],
    });
    check(&validate(&good, true, &path()), expect![[""]]);
    let bad = json!({
        "generateName": "B-", "namespace": "N", "generation": -1,
        "labels": {"a b": "-"},
        "annotations": {"/x": ""},
        "finalizers": ["orphan", "foregroundDeletion", "!"],
        "ownerReferences": [
            {"apiVersion": "apps/", "kind": "", "name": "a", "uid": "", "controller": true},
            {"apiVersion": "v1", "kind": "K", "name": "b", "uid": "u", "controller": true},
        ],
        "managedFields": [{"operation": "Steal", "fieldsType": "X"}],
    });
    let name = |name: &str, prefix: bool| {
        names::dns1123_label(&if prefix {
            names::mask_trailing_dash(name)
        } else {
            name.into()
        })
    };
    check(
        &validate_with(&bad, true, name, &path()),
        expect![[r#"
            metadata.generateName: Invalid value: "B-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            metadata.name: Required value: name or generateName is required
            metadata.namespace: Invalid value: "N": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            metadata.generation: Invalid value: -1: must be greater than or equal to 0
            metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.labels: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            metadata.annotations: Invalid value: "/x": prefix part must be non-empty
            metadata.ownerReferences[0].apiVersion: Invalid value: "apps/": must be <group>/<version> or <version>
            metadata.ownerReferences[0].kind: Required value: must not be empty
            metadata.ownerReferences[0].uid: Required value: must not be empty
            metadata.ownerReferences: Invalid value: [{"apiVersion":"apps/","controller":true,"kind":"","name":"a","uid":""},{"apiVersion":"v1","controller":true,"kind":"K","name":"b","uid":"u"}]: Only one reference can have Controller set to true. Found "true" in references for /a and K/b
            metadata.managedFields[0].operation: Unsupported value: "Steal": supported values: "Apply", "Update"
            metadata.managedFields[0].fieldsType: Invalid value: "X": must be `FieldsV1`
            metadata.finalizers: Invalid value: "!": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.finalizers: Invalid value: ["orphan","foregroundDeletion","!"]: finalizer orphan and foregroundDeletion cannot be both set"#]],
    );
    check(
        &validate(&json!({"name": "a", "namespace": "n"}), false, &path()),
        expect!["metadata.namespace: Forbidden: not allowed on this type"],
    );
}

#[test]
fn annotations_have_a_limit() {
    let big = json!({"name": "a", "annotations": {"a": "x".repeat(256 * 1024)}});
    check(
        &validate(&big, false, &path()),
        expect!["metadata.annotations: Too long: may not be more than 262144 bytes"],
    );
}

#[test]
fn update() {
    let old = json!({
        "name": "a", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
        "resourceVersion": "5", "generation": 3, "finalizers": ["a.io/x"],
        "deletionTimestamp": "2026-01-02T00:00:00Z",
    });
    check(&validate_update(&old, &old, &path()), expect![[""]]);
    let mut new = old.clone();
    for (field, value) in [
        ("name", json!("b")),
        ("uid", json!("v")),
        ("creationTimestamp", Value::Null),
        ("resourceVersion", json!("")),
        ("generation", json!(2)),
        ("finalizers", json!(["a.io/x", "a.io/y"])),
    ] {
        new[field] = value;
    }
    check(
        &validate_update(&new, &old, &path()),
        expect![[r#"
            metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a.io/y"}
            metadata.resourceVersion: Invalid value: "": must be specified for an update
            metadata.generation: Invalid value: 2: must not be decremented
            metadata.name: Invalid value: "b": field is immutable
            metadata.uid: Invalid value: "v": field is immutable
            metadata.creationTimestamp: Invalid value: null: field is immutable"#]],
    );
}

#[test]
fn label_selectors() {
    let mut errors = ErrorList::new();
    let selector = json!({
        "matchLabels": {"a": "b c"},
        "matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Like"},
        ],
    });
    validate_label_selector(&selector, &Path::new("selector"), &mut errors);
    check(
        &errors,
        expect![[r#"
            selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
            selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'
            selector.matchExpressions[2].operator: Invalid value: "Like": not a valid selector operator"#]],
    );
}
