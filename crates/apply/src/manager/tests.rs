use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::{
    filter::Step,
    schema::{Atom, Deduced, Field, ListType, MapType, Opaque, Schema},
};

/// Objects whose containers have names, and of which nothing else is known.
struct Known;
struct Spec;
struct Containers;

impl Schema for Known {
    fn atom(&self) -> Atom {
        Atom {
            map: Some(MapType::Granular),
            ..Atom::default()
        }
    }

    fn element(&self) -> &dyn Schema {
        &Opaque
    }

    fn key(&self, _: usize) -> Option<&str> {
        None
    }

    fn field(&self, name: &str) -> Option<Field<'_>> {
        let schema: &dyn Schema = match name {
            "spec" => &Spec,
            "apiVersion" | "kind" | "metadata" | "status" => &Deduced,
            _ => return None,
        };
        Some(Field {
            schema,
            default: None,
            absent: None,
        })
    }

    fn undeclared(&self) -> Option<&dyn Schema> {
        None
    }
}

impl Schema for Spec {
    fn atom(&self) -> Atom {
        Known.atom()
    }

    fn element(&self) -> &dyn Schema {
        &Opaque
    }

    fn key(&self, _: usize) -> Option<&str> {
        None
    }

    fn field(&self, name: &str) -> Option<Field<'_>> {
        let schema: &dyn Schema = match name {
            "containers" => &Containers,
            "replicas" | "paused" => &Deduced,
            _ => return None,
        };
        Some(Field {
            schema,
            default: None,
            absent: None,
        })
    }

    fn undeclared(&self) -> Option<&dyn Schema> {
        None
    }
}

impl Schema for Containers {
    fn atom(&self) -> Atom {
        Atom {
            list: Some(ListType::Map),
            ..Atom::default()
        }
    }

    fn element(&self) -> &dyn Schema {
        &Deduced
    }

    fn key(&self, index: usize) -> Option<&str> {
        (index == 0).then_some("name")
    }

    fn field(&self, _: &str) -> Option<Field<'_>> {
        None
    }

    fn undeclared(&self) -> Option<&dyn Schema> {
        None
    }
}

/// One version, as most kinds have.
struct Apps;

impl Versions for Apps {
    fn schema(&self, version: &str) -> Option<&dyn Schema> {
        (version == "apps/v1").then_some(&Known)
    }

    fn convert(&self, _: &Value, from: &str, to: &str) -> Result<Value, String> {
        Err(format!("from {from} to {to}"))
    }
}

fn manager(now: &str) -> FieldManager<'_> {
    FieldManager {
        versions: &Apps,
        version: "apps/v1",
        kind: "Deployment",
        subresource: "",
        filter: None,
        now,
    }
}

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

fn deployment(spec: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": spec,
    })
}

/// As the server stores it.
fn stored(mut object: Value) -> Value {
    object["metadata"]["uid"] = json!("u");
    object["metadata"]["resourceVersion"] = json!("1");
    object
}

/// Who owns what, a line each.
fn owners(object: &Value) -> String {
    let entries = object["metadata"]["managedFields"].as_array();
    let line = |entry: &Value| {
        let set = Set::from_json(&entry["fieldsV1"]).expect("fieldsV1");
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {} {} {}: {}\n",
            text("manager"),
            text("operation"),
            text("apiVersion"),
            text("subresource"),
            text("time"),
            set.paths().join(" ")
        )
    };
    entries.into_iter().flatten().map(line).collect()
}

fn check_owners(object: &Value, expect: Expect) {
    expect.assert_eq(&owners(object));
}

fn created(spec: Value, by: &str) -> Value {
    let mut object = deployment(spec);
    manager(T1).update(None, &mut object, by);
    stored(object)
}

fn apply(live: &Value, config: &Value, by: &str, force: bool) -> Result<Value, Status> {
    let by = Applier { manager: by, force };
    manager(T2).apply(live, config, by)
}

#[test]
fn who_creates_owns_everything_but_what_is_the_servers() {
    let object = created(
        json!({"replicas": 1, "containers": [{"name": "a"}]}),
        "kubectl-create",
    );
    check_owners(
        &object,
        expect![[r#"
            kubectl-create Update apps/v1 - 2026-01-01T00:00:01Z: .spec .spec.containers .spec.replicas .spec.containers[name="a"] .spec.containers[name="a"].name
        "#]],
    );
    let object = created(json!({"replicas": 1}), "");
    assert!(owners(&object).starts_with("unknown Update"));
}

#[test]
fn an_update_takes_what_it_changes_and_only_then_counts_time() {
    let live = created(json!({"replicas": 1, "paused": true}), "one");
    let mut same = live.clone();
    manager(T2).update(Some(&live), &mut same, "two");
    assert_eq!(same, live);
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(2);
    new["spec"].as_object_mut().unwrap().remove("paused");
    manager(T2).update(Some(&live), &mut new, "two");
    check_owners(
        &new,
        expect![[r#"
            one Update apps/v1 - 2026-01-01T00:00:01Z: .spec
            two Update apps/v1 - 2026-01-01T00:00:02Z: .spec.replicas
        "#]],
    );
}

#[test]
fn an_applier_creates_and_removes_what_it_does_not_want_any_more() {
    let config = deployment(json!({"replicas": 3, "containers": [{"name": "a", "image": "i"}]}));
    let live = stored(apply(&json!({}), &config, "me", false).unwrap());
    check_owners(
        &live,
        expect![[r#"
            me Apply apps/v1 - 2026-01-01T00:00:02Z: .spec.replicas .spec.containers[name="a"] .spec.containers[name="a"].image .spec.containers[name="a"].name
        "#]],
    );
    let again = apply(&live, &config, "me", false).unwrap();
    assert_eq!(again, live, "nothing changes, not even the time");
    let less = deployment(json!({"containers": [{"name": "a"}]}));
    let new = apply(&live, &less, "me", false).unwrap();
    assert_eq!(new["spec"], json!({"containers": [{"name": "a"}]}));
    let none = apply(&new, &deployment(json!({})), "me", false).unwrap();
    // As upstream: decoding makes of it what the type has.
    assert_eq!(none["spec"], Value::Null);
    assert_eq!(
        owners(&none),
        "me Apply apps/v1 - 2026-01-01T00:00:02Z: .spec\n"
    );
}

#[test]
fn what_two_appliers_own_stays_until_both_let_it_go() {
    let config = deployment(json!({"replicas": 3}));
    let live = stored(apply(&json!({}), &config, "one", false).unwrap());
    let both = apply(&live, &config, "two", false).unwrap();
    let nothing = deployment(json!({"paused": true}));
    let one = apply(&both, &nothing, "one", false).unwrap();
    assert_eq!(one["spec"], json!({"paused": true, "replicas": 3}));
    let none = apply(&one, &nothing, "two", false).unwrap();
    assert_eq!(none["spec"], json!({"paused": true}));
}

#[test]
fn conflicts_are_told_in_upstreams_words_and_force_wins() {
    let live = created(json!({"replicas": 1, "paused": true}), "kubectl-create");
    let config = deployment(json!({"replicas": 2, "paused": false}));
    let status = apply(&live, &config, "me", false).unwrap_err();
    expect![[r#"
        Apply failed with 2 conflicts: conflicts with "kubectl-create" using apps/v1:
        - .spec.paused
        - .spec.replicas"#]]
    .assert_eq(&status.message);
    let status = apply(&live, &deployment(json!({"replicas": 2})), "me", false).unwrap_err();
    expect![[r#"
        {
          "code": 409,
          "details": {
            "causes": [
              {
                "field": ".spec.replicas",
                "message": "conflict with \"kubectl-create\" using apps/v1",
                "reason": "FieldManagerConflict"
              }
            ]
          },
          "message": "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: .spec.replicas",
          "reason": "Conflict"
        }"#]]
    .assert_eq(&told(&status));
    let new = apply(&live, &config, "me", true).unwrap();
    check_owners(
        &new,
        expect![[r#"
            me Apply apps/v1 - 2026-01-01T00:00:02Z: .spec.paused .spec.replicas
            kubectl-create Update apps/v1 - 2026-01-01T00:00:01Z: .spec
        "#]],
    );
}

fn told(status: &Status) -> String {
    let mut status = serde_json::to_value(status).unwrap();
    for field in ["apiVersion", "kind", "metadata", "status"] {
        status.as_object_mut().unwrap().remove(field);
    }
    serde_json::to_string_pretty(&status).unwrap()
}

#[test]
fn an_object_that_was_never_tracked_is_from_before_the_first_apply() {
    let live = stored(deployment(json!({"replicas": 1})));
    let mut updated = live.clone();
    updated["spec"]["replicas"] = json!(2);
    manager(T1).update(Some(&live), &mut updated, "one");
    assert_eq!(owners(&updated), "");
    let new = apply(&live, &deployment(json!({"replicas": 1})), "me", false).unwrap();
    check_owners(
        &new,
        expect![[r#"
            me Apply apps/v1 - -: .spec.replicas
            before-first-apply Update apps/v1 - 2026-01-01T00:00:02Z: .spec .spec.replicas
        "#]],
    );
}

#[test]
fn managers_are_given_reset_and_kept() {
    let live = created(json!({"replicas": 1}), "one");
    let with = |entries: Value| {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = entries;
        manager(T2).update(Some(&live), &mut new, "two");
        owners(&new)
    };
    let own = owners(&live);
    assert_eq!(with(json!([{}])), "");
    assert_eq!(with(json!([])), "");
    assert_eq!(with(json!(null)), own);
    assert_eq!(with(json!([{"operation": "Steal"}])), own);
    assert_eq!(
        with(json!([{"operation": "Update", "apiVersion": "apps/v1"}])),
        own
    );
    let other = json!([{"manager": "x", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    assert_eq!(with(other.clone()), "x Apply apps/v1 - -: .spec.replicas\n");
    let mut new = live.clone();
    new["metadata"]["managedFields"] = other;
    let status = FieldManager {
        subresource: "status",
        ..manager(T2)
    };
    status.update(Some(&live), &mut new, "two");
    assert_eq!(owners(&new), own, "a subresource does not set managers");
}

#[test]
fn versions_that_are_gone_take_their_managers_along() {
    let mut live = created(json!({"replicas": 1}), "one");
    live["metadata"]["managedFields"][0]["apiVersion"] = json!("apps/v1beta1");
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(2);
    manager(T2).update(Some(&live), &mut new, "two");
    assert_eq!(
        owners(&new),
        "two Update apps/v1 - 2026-01-01T00:00:02Z: .spec.replicas\n"
    );
}

#[test]
fn the_oldest_updates_become_one() {
    let mut live = created(json!({"replicas": 0}), "m00");
    for index in 1..=13 {
        let mut new = live.clone();
        new["metadata"]["labels"] = json!({});
        for label in 0..=index {
            new["metadata"]["labels"][format!("l{label}")] = json!("x");
        }
        let now = format!("2026-01-01T00:00:{index:02}Z");
        manager(&now).update(Some(&live), &mut new, &format!("m{index:02}"));
        live = new;
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), MAX);
    let names: Vec<&str> = entries
        .iter()
        .map(|e| e["manager"].as_str().unwrap())
        .collect();
    assert_eq!(names[0], "ancient-changes");
    assert_eq!(names[MAX - 1], "m13");
    assert_eq!(entries[0]["time"], "2026-01-01T00:00:04Z");
    assert_eq!(Managers::decode(entries_of(&live)).unwrap().0.len(), MAX);
}

const MAX: usize = crate::MAX_UPDATE_MANAGERS;

fn entries_of(object: &Value) -> Option<&Value> {
    entries(object)
}

#[test]
fn what_is_reset_is_not_owned() {
    let mut object = deployment(json!({"replicas": 1}));
    object["status"] = json!({"replicas": 1});
    let without = Filter::without(&[&["status"]]);
    let main = FieldManager {
        filter: Some(&without),
        ..manager(T1)
    };
    main.update(None, &mut object, "one");
    assert!(!owners(&object).contains(".status"));
    let only = Filter::only(&[&[
        Step::Field("spec"),
        Step::Field("containers"),
        Step::Any,
        Step::Field("resources"),
    ]]);
    let resize = FieldManager {
        filter: Some(&only),
        subresource: "resize",
        ..manager(T2)
    };
    let live = stored(object);
    let mut new = live.clone();
    new["spec"] = json!({"replicas": 9, "containers": [{"name": "a", "image": "i", "resources": {"limits": {"cpu": 1}}}]});
    resize.update(Some(&live), &mut new, "two");
    check_owners(
        &new,
        expect![[r#"
            one Update apps/v1 - 2026-01-01T00:00:01Z: .spec .spec.replicas
            two Update apps/v1 resize 2026-01-01T00:00:02Z: .spec.containers .spec.containers[name="a"] .spec.containers[name="a"].resources .spec.containers[name="a"].resources.limits .spec.containers[name="a"].resources.limits.cpu
        "#]],
    );
}

#[test]
fn kubectl_moves_from_one_kind_of_apply_to_the_other() {
    const KEY: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut object = deployment(json!({"replicas": 1, "paused": true}));
    let last = object.to_string();
    object["metadata"]["annotations"] = json!({KEY: last});
    manager(T1).update(None, &mut object, "kubectl-client-side-apply");
    let live = stored(object);
    let config = deployment(json!({"replicas": 5}));
    assert_eq!(apply(&live, &config, "other", false).unwrap_err().code, 409);
    let new = apply(&live, &config, "kubectl", false).unwrap();
    assert_eq!(new["spec"]["replicas"], 5);
    let renewed = new["metadata"]["annotations"][KEY].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(renewed).unwrap(), config);
    assert!(renewed.ends_with("}\n"));
    // Whoever else changed a field since still owns it.
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(7);
    manager(T2).update(Some(&live), &mut scaled, "scaler");
    let status = apply(&scaled, &config, "kubectl", false).unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn what_is_no_configuration_of_the_kind_is_refused() {
    let live = created(json!({"replicas": 1}), "one");
    let mut managed = deployment(json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    let mut other = deployment(json!({}));
    other["apiVersion"] = json!("v1");
    let cases = [
        (json!({}), 400, "invalid object type: /, Kind="),
        (other, 400, "invalid object type: /v1, Kind=Deployment"),
        (managed, 400, "metadata.managedFields must be nil"),
        (
            deployment(json!({"replica": 1})),
            500,
            "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): \
             .spec.replica: field not declared in schema",
        ),
    ];
    for (config, code, message) in cases {
        let status = apply(&live, &config, "me", false).unwrap_err();
        assert_eq!((status.code, &*status.message), (code, message));
    }
    let mut broken = live.clone();
    broken["metadata"]["managedFields"][0]["fieldsType"] = json!("");
    let status = apply(&broken, &deployment(json!({})), "me", false).unwrap_err();
    assert_eq!(
        status.message,
        "failed to decode managed fields: missing fieldsType in managed fields entry 0"
    );
}
