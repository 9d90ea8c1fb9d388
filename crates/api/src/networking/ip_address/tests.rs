use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, row, update_errors},
};

fn address(parent: Value) -> Value {
    json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}})
}

#[test]
fn names_are_addresses() {
    let wrong = ["10.0.0.1", "fe80::1", "10.0.0", "FE80::1", "fe80:0::1"]
        .map(|name| KIND.strategy.validate_name(name, false).join(""));
    expect![[r#"


        must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        must be in canonical form ("fe80::1")
        must be in canonical form ("fe80::1")"#]]
    .assert_eq(&wrong.join("\n"));
}

#[test]
fn parents() {
    let service = json!({"resource": "services", "namespace": "d", "name": "web"});
    let errors = [
        json!(null),
        json!({}),
        json!({"group": "a_b", "resource": "a/b", "namespace": "..", "name": "c"}),
        service.clone(),
    ]
    .map(|parent| create_errors(&KIND, address(parent)))
    .join("\n");
    expect![[r#"
        spec.parentRef: Required value
        spec.parentRef.resource: Required value
        spec.parentRef.name: Required value
        spec.parentRef.group: Invalid value: "a_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.parentRef.resource: Invalid value: "a/b": may not contain '/'
        spec.parentRef.namespace: Invalid value: "..": may not be '..'
    "#]].assert_eq(&errors);
    let old = address(service);
    let other = address(json!({"resource": "services", "namespace": "d", "name": "other"}));
    expect![[r#"spec.parentRef: Invalid value: null: field is immutable"#]]
        .assert_eq(&update_errors(&KIND, other, &old, Part::Main));
    let grouped = address(json!({"group": "Example.com", "resource": "Things", "name": "t"}));
    let rows = [
        row(&KIND, &old, 0),
        row(&KIND, &grouped, 0),
        row(&KIND, &json!({}), 0),
    ];
    expect![[r#"
        10.0.0.1 | services/d/web | <unknown>
        10.0.0.1 | things.example.com/t | <unknown>
         | <none> | <unknown>"#]]
    .assert_eq(&rows.join("\n"));
}
