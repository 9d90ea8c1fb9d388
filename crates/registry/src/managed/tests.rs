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
