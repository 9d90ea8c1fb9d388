use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors},
};

fn migration(group: &str, resource: &str) -> Value {
    json!({"metadata": {"name": "m"}, "spec": {"resource": {"group": group, "resource": resource}}})
}

fn condition(kind: &str, status: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "A", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

#[test]
fn resources_are_named() {
    assert_eq!(create_errors(&KIND, migration("", "foo")), "");
    assert_eq!(create_errors(&KIND, migration("a.b", "foo")), "");
    let bad = [migration("A", "a.b"), migration("", "")];
    let errors = bad.map(|object| create_errors(&KIND, object));
    expect![[r#"
        spec.resource.resource: Invalid value: "a.b": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        spec.resource.group: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.resource.resource: Required value: resource is required to be set"#]].assert_eq(&errors.join("\n"));
    let old = created(&KIND, migration("", "foo"));
    let moved = migration("", "bar");
    let errors = update_errors(&KIND, moved, &old, Part::Main);
    assert!(errors.ends_with("field is immutable"), "{errors}");
}

#[test]
fn what_has_ended_stays_so() {
    let old = created(&KIND, migration("", "foo"));
    assert_eq!(row(&KIND, &old, 0), "m | foo | Unknown");
    let with = |old: &Value, status: Value| {
        let mut new = old.clone();
        new["status"] = status;
        new
    };
    let ended = |kind| json!({"resourceVersion": "5", "conditions": [condition("Running", "True"), condition(kind, "True")]});
    let done = with(&old, ended("Succeeded"));
    assert_eq!(update_errors(&KIND, done.clone(), &old, Part::Status), "");
    assert_eq!(row(&KIND, &done, 0), "m | foo | Succeeded");
    let both = json!({
        "resourceVersion": "05", "conditions": [condition("Succeeded", "True"), condition("Failed", "True")],
    });
    let failed = with(&old, ended("Failed"));
    let errors = [
        update_errors(&KIND, with(&old, both), &done, Part::Status),
        update_errors(&KIND, with(&old, json!({})), &done, Part::Status),
        update_errors(&KIND, with(&old, json!({})), &failed, Part::Status),
    ];
    expect![[r#"
        status.resourceVersion: Invalid value: "05": resource version is not well formed: 05
        status.resourceVersion: Invalid value: "05": field is immutable
        status.conditions: Invalid value: [{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","reason":"A","status":"True","type":"Succeeded"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"","reason":"A","status":"True","type":"Failed"}]: Both success and failed conditions cannot be true at the same time
        status.resourceVersion: Invalid value: "": field is immutable
        status.conditions: Invalid value: []: Success condition cannot be set to false once it is true
        status.resourceVersion: Invalid value: "": field is immutable
        status.conditions: Invalid value: []: Failed condition cannot be set to false once it is true"#]].assert_eq(&errors.join("\n"));
}
