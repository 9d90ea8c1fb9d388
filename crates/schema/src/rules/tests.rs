use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn check(props: Value, new: Value, old: Option<Value>, expected: Expect) {
    let schema = Schema::parse(&props).expect("a schema").as_root();
    let rules = Rules::new(&schema, true).expect("rules");
    let errors = rules.validate(&new, old.as_ref());
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

fn spec() -> Value {
    json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min is above max"},
            {"rule": "self.max < 100", "messageExpression": "'max is ' + string(self.max)", "fieldPath": ".max"},
            {"rule": "has(self.name) == has(oldSelf.name)", "reason": "FieldValueForbidden", "message": "name stays"},
        ],
        "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
                "type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n"}, {"rule": "self.n < 10"}],
            }},
        },
    }}})
}

#[test]
fn rules_of_new_objects() {
    check(
        spec(),
        json!({"spec": {"min": 500, "max": 200, "name": "a", "list": [{"k": "a", "n": 50}]}}),
        None,
        expect![[r#"
            spec: Invalid value: min is above max
            spec.max: Invalid value: max is 200
            spec.list[0]: Invalid value: failed rule: self.n < 10"#]],
    );
    check(
        spec(),
        json!({"spec": {"min": 1}}),
        None,
        expect![[r#"
        spec: Invalid value: "object": no such key: max evaluating rule: min is above max
        spec: Invalid value: "object": no such key: max evaluating rule: self.max < 100"#]],
    );
}

#[test]
fn rules_of_changes() {
    check(
        spec(),
        json!({"spec": {"min": 1, "max": 2, "name": "b", "list": [{"k": "b", "n": 1}, {"k": "a", "n": 4}]}}),
        Some(json!({"spec": {"min": 1, "max": 2, "name": "a", "list": [{"k": "a", "n": 5}]}})),
        expect![[r#"
            spec.list[1]: Invalid value: failed rule: self.n >= oldSelf.n
            spec.name: Invalid value: "b": is immutable"#]],
    );
    check(
        spec(),
        json!({"spec": {"min": 1, "max": 2}}),
        Some(json!({"spec": {"min": 1, "max": 2, "name": "a"}})),
        expect!["spec: Forbidden: name stays"],
    );
    // What did not change may be wrong.
    let old = json!({"spec": {"min": 1, "max": 500}, "status": {}});
    check(
        spec(),
        json!({"spec": {"min": 1, "max": 500}}),
        Some(old),
        expect![""],
    );
}

#[test]
fn the_root_has_type_and_metadata() {
    check(
        json!({"type": "object", "properties": {}, "x-kubernetes-validations": [
            {"rule": "self.metadata.name.startsWith('x')"}, {"rule": "oldSelf.hasValue()", "optionalOldSelf": true},
        ]}),
        json!({"kind": "K", "apiVersion": "v1", "metadata": {"name": "a"}}),
        None,
        expect![[r#"
            <nil>: Invalid value: failed rule: self.metadata.name.startsWith('x')
            <nil>: Invalid value: failed rule: oldSelf.hasValue()"#]],
    );
}

#[test]
fn the_cost_has_a_bound() {
    let list: Vec<i64> = (0..3000).collect();
    check(
        json!({"type": "object", "properties": {"list": {
            "type": "array", "items": {"type": "integer"},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a + b >= 0))", "message": "sums"}, {"rule": "false"}],
        }}}),
        json!({"list": list}),
        None,
        expect![[
            r#"list: Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: sums"#
        ]],
    );
}
