use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

struct AnyMetadata;

impl Metadata for AnyMetadata {
    fn coerce(&self, _metadata: &mut Value) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

fn errors(props: &Value, status: bool) -> String {
    let options = Options {
        metadata: &AnyMetadata,
        status,
    };
    let errors = check(props, &Path::new("schema"), &options);
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn check_errors(props: Value, expected: Expect) {
    expected.assert_eq(&errors(&props, false));
}

#[test]
fn a_schema_of_everyday_life() {
    let props = json!({
        "type": "object", "description": "A thing.",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": {
                "type": "object", "required": ["port"],
                "properties": {
                    "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
                    "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                },
                "oneOf": [{"required": ["free"]}, {"properties": {"mode": {"enum": ["a"]}}}],
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    assert_eq!(errors(&props, true), "");
}

#[test]
fn not_structural() {
    check_errors(
        json!({"type": "array", "properties": {
            "a": {"properties": {"b": {"type": "object", "properties": {"c": {}}}}},
            "l": {"type": "array"},
            "m": {"type": "array", "items": {}},
            "p": {"type": "string", "pattern": "("},
            "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}},
            "kind": {"type": "integer"},
            "e": {"type": "object", "x-kubernetes-embedded-resource": true},
            "o": {"type": "object", "properties": {"x": {"type": "string"}}, "allOf": [
                {"type": "object", "description": "d", "properties": {"y": {"minLength": 1}, "x": {"default": "a"}}},
            ]},
        }, "additionalProperties": {"type": "string"}}),
        expect![[r#"
            schema.additionalProperties: Forbidden: must not be used at the root
            schema.items: Required value: must be specified
            schema.properties[a].properties[b].properties[c].type: Required value: must not be empty for specified object fields
            schema.properties[a].type: Required value: must not be empty for specified object fields
            schema.properties[e].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields
            schema.properties[kind].type: Invalid value: "integer": must be string
            schema.properties[l].items: Required value: must be specified
            schema.properties[m].items.type: Required value: must not be empty for specified array items
            schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified
            schema.properties[o].allOf[0].description: Forbidden: must be empty to be structural
            schema.properties[o].allOf[0].properties[x].default: Forbidden: must be undefined to be structural
            schema.properties[o].allOf[0].type: Forbidden: must be empty to be structural
            schema.properties[p].pattern: Invalid value: "(": must be a valid regular expression, but isn't: error parsing regexp: unclosed group: `(`
            schema.type: Invalid value: "array": must be object at the root
            schema.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"#]],
    );
}

#[test]
fn what_is_not_supported() {
    check_errors(
        json!({"type": "object", "nullable": true, "properties": {
            "a": {"type": "text"}, "b": {"type": "string", "$ref": "#/x"}, "c": {"type": "array", "items": [{}]},
            "d": {"type": "array", "uniqueItems": true, "items": {"type": "string"}},
            "e": {"type": "object", "patternProperties": {"a": {}}},
        }}),
        expect![[r##"
            schema.nullable: Forbidden: nullable cannot be true at the root
            schema.properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"
            schema.properties[b].$ref: Forbidden: $ref is not supported
            schema.properties[c].items: Forbidden: items must be a schema object and not an array
            schema.properties[d].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic
            schema.properties[e].patternProperties: Forbidden: patternProperties is not supported"##]],
    );
}

#[test]
fn lists_and_maps() {
    check_errors(
        json!({"type": "object", "properties": {
            "a": {"type": "string", "x-kubernetes-list-type": "set"},
            "b": {"type": "array", "x-kubernetes-list-type": "bag", "items": {"type": "string"}},
            "c": {"type": "array", "x-kubernetes-list-map-keys": ["x"], "items": {"type": "string"}},
            "d": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "string"}},
            "e": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["x", "x", "y", "z"],
                "items": {"type": "object", "nullable": true, "properties": {"x": {"type": "string"}, "y": {"type": "object", "default": {}}}}},
            "f": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}},
            "g": {"type": "object", "x-kubernetes-map-type": "odd"},
        }}),
        expect![[r#"
            schema.properties[a].type: Invalid value: "string": must be array if x-kubernetes-list-type is specified
            schema.properties[b].x-kubernetes-list-type: Unsupported value: "bag": supported values: "atomic", "set", "map"
            schema.properties[c].x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty
            schema.properties[d].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map
            schema.properties[d].items.type: Invalid value: "string": must be object if parent array's x-kubernetes-list-type is map
            schema.properties[e].x-kubernetes-list-map-keys: Invalid value: ["x","x","y","z"]: must not contain duplicate entries
            schema.properties[e].items.properties[y].type: Invalid value: "object": must be a scalar type if parent array's x-kubernetes-list-type is map
            schema.properties[e].x-kubernetes-list-map-keys: Invalid value: ["x","x","y","z"]: entries must all be names of item properties
            schema.properties[e].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map
            schema.properties[e].items.properties[x].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property
            schema.properties[e].items.properties[x].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property
            schema.properties[f].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set
            schema.properties[g].x-kubernetes-map-type: Unsupported value: "odd": supported values: "atomic", "granular""#]],
    );
}

#[test]
fn defaults() {
    check_errors(
        json!({"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "a"}}},
            "a": {"type": "integer", "default": "x"},
            "b": {"type": "object", "default": {"y": 1, "z": 1}, "properties": {"y": {"type": "integer", "maximum": 0}}},
            "c": {"x-kubernetes-int-or-string": true, "default": {"y": 1}},
            "d": {"type": "integer", "minimum": 0.5, "default": 1},
        }}),
        expect![[r#"
            schema.properties[a].default: Invalid value: "string":  in body must be of type integer: "string"
            schema.properties[b].default: Invalid value: {"y":1,"z":1}: must not have unknown fields
            schema.properties[b].default.y: Invalid value: 1: y in body should be less than or equal to 0
            schema.properties[c].default: Invalid value: {"y":1}: must not have unknown fields
            schema.properties[d].default: Invalid value: "": Minimum boundary value must be of type integer (default format) in 
            schema.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata"#]],
    );
}

#[test]
fn the_root_beside_a_status() {
    let props = json!({"type": "object", "maxProperties": 5});
    let found = errors(&props, true);
    assert!(
        found.starts_with(r#"schema: Invalid value: {"maxProperties":5,"type":"object"}: only [Description Type Format"#),
        "{found}"
    );
    assert_eq!(errors(&props, false), "");
}

#[test]
fn texts_of_rules() {
    check_errors(
        json!({"type": "object", "x-kubernetes-validations": [
            {"rule": " "}, {"rule": "a\nb"}, {"rule": "a", "message": " "}, {"rule": "a", "message": "a\nb"},
            {"rule": "a", "messageExpression": " ", "reason": "Odd"}, {"rule": "a", "fieldPath": " "},
        ]}),
        expect![[r#"
            schema.x-kubernetes-validations[0].rule: Required value: rule is not specified
            schema.x-kubernetes-validations[1].message: Required value: message must be specified if rule contains line breaks
            schema.x-kubernetes-validations[2].message: Invalid value: " ": must be non-empty if specified
            schema.x-kubernetes-validations[3].message: Invalid value: "a\nb": must not contain line breaks
            schema.x-kubernetes-validations[4].messageExpression: Required value: messageExpression must be non-empty if specified
            schema.x-kubernetes-validations[4].reason: Unsupported value: "Odd": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"
            schema.x-kubernetes-validations[5].fieldPath: Invalid value: " ": must be non-empty if specified
            schema.x-kubernetes-validations[5].fieldPath: Invalid value: " ": must be a valid path"#]],
    );
}

/// What else is wrong with a schema is told all the same.
#[test]
fn types_that_are_none() {
    check_errors(
        json!({"type": "odd", "properties": {"a": {"items": {"type": "odder"}}}}),
        expect![[r#"
            schema.properties[a].type: Required value: must not be empty for specified object fields
            schema.type: Invalid value: "odd": must be object at the root
            schema.type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string"
            schema.properties[a].items.type: Unsupported value: "odder": supported values: "array", "boolean", "integer", "number", "object", "string""#]],
    );
    check_errors(
        json!({"type": "object", "properties": {
            "a": {"type": "odd", "default": 3}, "b": {"type": "odd", "default": "x", "format": "date"},
            "c": {"type": "object", "default": {"d": 1}, "properties": {"d": {"type": "odd"}}},
        }}),
        expect![[r#"
            schema.properties[a].default: Invalid value: "integer":  in body must be of type odd: "integer"
            schema.properties[b].default: Invalid value: "x":  in body must be of type date: "x"
            schema.properties[c].default.d: Invalid value: "integer": d in body must be of type odd: "integer"
            schema.properties[a].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string"
            schema.properties[b].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string"
            schema.properties[c].properties[d].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string""#]],
    );
    let nested = json!({"type": "object", "allOf": [{"properties": {"a": {"type": "odd"}}}]});
    let why = Schema::parse(&nested).expect_err("a type that is none");
    assert_eq!(why.to_string(), "type \"odd\" is not supported");
}

/// Only those of parts in which nothing else is wrong.
#[test]
fn rules_beside_what_is_wrong() {
    let rule = json!([{"rule": "self.nowhere"}]);
    check_errors(
        json!({"type": "object", "x-kubernetes-validations": rule, "properties": {
            "a": {"type": "object", "x-kubernetes-validations": rule, "properties": {"b": {"type": "odd"}}},
            "c": {"type": "object", "x-kubernetes-validations": rule},
            "d": {"type": "object", "x-kubernetes-validations": [
                {"rule": "true", "fieldPath": ".a"}, {"rule": "true", "fieldPath": ".b['c']"}, {"rule": "true", "fieldPath": ".e"}],
                "properties": {"b": {"type": "object", "additionalProperties": {"type": "string"}}}},
        }}),
        expect![[r#"
            schema.properties[a].properties[b].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string"
            schema.properties[d].x-kubernetes-validations[0].fieldPath: Invalid value: ".a": must be a valid path
            schema.properties[d].x-kubernetes-validations[2].fieldPath: Invalid value: ".e": must be a valid path
            schema.properties[c].x-kubernetes-validations[0].rule: Invalid value: {"rule":"self.nowhere"}: compilation failed: ERROR: <input>:1:5: undefined field 'nowhere'
             | self.nowhere
             | ....^"#]],
    );
}

#[test]
fn what_is_in_parts_that_are_not_supported() {
    check_errors(
        json!({"type": "object", "properties": {"a": {
            "type": "object", "$ref": "", "additionalItems": false,
            "definitions": {"d": {"type": "odd"}}, "dependencies": {"e": {"type": "odd"}, "f": ["a"]}, "items": [{"type": "odd"}],
        }}}),
        expect![[r#"
            schema.properties[a].additionalItems: Forbidden: additionalItems is not supported
            schema.properties[a].definitions: Forbidden: definitions is not supported
            schema.properties[a].dependencies: Forbidden: dependencies is not supported
            schema.properties[a].$ref: Forbidden: $ref is not supported
            schema.properties[a].items: Forbidden: items must be a schema object and not an array
            schema.properties[a].definitions[d].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string"
            schema.properties[a].dependencies[e].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string"
            schema.properties[a].items[0].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string""#]],
    );
}

/// Upstream estimates what rules may cost when they are written, and refuses those that objects could make too expensive.
#[test]
fn a_rule_that_cannot_be_read_uses_no_old_value() {
    let rule = json!([{"rule": "abc", "optionalOldSelf": true}]);
    let told = errors(
        &json!({"type": "object", "x-kubernetes-validations": rule}),
        false,
    );
    let why =
        "[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule";
    assert!(told.contains(why), "{told}");
    assert!(told.contains("undeclared reference to 'abc'"), "{told}");
}

#[test]
fn rules_that_may_cost_too_much() {
    let rules = |rule: &str| json!([{"rule": rule}]);
    let texts = |bounds: Value, rule: &str| {
        let mut list = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": rules(rule)});
        for (field, bound) in bounds.as_object().expect("an object") {
            list[field] = bound.clone();
        }
        json!({"type": "object", "properties": {"list": list}})
    };
    let each = "self.all(a, self.all(b, a == b))";
    check_errors(
        texts(json!({}), each),
        expect![[r#"
            schema.properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)
            schema.properties[list].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema
            schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"#]],
    );
    check_errors(texts(json!({"maxItems": 5}), each), expect![""]);
    // The schema's own bounds say how much it is too much.
    let bounded = json!({"maxItems": 1000, "items": {"type": "string", "maxLength": 20}});
    check_errors(
        texts(bounded, each),
        expect![[r#"
            schema.properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 1.300500x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"#]],
    );
    // A cheap rule, of as many values as an object can hold.
    let inside = json!({"type": "object", "properties": {"list": {"type": "array", "items": {
        "type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": rules("self.a == 'x' && self.a != 'y'")}}}});
    check_errors(inside, expect![""]);
    let expensive = json!({"type": "object", "properties": {"list": {"type": "array", "items": {
        "type": "string", "x-kubernetes-validations": rules("self.matches('^[a-z]+$')")}}}});
    assert!(
        errors(&expensive, false).contains(
            "list].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost"
        ),
    );
}
