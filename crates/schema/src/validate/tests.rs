use expect_test::{Expect, expect};
use serde_json::json;

use super::{scalar::go_float, *};

fn lines(errors: &ErrorList) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn check(schema: Value, object: Value, expected: Expect) {
    let schema = Schema::parse(&schema).expect("a schema");
    expected.assert_eq(&lines(&create(&object, &schema, "")));
}

fn spec(properties: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})
}

#[test]
fn types() {
    check(
        spec(json!({
            "i": {"type": "integer"}, "n": {"type": "number"}, "s": {"type": "string"}, "b": {"type": "boolean"},
            "l": {"type": "array", "items": {"type": "string"}}, "o": {"type": "object"},
            "x": {"x-kubernetes-int-or-string": true}, "z": {"type": "string", "nullable": true}, "d": {"type": "string", "format": "date"},
            "t": {"type": "integer", "format": "int32"},
        })),
        json!({"spec": {"i": "a", "n": true, "s": 1, "b": "true", "l": ["", 1], "o": [], "x": 1.5, "z": null, "d": 5, "t": 3_000_000_000_i64}}),
        expect![[r#"
            spec.b: Invalid value: "string": spec.b in body must be of type boolean: "string"
            spec.d: Invalid value: "int64": spec.d in body must be of type date: "int64"
            spec.i: Invalid value: "string": spec.i in body must be of type integer: "string"
            spec.l[1]: Invalid value: "integer": spec.l[1] in body must be of type string: "integer"
            spec.n: Invalid value: "boolean": spec.n in body must be of type number: "boolean"
            spec.o: Invalid value: "array": spec.o in body must be of type object: "array"
            spec.s: Invalid value: "integer": spec.s in body must be of type string: "integer"
            <nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.t
            spec.x: Invalid value: "number": spec.x in body must be of type integer,string: "number""#]],
    );
    check(
        spec(
            json!({"i": {"type": "integer"}, "n": {"type": "number"}, "x": {"x-kubernetes-int-or-string": true}}),
        ),
        json!({"spec": {"i": 1.0, "n": 1, "x": "a"}}),
        expect![""],
    );
    check(
        json!({"type": "object", "properties": {"spec": {"type": "object"}}}),
        json!({"spec": null}),
        expect![[r#"spec: Invalid value: "null": spec in body must be of type object: "null""#]],
    );
}

#[test]
fn bounds() {
    check(
        spec(json!({
            "max": {"type": "integer", "maximum": 5}, "min": {"type": "number", "minimum": 1.5, "exclusiveMinimum": true},
            "mul": {"type": "integer", "multipleOf": 2}, "long": {"type": "string", "maxLength": 2},
            "short": {"type": "string", "minLength": 2}, "pat": {"type": "string", "pattern": "^a+$"},
            "items": {"type": "array", "maxItems": 1, "items": {"type": "integer"}},
            "few": {"type": "array", "minItems": 2, "items": {"type": "integer"}},
            "props": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "integer"}},
            "none": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "integer"}},
            "enum": {"type": "string", "enum": ["a", "b"]}, "mail": {"type": "string", "format": "email"},
        })),
        json!({"spec": {
            "max": 6, "min": 1.5, "mul": 3, "long": "abc", "short": "a", "pat": "b", "items": [1, 2], "few": [1],
            "props": {"a": 1, "b": 2}, "none": {}, "enum": "c", "mail": "x",
        }}),
        expect![[r#"
            spec.enum: Unsupported value: "c": supported values: "a", "b"
            spec.few: Invalid value: 1: spec.few in body should have at least 2 items
            spec.items: Too many: 2: must have at most 1 items
            spec.long: Too long: may not be more than 2 bytes
            spec.mail: Invalid value: "x": spec.mail in body must be of type email: "x"
            spec.max: Invalid value: 6: spec.max in body should be less than or equal to 5
            spec.min: Invalid value: 1.5: spec.min in body should be greater than 1.5
            spec.mul: Invalid value: 3: spec.mul in body should be a multiple of 2
            spec.none: Invalid value: 0: spec.none in body should have at least 1 properties
            spec.pat: Invalid value: "b": spec.pat in body should match '^a+$'
            spec.props: Too many: 2: must have at most 1 items
            spec.short: Invalid value: "a": spec.short in body should be at least 2 chars long"#]],
    );
}

/// A schema may have bounds that are no numbers of its own type.
#[test]
fn bounds_of_another_type() {
    check(
        spec(json!({
            "a": {"type": "integer", "minimum": 0.5, "maximum": 1.5, "multipleOf": 0.5},
            "b": {"type": "integer", "format": "int32", "maximum": 5_000_000_000_u64},
            "c": {"type": "number", "minimum": 0.5},
        })),
        json!({"spec": {"a": 2, "b": 1, "c": 1}}),
        expect![[r#"
            <nil>: Invalid value: "": MultipleOf value must be of type integer (default format) in spec.a
            <nil>: Invalid value: "": Maximum boundary value must be of type integer (default format) in spec.a
            <nil>: Invalid value: "": Minimum boundary value must be of type integer (default format) in spec.a
            spec.a: Invalid value: 2: spec.a in body should be less than or equal to 1.5
            <nil>: Invalid value: "": Maximum boundary value must be of type integer with format int32 in spec.b"#]],
    );
}

#[test]
fn objects() {
    check(
        json!({"type": "object", "required": ["spec", "data"], "properties": {
            "spec": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "required": ["b"]}},
        }}),
        json!({"spec": {}, "map": {"k": {}}}),
        expect![[r#"
            map.k.b: Required value
            spec.a: Required value
            data: Required value"#]],
    );
}

#[test]
fn alternatives() {
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    }}});
    check(
        schema.clone(),
        json!({"spec": {}}),
        expect![[r#"
            <nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid
            spec.a: Required value"#]],
    );
    check(
        schema.clone(),
        json!({"spec": {"a": "", "b": ""}}),
        expect![[
            r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
        ]],
    );
    check(schema, json!({"spec": {"b": ""}}), expect![""]);
    check(
        spec(json!({
            "any": {"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 1}]},
            "all": {"type": "integer", "allOf": [{"minimum": 10}, {"maximum": 1}]},
            "not": {"type": "integer", "not": {"minimum": 1}},
        })),
        json!({"spec": {"any": 5, "all": 0, "not": 5}}),
        expect![[r#"
            spec.all: Invalid value: 0: spec.all in body should be greater than or equal to 10
            <nil>: Invalid value: "": "spec.all" must validate all the schemas (allOf)
            <nil>: Invalid value: "": "spec.any" must validate at least one schema (anyOf)
            spec.any: Invalid value: 5: spec.any in body should be greater than or equal to 10
            <nil>: Invalid value: "": "spec.not" must not validate the schema (not)"#]],
    );
}

#[test]
fn what_did_not_change_may_be_wrong() {
    let schema = Schema::parse(&json!({"type": "object", "properties": {
        "a": {"type": "integer", "maximum": 1}, "b": {"type": "string"},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {
            "type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer", "maximum": 1}},
        }},
        "plain": {"type": "array", "items": {"type": "integer", "maximum": 1}},
    }}))
    .expect("a schema");
    let old = json!({"a": 5, "list": [{"n": "x", "v": 7}], "plain": [7]});
    let new =
        json!({"a": 5, "b": "", "list": [{"n": "y", "v": 8}, {"n": "x", "v": 7}], "plain": [7, 1]});
    expect![[r#"
        list[0].v: Invalid value: 8: list[0].v in body should be less than or equal to 1
        plain[0]: Invalid value: 7: plain[0] in body should be less than or equal to 1"#]]
    .assert_eq(&lines(&update(&new, &old, &schema, "")));
    expect!["status.a: Invalid value: 6: a in body should be less than or equal to 1"]
        .assert_eq(&lines(&update(&json!({"a": 6}), &old, &schema, "status")));
}

#[test]
fn the_cost_has_a_bound() {
    let many: Vec<Value> = (0..300).map(|n| json!({"minLength": n + 1})).collect();
    let schema =
        Schema::parse(&json!({"type": "array", "items": {"type": "string", "allOf": many}}));
    let object = Value::from(vec![Value::from(""); 100_000]);
    let errors = create(&object, &schema.expect("a schema"), "");
    assert!(errors.len() <= MAX_ERRORS + 1);
    assert!(lines(&errors).ends_with("validation was stopped"));
}

#[test]
fn floats_are_as_in_go() {
    for (number, text) in [
        (1.0, "1"),
        (1.5, "1.5"),
        (1e21, "1e+21"),
        (0.00001, "1e-05"),
        (-2.0, "-2"),
        (1e20, "100000000000000000000"),
    ] {
        assert_eq!(go_float(number), text);
    }
}
