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
fn conditions_are_merged_by_type() {
    check(
        json!({ "conditions": [{ "type": "A", "status": "True", "reason": "r" }, { "type": "B", "status": "True" }] }),
        json!({ "conditions": [{ "type": "A", "status": "False" }, { "type": "B", "status": "True" }] }),
        Some(json!({ "conditions": [{ "type": "A", "status": "False", "reason": null }] })),
    );
}

#[test]
fn an_address_that_is_gone_is_deleted() {
    check(
        json!({ "podIPs": [{ "ip": "10.0.0.1" }] }),
        json!({ "podIPs": [{ "ip": "10.0.0.2" }] }),
        Some(json!({ "podIPs": [{ "ip": "10.0.0.2" }, { "$patch": "delete", "ip": "10.0.0.1" }] })),
    );
}
