use jiff::Timestamp;
use serde_json::{Value, json};

use super::count::{PODS, SERVICES, counted_by, frees, sum};
use super::*;
use crate::fixtures::{now, object, pod};

fn hard(map: Value) -> Amounts {
    let map: BTreeMap<String, ApiQuantity> = object(map);
    amounts(Some(&map))
}

fn text(amounts: &Amounts) -> String {
    let pairs: Vec<String> = amounts
        .iter()
        .map(|(name, q)| format!("{name}={q}"))
        .collect();
    pairs.join(" ")
}

#[test]
fn names_and_kinds() {
    for (name, expected) in [
        ("count/deployments.apps", Some(("apps", "deployments"))),
        (
            "count/widgets.example.com",
            Some(("example.com", "widgets")),
        ),
        ("count/configmaps", Some(("", "configmaps"))),
        ("secrets", Some(("", "secrets"))),
        ("requests.cpu", None),
        ("x.y/z", None),
    ] {
        assert_eq!(counted_by(name), expected, "{name}");
    }
}

#[test]
fn sums_of_pods() {
    let container = |cpu: &str| json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
    let pods = [
        json!({"spec": {"containers": container("500m")}}),
        json!({"spec": {"containers": container("1500m"), "activeDeadlineSeconds": 5}}),
        json!({"spec": {"containers": container("9")}, "status": {"phase": "Succeeded"}}),
    ];
    let all = hard(
        json!({"pods": "9", "cpu": "9", "count/pods": "9", "limits.cpu": "1", "services": "1"}),
    );
    for (spec, expected) in [
        (json!({}), "count/pods=3 cpu=2 limits.cpu=0 pods=2"),
        (
            json!({"scopes": ["Terminating"]}),
            "count/pods=1 cpu=1500m limits.cpu=0 pods=1",
        ),
        (
            json!({"scopes": ["BestEffort"]}),
            "count/pods=0 cpu=0 limits.cpu=0 pods=0",
        ),
    ] {
        let quota = json!({"spec": spec});
        let used = sum(PODS, &quota, &all, pods.iter().cloned(), now());
        assert_eq!(text(&used), expected, "{quota}");
    }
    let services = [json!({"spec": {"type": "NodePort", "ports": [{}, {}]}})];
    let all = hard(json!({"services": "1", "services.nodeports": "1", "pods": "1"}));
    let used = sum(
        SERVICES,
        &json!({}),
        &all,
        services.into_iter(),
        Timestamp::now(),
    );
    assert_eq!(text(&used), "services=1 services.nodeports=2");
}

#[test]
fn pods_that_free_something() {
    let running = pod("a", "n", json!({}));
    for (more, expected) in [
        (json!({}), false),
        (json!({"status": {"phase": "Failed"}}), true),
        (json!({"spec": {"activeDeadlineSeconds": 5}}), true),
        (
            json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1}}),
            true,
        ),
        (json!({"metadata": {"labels": {"a": "b"}}}), false),
    ] {
        assert_eq!(
            frees(&running, &pod("a", "n", more.clone())),
            expected,
            "{more}"
        );
    }
}
