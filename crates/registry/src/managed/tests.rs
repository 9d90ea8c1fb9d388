use knarr_api::apiextensions::custom_resource;
use serde_json::json;

use super::*;

#[test]
fn managers_are_named_by_parameter_or_program() {
    let long = "é".repeat(100);
    let cut = "é".repeat(64);
    for (parameter, agent, wanted) in [
        ("me", "kubectl/v1.37", "me"),
        ("", "kubectl/v1.37 (linux/amd64)", "kubectl"),
        ("", "Mozilla", "Mozilla"),
        ("", "a\tb\u{200b}c d/1", "abc d"),
        ("", &*long, &*cut),
        ("", "", ""),
    ] {
        assert_eq!(manager_name(parameter, agent), wanted, "{agent}");
    }
}

#[test]
fn times_alone_are_told_from_changes() {
    let with = |entries: Value| json!({"metadata": {"managedFields": entries}});
    let old =
        with(json!([{"manager": "a", "time": "1", "fieldsV1": {"f:a": {}}}, {"manager": "b"}]));
    for (entries, wanted) in [
        (
            json!([{"manager": "a", "time": "1", "fieldsV1": {"f:a": {}}}, {"manager": "b"}]),
            false,
        ),
        (
            json!([{"manager": "a", "time": "2", "fieldsV1": {"f:a": {}}}, {"manager": "b"}]),
            true,
        ),
        (
            json!([{"manager": "a", "fieldsV1": {"f:a": {}}}, {"manager": "b", "time": "2"}]),
            true,
        ),
        (
            json!([{"manager": "a", "time": "2", "fieldsV1": {"f:b": {}}}, {"manager": "b"}]),
            false,
        ),
        (
            json!([{"manager": "a", "time": "2", "fieldsV1": {"f:a": {}}}]),
            false,
        ),
        (
            json!([{"manager": "a", "time": "2", "fieldsV1": {"f:a": {}}}, {"manager": "c"}]),
            false,
        ),
    ] {
        assert_eq!(
            only_times_differ(&with(entries.clone()), &old),
            wanted,
            "{entries}"
        );
    }
}

/// What `/status` and its like reset is told by resource: a name that no kind has would be a mistake.
#[test]
fn every_part_of_every_kind_has_a_filter_that_can_be_made() {
    for kind in knarr_api::built_in_kinds() {
        let parts = kind.subresources.iter().map(|s| match s.name {
            "status" => Part::Status,
            name => Part::Subresource(name),
        });
        for part in parts.chain([Part::Main]) {
            let filter = resets::filter(kind, part);
            let expected = match part {
                Part::Main => kind.subresource("status").is_some(),
                Part::Status => true,
                Part::Subresource(name) => {
                    matches!(
                        name,
                        "finalize" | "resize" | "ephemeralcontainers" | "approval"
                    )
                }
            };
            assert_eq!(filter.is_some(), expected, "{} {part:?}", kind.resource);
        }
    }
}

/// Whoever writes the status of an object and has other labels there does not take them, as they stay.
#[test]
fn labels_in_a_status_are_taken_where_upstream_lets_them_be() {
    let by = |name| Manager {
        name,
        alias: None,
        siblings: None,
    };
    for (resource, wanted) in [("apiservices", "one"), ("customresourcedefinitions", "two")] {
        let kind = knarr_api::built_in_kinds()
            .iter()
            .find(|kind| kind.resource == resource);
        let kind = kind.unwrap();
        let object = |label: &str| {
            json!({
                "apiVersion": kind.api_version(), "kind": kind.kind,
                "metadata": {"name": "a", "uid": "u", "labels": {"a": label}},
            })
        };
        let mut live = object("b");
        by("one").update(kind, Part::Main, None, &mut live, &[]);
        let mut new = object("c");
        new["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
        by("two").update(kind, Part::Status, Some(&live), &mut new, &[]);
        let label = |entry: &&Value| entry.pointer("/fieldsV1/f:metadata/f:labels/f:a").is_some();
        let owners = entries(&new).iter().filter(label);
        let names: Vec<_> = owners
            .map(|entry| entry["manager"].as_str().unwrap())
            .collect();
        assert_eq!(names, [wanted], "{resource}");
    }
}

/// Upstream converts an object to each version in which somebody owns fields of it, and has no other answer where there is none.
#[test]
fn a_manager_of_a_version_that_a_definition_has_no_more_stops_all_that_is_found_out() {
    let definition = json!({
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {"name": "v1", "served": true, "storage": true},
                {"name": "v2", "served": false, "storage": false},
            ],
        },
        "status": {"acceptedNames": {"plural": "things", "kind": "Thing"}},
    });
    let source = definition.to_string().into();
    let kinds = custom_resource::kinds(&definition, &source).unwrap();
    let kind = &*kinds.stored;
    let by = |name| Manager {
        name,
        alias: None,
        siblings: None,
    };
    for (version, why) in [
        ("example.com/v2", ""),
        (
            "example.com/v0",
            "request to convert CR to an invalid group/version: example.com/v0",
        ),
        (
            "apps/v1",
            "example.com/v1, Kind=Thing is unstructured and is not suitable for converting to \"apps/v1\"",
        ),
    ] {
        let live = json!({
            "apiVersion": "example.com/v1", "kind": "Thing",
            "metadata": {"name": "a", "uid": "u", "managedFields": [{
                "manager": "old", "operation": "Update", "apiVersion": version,
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:a": {}}},
            }]},
            "spec": {"a": 1},
        });
        let mut new = live.clone();
        new["spec"]["a"] = json!(2);
        by("new").update(kind, Part::Main, Some(&live), &mut new, &[]);
        let kept = entries(&new) == entries(&live);
        assert_eq!(kept, !why.is_empty(), "{new}");
        let config = json!({
            "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"b": 1},
        });
        let applied = by("me").apply(kind, Part::Main, Some(&live), &config, false);
        let told = applied.err().map(|status| (status.code, status.message));
        let wanted = (!why.is_empty()).then(|| (500, why.to_owned()));
        assert_eq!(told, wanted);
    }
}
