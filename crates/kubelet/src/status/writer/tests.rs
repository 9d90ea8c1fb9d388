use super::*;
use crate::testing::object;

fn check(old: Value, new: Value, expected: Option<Value>) {
    let (old, new): (PodStatus, PodStatus) = (object(old), object(new));
    assert_eq!(difference(&old, &new), expected);
}

#[test]
fn only_what_differs_is_sent() {
    check(
        json!({ "phase": "Running" }),
        json!({ "phase": "Running" }),
        None,
    );
    check(
        json!({ "phase": "Pending", "reason": "x" }),
        json!({ "phase": "Running" }),
        Some(json!({ "phase": "Running", "reason": null })),
    );
}

#[test]
fn amounts_that_are_gone_are_taken_away() {
    check(
        json!({ "resources": { "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "1" } } }),
        json!({ "resources": { "requests": { "cpu": "2" } } }),
        Some(json!({
            "resources": { "requests": { "cpu": "2", "memory": null }, "limits": null },
        })),
    );
    check(
        json!({}),
        json!({ "resources": {} }),
        Some(json!({ "resources": {} })),
    );
}

#[test]
fn conditions_are_merged_by_type() {
    check(
        json!({ "conditions": [{ "type": "A", "status": "True", "reason": "r" }, { "type": "B", "status": "True" }] }),
        json!({ "conditions": [{ "type": "A", "status": "False" }, { "type": "B", "status": "True" }] }),
        Some(json!({
            "conditions": [{ "type": "A", "status": "False", "reason": null }],
            "$setElementOrder/conditions": [{ "type": "A" }, { "type": "B" }],
        })),
    );
}

#[test]
fn an_address_that_is_gone_is_deleted() {
    check(
        json!({ "podIPs": [{ "ip": "10.0.0.1" }] }),
        json!({ "podIPs": [{ "ip": "10.0.0.2" }] }),
        Some(json!({
            "podIPs": [{ "ip": "10.0.0.2" }, { "$patch": "delete", "ip": "10.0.0.1" }],
            "$setElementOrder/podIPs": [{ "ip": "10.0.0.2" }],
        })),
    );
}

/// The API refuses a status whose first address is another than the primary one, and the pod would have that of before for ever.
#[test]
fn addresses_keep_their_order_when_a_family_comes_or_goes() {
    let lists = [
        json!([{ "ip": "10.0.0.1" }]),
        json!([{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }]),
        json!([{ "ip": "fd00::1" }, { "ip": "10.0.0.1" }]),
        json!([{ "ip": "fd00::1" }]),
        json!([{ "ip": "10.0.0.2" }, { "ip": "fd00::2" }]),
    ];
    let pods = knarr_api::schema::definition("io.k8s.api.core.v1.Pod").expect("a schema");
    for (old, new) in lists
        .iter()
        .flat_map(|old| lists.iter().map(move |new| (old, new)))
    {
        for key in ["hostIPs", "podIPs"] {
            let status = |list: &Value| -> PodStatus { object(json!({ (key): list })) };
            let patch = difference(&status(old), &status(new));
            let mut merged = json!({ "status": { (key): old } });
            if let Some(patch) = patch {
                let patch = json!({ "status": patch });
                merged = knarr_meta::patch::strategic(&merged, &patch, pods).expect("a patch");
            }
            assert_eq!(merged["status"][key], *new, "{old} to {new}");
        }
    }
}
