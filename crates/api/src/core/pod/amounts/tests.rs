use serde_json::{Value, json};

use super::{charged_limits, charged_requests, limits, requests};
use crate::core::amounts::Amounts;

fn text(amounts: &Amounts) -> String {
    let pairs: Vec<String> = amounts
        .iter()
        .map(|(name, q)| format!("{name}={q}"))
        .collect();
    pairs.join(" ")
}

fn container(cpu: &str, more: Value) -> Value {
    let mut container =
        json!({"resources": {"requests": {"cpu": cpu}, "limits": {"memory": "1Gi"}}});
    if let (Some(container), Value::Object(more)) = (container.as_object_mut(), more) {
        container.extend(more);
    }
    container
}

#[test]
fn containers_together() {
    let sidecar = || json!({"restartPolicy": "Always"});
    let plain = |cpu| container(cpu, json!({}));
    for (spec, wanted, limited) in [
        (json!({}), "", ""),
        (
            json!({"containers": [plain("100m"), plain("1")]}),
            "cpu=1100m",
            "memory=2Gi",
        ),
        (
            json!({"containers": [plain("1")], "initContainers": [plain("3"), plain("2")]}),
            "cpu=3",
            "memory=1Gi",
        ),
        // A container beside the others counts with those before and after it.
        (
            json!({"containers": [plain("1")], "initContainers": [container("2", sidecar()), plain("4")]}),
            "cpu=6",
            "memory=2Gi",
        ),
        (
            json!({"containers": [plain("1")], "resources": {"requests": {"cpu": "7", "x/y": "1"}}}),
            "cpu=7",
            "memory=1Gi",
        ),
    ] {
        let pod = json!({"spec": spec});
        assert_eq!(
            (text(&requests(&pod)).as_str(), text(&limits(&pod)).as_str()),
            (wanted, limited),
            "{pod}"
        );
    }
}

#[test]
fn a_pod_is_charged_for_the_most_of_what_it_has_and_wants() {
    let pod = |wanted: &str, status: Value, reason: &str| {
        json!({
            "spec": {"containers": [
                {"name": "a", "resources": {"requests": {"cpu": wanted}, "limits": {"cpu": wanted}}},
                {"name": "b", "resources": {"requests": {"cpu": "1"}}},
            ]},
            "status": {"containerStatuses": [status], "conditions": [
                {"type": "PodResizePending", "status": "True", "reason": reason},
            ]},
        })
    };
    let status = |allocated: &str, actual: &str| {
        json!({
            "name": "a", "allocatedResources": {"cpu": allocated},
            "resources": {"requests": {"cpu": actual}, "limits": {"cpu": actual}},
        })
    };
    for (wanted, allocated, actual, reason, charged, limited) in [
        ("1", "1", "1", "", "2", "1"),
        ("3", "1", "1", "Deferred", "4", "3"),
        ("1", "2", "3", "", "4", "3"),
        ("1", "3", "2", "", "4", "2"),
        // It will never have it.
        ("9", "2", "1", "Infeasible", "2", "1"),
    ] {
        let pod = pod(wanted, status(allocated, actual), reason);
        let told = (text(&charged_requests(&pod)), text(&charged_limits(&pod)));
        let expected = (format!("cpu={charged}"), format!("cpu={limited}"));
        assert_eq!(told, expected, "{wanted} {allocated} {actual} {reason}");
    }
    let untold = pod("3", json!({"name": "other"}), "");
    assert_eq!(text(&charged_requests(&untold)), "cpu=4");
}
