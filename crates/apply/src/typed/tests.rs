use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::schema::{Atom, Deduced, Field, ListType, MapType, Opaque, Scalar, Schema};

/// A Service as far as the tests need one: ports by key, finalizers as a set, a selector that is one value.
struct Type(&'static str);

const fn map(map: MapType) -> Atom {
    Atom {
        map: Some(map),
        scalar: None,
        list: None,
    }
}

const fn list(list: ListType) -> Atom {
    Atom {
        map: None,
        scalar: None,
        list: Some(list),
    }
}

static TCP: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!("TCP"));
static NOTHING: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({}));

impl Schema for Type {
    fn atom(&self) -> Atom {
        match self.0 {
            "object" | "spec" | "port" | "labels" => map(MapType::Granular),
            "selector" => map(MapType::Atomic),
            "ports" => list(ListType::Map),
            "finalizers" => list(ListType::Set),
            "args" => list(ListType::Atomic),
            "number" => Atom {
                scalar: Some(Scalar::Numeric),
                ..Atom::default()
            },
            _ => Atom {
                scalar: Some(Scalar::String),
                ..Atom::default()
            },
        }
    }

    fn element(&self) -> &dyn Schema {
        match self.0 {
            "ports" => &Type("port"),
            _ => &Type("string"),
        }
    }

    fn key(&self, index: usize) -> Option<&str> {
        ["port", "protocol"].get(index).copied()
    }

    fn field(&self, name: &str) -> Option<Field<'_>> {
        let ty: &'static Type = match (self.0, name) {
            ("object", "spec") => &Type("spec"),
            ("object", "labels") => &Type("labels"),
            ("object", "finalizers") => &Type("finalizers"),
            ("spec", "ports") => &Type("ports"),
            ("spec", "selector") => &Type("selector"),
            ("spec", "args") => &Type("args"),
            ("port", "port") => &Type("number"),
            ("port", "protocol" | "name") => &Type("string"),
            _ => return None,
        };
        Some(Field {
            schema: ty,
            default: (name == "protocol").then(|| &*TCP),
            absent: (name == "spec").then(|| &*NOTHING),
        })
    }

    fn undeclared(&self) -> Option<&dyn Schema> {
        (self.0 == "labels" || self.0 == "selector").then_some(&Type("string") as &dyn Schema)
    }
}

const OBJECT: Type = Type("object");

fn compared(old: &Value, new: &Value, schema: &dyn Schema) -> Value {
    let changes = compare(old, new, schema).expect("values of the type");
    json!({
        "removed": changes.removed.to_json(),
        "modified": changes.modified.to_json(),
        "added": changes.added.to_json(),
    })
}

#[test]
fn a_configuration_owns_its_leaves_and_elements() {
    let config = json!({
        "labels": {"app": "a"},
        "finalizers": ["x", "y"],
        "spec": {
            "ports": [{"port": 80, "name": "web"}, {"port": 80, "protocol": "UDP"}],
            "selector": {"app": "a"},
            "args": [],
        },
    });
    let set = field_set(&config, &OBJECT).unwrap();
    expect![[r#"
        .finalizers[="x"]
        .finalizers[="y"]
        .labels.app
        .spec.args
        .spec.selector
        .spec.ports[port=80,protocol="TCP"]
        .spec.ports[port=80,protocol="UDP"]
        .spec.ports[port=80,protocol="TCP"].name
        .spec.ports[port=80,protocol="TCP"].port
        .spec.ports[port=80,protocol="UDP"].port
        .spec.ports[port=80,protocol="UDP"].protocol"#]]
    .assert_eq(&set.paths().join("\n"));
}

#[test]
fn elements_of_one_key_are_owned_together() {
    let twice =
        json!({"spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}, {"port": 81}]}});
    let paths = field_set(&twice, &OBJECT).unwrap().paths();
    assert_eq!(
        paths,
        [
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=81,protocol=\"TCP\"]",
            ".spec.ports[port=81,protocol=\"TCP\"].port",
        ]
    );
    let once = json!({"spec": {"ports": [{"port": 80, "name": "web"}, {"port": 81}]}});
    assert_eq!(
        compared(&twice, &once, &OBJECT),
        json!({
            "removed": {"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {}}}},
            "modified": {},
            "added": {"f:spec": {"f:ports": {
                "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}}}}},
        })
    );
    let why = validate(&twice, &OBJECT, Duplicates::Refused).unwrap_err();
    assert_eq!(
        why.to_string(),
        ".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]"
    );
    assert_eq!(validate(&twice, &OBJECT, Duplicates::Allowed), Ok(()));
}

/// Upstream's objects are structs: an embedded one is there before anything is in it, and nobody adds it.
#[test]
fn an_embedded_struct_is_never_added() {
    let new = json!({"spec": {"selector": {"a": "b"}}, "labels": {"a": "b"}});
    assert_eq!(
        compared(&json!({}), &new, &OBJECT)["added"],
        json!({"f:labels": {".": {}, "f:a": {}}, "f:spec": {"f:selector": {}}})
    );
    assert_eq!(
        compared(&new, &json!({}), &OBJECT)["removed"],
        json!({"f:labels": {".": {}, "f:a": {}}, "f:spec": {"f:selector": {}}})
    );
}

#[test]
fn a_list_by_key_is_merged_in_the_order_of_the_configuration() {
    let names = |value: &Value| -> String {
        let ports = value["spec"]["ports"].as_array().cloned();
        let names = ports.unwrap_or_default();
        let names = names.iter().map(|port| port["port"].to_string());
        names.collect::<Vec<_>>().join(" ")
    };
    let ports = |numbers: &[i64]| -> Value {
        let ports: Vec<Value> = numbers.iter().map(|port| json!({"port": port})).collect();
        json!({"spec": {"ports": ports}})
    };
    let cases: [(&[i64], &[i64], &str); 6] = [
        (&[], &[1, 2], "1 2"),
        (&[1, 2], &[], "1 2"),
        (&[1, 2, 3], &[3, 1], "2 3 1"),
        (&[1, 2, 3], &[4, 2], "1 4 2 3"),
        (&[5, 1, 6, 2, 7], &[2, 1], "5 6 2 7 1"),
        (&[1, 2], &[3, 4], "1 2 3 4"),
    ];
    for (live, config, wanted) in cases {
        let merged = merge(&ports(live), &ports(config), &OBJECT).unwrap();
        assert_eq!(names(&merged), wanted, "{live:?} {config:?}");
    }
}

#[test]
fn merging_removes_nothing_and_replaces_what_is_one_value() {
    let live = json!({"labels": {"a": "1", "b": "1"}, "finalizers": ["x"], "spec": {"selector": {"a": "1"}, "args": ["1", "2"]}});
    let config = json!({"labels": {"b": "2", "c": "2"}, "finalizers": ["y"], "spec": {"selector": {"b": "2"}, "args": []}});
    let wanted = json!({
        "labels": {"a": "1", "b": "2", "c": "2"},
        "finalizers": ["x", "y"],
        "spec": {"selector": {"b": "2"}, "args": []},
    });
    assert_eq!(merge(&live, &config, &OBJECT).unwrap(), wanted);
    assert_eq!(merge(&live, &live, &OBJECT).unwrap(), live);
}

#[test]
fn items_and_fields_are_removed() {
    let value = json!({
        "labels": {"a": "1", "b": "1"},
        "finalizers": ["x", "y"],
        "spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2}], "selector": {"a": "1"}},
    });
    let gone = json!({
        "f:labels": {"f:a": {}},
        "f:finalizers": {"v:\"x\"": {}, "v:\"y\"": {}},
        "f:spec": {
            "f:ports": {"k:{\"port\":1,\"protocol\":\"TCP\"}": {"f:name": {}}, "k:{\"port\":2,\"protocol\":\"TCP\"}": {}},
        },
    });
    let gone = crate::Set::from_json(&gone).unwrap();
    assert_eq!(
        remove(&value, &gone, &OBJECT),
        json!({
            "labels": {"b": "1"},
            "finalizers": null,
            "spec": {"ports": [{"port": 1}], "selector": {"a": "1"}},
        })
    );
}

#[test]
fn nothing_known_is_merged_by_field_and_lists_are_one_value() {
    let live = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
    let config = json!({"a": {"c": [3]}, "d": {"e": 1}});
    assert_eq!(
        merge(&live, &config, &Deduced).unwrap(),
        json!({"a": {"b": 1, "c": [3]}, "d": {"e": 1}})
    );
    assert_eq!(
        field_set(&config, &Deduced).unwrap().to_json(),
        json!({"f:a": {".": {}, "f:c": {}}, "f:d": {".": {}, "f:e": {}}})
    );
    assert_eq!(merge(&live, &config, &Opaque).unwrap(), config);
    assert_eq!(
        compared(&live, &config, &Deduced),
        json!({
            "removed": {"f:a": {"f:b": {}}},
            "modified": {"f:a": {"f:c": {}}, "f:d": {}},
            "added": {"f:d": {"f:e": {}}},
        })
    );
}

#[test]
fn problems_are_told_in_upstreams_words() {
    let wrong = [
        json!({"other": 1}),
        json!({"spec": {"ports": [{"port": "80"}, {"port": 81, "x": 1}]}}),
        json!({"spec": {"ports": {"port": 80}}}),
        json!({"spec": []}),
        json!({"spec": {"ports": [{"port": 80, "name": 8}]}}),
        json!({"finalizers": [{}]}),
        json!({"finalizers": ["a", "a"]}),
    ];
    let told: Vec<String> = wrong
        .iter()
        .map(|value| {
            let why = validate(value, &OBJECT, Duplicates::Refused);
            why.expect_err("wrong").to_string()
        })
        .collect();
    expect![[r#"
        .other: field not declared in schema
        errors:
          .spec.ports[port="80",protocol="TCP"].port: expected numeric (int or float), got string
          .spec.ports[port=81,protocol="TCP"].x: field not declared in schema
        .spec.ports: expected list, got &{map[port:80]}
        .spec: expected map, got &{[]}
        .spec.ports[port=80,protocol="TCP"].name: expected string, got &value.valueUnstructured{Value:8}
        .finalizers: element 0: associative list without keys has an element that's a map type
        .finalizers: duplicate entries for key [="a"]"#]]
    .assert_eq(&told.join("\n"));
}
