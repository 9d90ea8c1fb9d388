use serde_json::{Value, json};

use super::*;
use crate::fixtures::{now, object};

fn node(conditions: Value, spec: Value) -> Node {
    object(
        json!({"metadata": {"name": "n1", "creationTimestamp": "2030-01-01T10:00:00Z"},
        "spec": spec, "status": {"conditions": conditions}}),
    )
}

fn ready(status: &str) -> Value {
    json!([{"type": "Ready", "status": status, "lastHeartbeatTime": "2030-01-01T11:00:00Z"}])
}

#[test]
fn silence_makes_conditions_unknown() {
    let summary = |node: &Node| {
        let changed = silent_conditions(node, now());
        changed
            .iter()
            .map(|c| format!("{} {}", c.type_, c.reason.as_deref().unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        summary(&node(ready("True"), json!({}))),
        [
            "Ready NodeStatusUnknown",
            "MemoryPressure NodeStatusNeverUpdated",
            "DiskPressure NodeStatusNeverUpdated",
            "PIDPressure NodeStatusNeverUpdated",
        ]
    );
    let mut silent = node(json!([]), json!({}));
    silent.status.get_or_insert_default().conditions =
        Some(silent_conditions(&node(ready("True"), json!({})), now()));
    assert!(summary(&silent).is_empty(), "it says so already");
    let heartbeat = silent_conditions(&node(ready("True"), json!({})), now())[0]
        .last_heartbeat_time
        .clone();
    assert_eq!(
        heartbeat.map(|t| t.0.to_string()).as_deref(),
        Some("2030-01-01T11:00:00Z")
    );
}

fn taint_names(taints: Option<Vec<Taint>>) -> Option<Vec<String>> {
    let short = |taint: &Taint| {
        format!(
            "{}:{}",
            taint.key.replace("node.kubernetes.io/", ""),
            taint.effect
        )
    };
    taints.map(|taints| taints.iter().map(short).collect())
}

#[test]
fn taints_follow_conditions() {
    let names = |conditions: Value, spec: Value, evict: Option<&str>| {
        taint_names(taints(&node(conditions, spec), evict, now()))
    };
    let list = |names: &[&str]| {
        Some(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(names(ready("True"), json!({}), None), None);
    assert_eq!(
        names(ready("False"), json!({}), None),
        list(&["not-ready:NoSchedule"])
    );
    assert_eq!(
        names(ready("Unknown"), json!({}), Some(UNREACHABLE)),
        list(&["unreachable:NoSchedule", "unreachable:NoExecute"])
    );
    assert_eq!(
        names(ready("True"), json!({"unschedulable": true}), None),
        list(&["unschedulable:NoSchedule"])
    );
    let pressure = json!([
        {"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "True"},
        {"type": "DiskPressure", "status": "Unknown"}, {"type": "PIDPressure", "status": "True"},
    ]);
    assert_eq!(
        names(pressure, json!({}), None),
        list(&["memory-pressure:NoSchedule", "pid-pressure:NoSchedule"])
    );
}

#[test]
fn taints_of_others_and_times_stay() {
    let before = json!({"taints": [
        {"key": "gpu", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule", "timeAdded": "2030-01-01T09:00:00Z"},
        {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"},
    ]});
    let stays = taints(
        &node(ready("False"), before.clone()),
        Some(NOT_READY),
        now(),
    );
    assert_eq!(stays, None);
    let recovered = taints(&node(ready("True"), before.clone()), None, now());
    let expected = ["gpu:NoSchedule", "out-of-service:NoExecute"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(taint_names(recovered), Some(expected));
    let lost =
        taints(&node(ready("Unknown"), before), Some(UNREACHABLE), now()).unwrap_or_default();
    let expected = [
        "gpu:NoSchedule",
        "out-of-service:NoExecute",
        "unreachable:NoSchedule",
        "unreachable:NoExecute",
    ];
    assert_eq!(
        taint_names(Some(lost.clone())),
        Some(expected.map(str::to_owned).to_vec())
    );
    assert_eq!(lost[3].time_added, Some(Time(now())));
}

#[test]
fn rates_by_disruption() {
    let zones = |list: &[(&str, usize, usize)]| -> BTreeMap<String, Zone> {
        list.iter()
            .map(|(name, ready, not_ready)| {
                (
                    (*name).to_owned(),
                    Zone {
                        ready: *ready,
                        not_ready: *not_ready,
                    },
                )
            })
            .collect()
    };
    let cases = [
        (
            zones(&[("a", 0, 1)]),
            Eviction::Cancel,
            "the only node is lost",
        ),
        (
            zones(&[("a", 0, 3), ("b", 0, 5)]),
            Eviction::Cancel,
            "all zones are lost",
        ),
        (
            zones(&[("a", 0, 3), ("b", 1, 5)]),
            Eviction::Rate(RATE),
            "a whole zone, but not all",
        ),
        (zones(&[("a", 9, 1)]), Eviction::Rate(RATE), "a node"),
        (
            zones(&[("a", 1, 2)]),
            Eviction::Rate(RATE),
            "two nodes are few",
        ),
        (
            zones(&[("a", 2, 3)]),
            Eviction::Wait,
            "most of a small zone",
        ),
        (
            zones(&[("a", 20, 60)]),
            Eviction::Rate(SECONDARY_RATE),
            "most of a large zone",
        ),
    ];
    for (zones, expected, what) in cases {
        assert_eq!(eviction(&zones, "a"), expected, "{what}");
    }
}

#[test]
fn most_losses_change_nothing_about_other_nodes() {
    /// A zone's name, and how many of its nodes are ready and not ready.
    type Row = (&'static str, usize, usize);
    let decided = |list: &[Row]| {
        let zone = |&(name, ready, not_ready): &Row| (name.to_owned(), Zone { ready, not_ready });
        let zones = list.iter().map(zone).collect();
        evictions(&zones).into_values().collect::<Vec<_>>()
    };
    let rows: [(&[Row], &[Eviction]); 5] = [
        (&[("a", 10, 0), ("b", 10, 0)], &[Eviction::Rate(RATE); 2]),
        (&[("a", 9, 1), ("b", 10, 0)], &[Eviction::Rate(RATE); 2]),
        (
            &[("a", 4, 6), ("b", 10, 0)],
            &[Eviction::Wait, Eviction::Rate(RATE)],
        ),
        (&[("a", 0, 10), ("b", 1, 0)], &[Eviction::Rate(RATE); 2]),
        (&[("a", 0, 10), ("b", 0, 1)], &[Eviction::Cancel; 2]),
    ];
    for (zones, expected) in rows {
        assert_eq!(decided(zones), expected, "{zones:?}");
    }
}
