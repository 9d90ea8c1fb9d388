use expect_test::expect;
use knarr_meta::field::{Error, ErrorList, Path};
use serde_json::json;

use super::*;
use crate::{kind::Part, now::Now, testing::lines};

fn definition() -> Value {
    let props = |ty: &str| {
        json!({"type": "object", "properties": {
            "spec": {"type": "object", "required": ["n"], "properties": {
                "n": {"type": ty, "minimum": 0}, "color": {"type": "string", "default": "red"}, "replicas": {"type": "integer"},
            }},
            "status": {"type": "object", "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}}},
        }})
    };
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": props("integer")},
                 "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                 "selectableFields": [{"jsonPath": ".spec.color"}],
                 "additionalPrinterColumns": [
                    {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
                    {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                 ]},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                 "schema": {"openAPIV3Schema": props("number")}},
                {"name": "v1alpha1", "served": false, "storage": false, "schema": {"openAPIV3Schema": props("number")}},
            ],
        },
        "status": {"acceptedNames": {
            "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"],
        }},
    })
}

fn made() -> Kinds {
    let definition = definition();
    let source = Bytes::from(definition.to_string());
    kinds(&definition, &source).expect("kinds")
}

#[test]
fn a_kind_a_version() {
    let kinds = made();
    let served: Vec<String> = kinds
        .served
        .iter()
        .map(|kind| format!("{kind:?}"))
        .collect();
    assert_eq!(
        served,
        ["example.com/v1 Widget", "example.com/v1beta1 Widget"]
    );
    assert!(Arc::ptr_eq(&kinds.stored, &kinds.served[0]));
    let (v1, beta) = (&kinds.served[0], &kinds.served[1]);
    assert_eq!(v1.storage.as_deref(), Some("/registry/example.com/widgets"));
    assert_eq!(
        (v1.stored.as_deref(), beta.stored.as_deref()),
        (None, Some("v1"))
    );
    assert!(v1.subresource("scale").is_some() && beta.subresource("status").is_none());
    assert_eq!(
        beta.strategy.deprecation(),
        Some("example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget")
    );
    assert_eq!(v1.definition, "com.example.v1.Widget");
    let set = crate::Kinds::built_in()
        .replaced("example.com", "widgets", &kinds.served)
        .expect("a set");
    assert!(set.find("example.com", "v1beta1", "widgets").is_some());
    let none = set.replaced("example.com", "widgets", &[]).expect("a set");
    assert_eq!(none.iter().count(), crate::built_in_kinds().len());
}

#[test]
fn an_object_is_pruned_and_defaulted() {
    let kind = made().stored;
    let mut object = json!({
        "kind": "Widget", "metadata": {"name": "a", "odd": 1, "labels": {}}, "spec": {"n": 1, "x": {}}, "more": 1,
    });
    let unknown = kind
        .strategy
        .decode(&mut object)
        .expect("no type of the table")
        .expect("decodes");
    assert_eq!(
        unknown,
        [
            r#"unknown field "metadata.odd""#,
            r#"unknown field "more""#,
            r#"unknown field "spec.x""#
        ]
    );
    assert_eq!(
        object,
        json!({"kind": "Widget", "metadata": {"name": "a"}, "spec": {"n": 1, "color": "red"}})
    );
    let mut wrong = json!({"kind": "Widget", "metadata": {"name": 5}});
    let status = kind
        .strategy
        .decode(&mut wrong)
        .expect("no type of the table")
        .expect_err("no name");
    assert_eq!(status.code, 400);
    assert!(
        status
            .message
            .starts_with(r#"Widget in version "v1" cannot be handled as a Widget: json: "#),
        "{status}"
    );
}

fn told(errors: &ErrorList) -> String {
    lines(errors)
}

#[test]
fn validation() {
    let kind = made().stored;
    let object = json!({"spec": {"n": -1, "replicas": -5}, "status": {"phase": 1}});
    expect![[r#"
        spec.n: Invalid value: -1: spec.n in body should be greater than or equal to 0
        status.phase: Invalid value: "integer": status.phase in body must be of type string: "integer"
        .spec.replicas: Invalid value: -5: should be a non-negative integer"#]]
    .assert_eq(&told(&kind.strategy.validate_create(&object)));
    expect![[
        r#"status.phase: Invalid value: "integer": phase in body must be of type string: "integer""#
    ]]
    .assert_eq(&told(&kind.strategy.validate_update(
        &object,
        &json!({}),
        Part::Status,
    )));
}

#[test]
fn rules_wait_for_a_shape_and_finalizers_are_told_once() {
    let mut definition = definition();
    let version = &mut definition["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] =
        json!([{"rule": "self.n != 7"}]);
    let source = Bytes::from(definition.to_string());
    let kind = kinds(&definition, &source).expect("kinds").stored;
    let object = json!({"spec": {"n": 7}});
    let name = Path::new("metadata").child("name");
    for (before, wanted) in [
        (vec![], r#"spec: Invalid value: failed rule: self.n != 7"#),
        (
            vec![Error::required(&name, "")],
            "metadata.name: Required value\n<nil>: Invalid value: null: some validation rules were not checked because the object \
             was invalid; correct the existing errors to complete validation",
        ),
        (
            vec![Error::invalid(&name, "A", "why")],
            "metadata.name: Invalid value: \"A\": why\nspec: Invalid value: failed rule: self.n != 7",
        ),
    ] {
        let mut errors = before;
        kind.strategy.validate_rest(&object, None, &mut errors);
        assert_eq!(told(&errors), wanted);
    }
    let held = |names: Value| json!({"metadata": {"finalizers": names}});
    let warnings =
        |new: &Value, old: Option<&Value>| kind.strategy.warnings(new, old, Part::Main).len();
    let (one, two) = (held(json!(["a.b", "a.b"])), held(json!(["a.b", "c"])));
    assert_eq!(warnings(&one, None), 1);
    assert_eq!(
        (warnings(&one, Some(&one)), warnings(&two, Some(&one))),
        (0, 1)
    );
}

#[test]
fn status_and_scale() {
    let kind = made().stored;
    let strategy = &kind.strategy;
    let mut object = json!({"spec": {"n": 1, "replicas": 2}, "status": {"replicas": 1}});
    assert_eq!(strategy.scale(&object), Some((2, 1, String::new())));
    let old = object.clone();
    strategy.set_scale(&mut object, 5).expect("is set");
    assert_eq!(object["spec"]["replicas"], 5);
    assert!(strategy.changes_generation(&object, &old));
    object["status"] = json!({"replicas": 9});
    strategy.prepare_update(&mut object, &old, Part::Main);
    assert_eq!(object["status"], old["status"]);
    strategy.prepare_create(&mut object);
    assert_eq!(object.get("status"), None);
}

#[test]
fn what_replicas_cannot_be_in_is_told() {
    let declared = json!({
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
    });
    let scale = scale::Scale::new(&declared);
    for (status, wanted) in [
        (Value::Null, expect![""]),
        (json!({}), expect![""]),
        (
            json!(["a", {"b": [1, true]}]),
            expect![[r#"
            .status.replicas: Invalid value: 0: .status.replicas accessor error: [a map[b:[1 true]]] is of the type []interface {}, expected map[string]interface{}
            .status.selector: Invalid value: "": .status.selector accessor error: [a map[b:[1 true]]] is of the type []interface {}, expected map[string]interface{}"#]],
        ),
        (
            json!({"replicas": "a", "selector": {"b": null}}),
            expect![[r#"
                .status.replicas: Invalid value: 0: .status.replicas accessor error: a is of the type string, expected int64
                .status.selector: Invalid value: "": .status.selector accessor error: map[b:<nil>] is of the type map[string]interface {}, expected string"#]],
        ),
        (
            json!({"replicas": -1, "selector": "a=b"}),
            expect![".status.replicas: Invalid value: -1: should be a non-negative integer"],
        ),
    ] {
        let mut errors = ErrorList::new();
        scale.validate_status(&json!({"status": status}), &mut errors);
        wanted.assert_eq(&lines(&errors));
    }
}

#[test]
fn columns_and_fields() {
    let kind = made().stored;
    let object = json!({
        "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"n": 3, "color": "blue"},
    });
    let now = knarr_meta::time::parse_unix_seconds("2026-01-01T01:00:00Z").expect("a time");
    let cells = kind.strategy.cells(&object, &Now::new(now));
    assert_eq!(Value::from(cells), json!(["a", 3, "blue", "60m"]));
    let names: Vec<_> = kind
        .strategy
        .columns()
        .iter()
        .map(|column| &*column.name)
        .collect();
    assert_eq!(names, ["Name", "N", "Color", "Since"]);
    assert_eq!(kind.strategy.selectable_fields(), ["spec.color"]);
    assert_eq!(kind.strategy.field_values(&object), ["blue"]);
    let beta = &made().served[1];
    let names: Vec<_> = beta
        .strategy
        .columns()
        .iter()
        .map(|column| &*column.name)
        .collect();
    assert_eq!(names, ["Name", "Age"]);
}

#[test]
fn another_version_is_the_same_object() {
    let beta = made().served[1].clone();
    let mut object = json!({"apiVersion": "example.com/v1", "spec": {"n": 1}});
    beta.from_stored(&mut object);
    assert_eq!(
        object,
        json!({"apiVersion": "example.com/v1beta1", "spec": {"n": 1, "color": "red"}})
    );
    beta.to_stored(&mut object);
    assert_eq!(object["apiVersion"], "example.com/v1");
}

#[test]
fn only_a_later_version_is_said_to_be_better() {
    let of = |versions: &[(&str, bool, bool)], version: &str| {
        let versions: Vec<Value> = versions
            .iter()
            .map(|(name, served, deprecated)| {
                json!({"name": name, "served": served, "deprecated": deprecated})
            })
            .collect();
        let names = json!({"kind": "Widget"});
        let spec = json!({"group": "example.com", "names": names, "versions": versions});
        deprecation(&json!({ "spec": spec }), version)
    };
    let all = [
        ("v1alpha1", true, true),
        ("v1beta1", true, false),
        ("v1", true, false),
        ("v2", false, false),
        ("v3", true, true),
    ];
    let plain = "example.com/v3 Widget is deprecated";
    assert_eq!(of(&all, "v3"), plain);
    let better = "example.com/v1alpha1 Widget is deprecated; use example.com/v1 Widget";
    assert_eq!(of(&all, "v1alpha1"), better);
    let odd = [("foo10", true, true), ("foo1", true, false)];
    let better = "example.com/foo10 Widget is deprecated; use example.com/foo1 Widget";
    assert_eq!(of(&odd, "foo10"), better);
}
