use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).expect("a time")
}

fn wanted(current: i32, desired: i32) -> Wanted {
    Wanted {
        current,
        desired,
        min: 2,
        max: 50,
    }
}

fn behavior(up: Value, down: Value) -> HorizontalPodAutoscalerBehavior {
    let tree = json!({"scaleUp": up, "scaleDown": down});
    serde_json::from_value(tree).expect("a behavior")
}

/// `replicas able limited`
fn run(
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    wanted: Wanted,
    history: &mut History,
    seconds: i64,
) -> String {
    let done = normalize(behavior, wanted, history, at(seconds));
    let (limited, (why, _)) = done.limited;
    format!("{} {} {why} {limited}", done.replicas, done.able.0)
}

#[test]
fn without_rules_replicas_double_at_most() {
    for (current, desired, done) in [
        (3, 3, "3 ReadyForNewScale DesiredWithinRange false"),
        (3, 10, "6 ReadyForNewScale ScaleUpLimit true"),
        (1, 10, "4 ReadyForNewScale ScaleUpLimit true"),
        (40, 90, "50 ReadyForNewScale TooManyReplicas true"),
        (3, 1, "2 ReadyForNewScale TooFewReplicas true"),
    ] {
        let found = run(None, wanted(current, desired), &mut History::default(), 0);
        assert_eq!(found, done, "{current} to {desired}");
    }
}

#[test]
fn what_was_asked_for_lately_holds_replicas_up() {
    let mut history = History::default();
    history.begin(8, at(0));
    let mut go = |desired, seconds| run(None, wanted(8, desired), &mut history, seconds);
    assert_eq!(go(3, 15), "8 ScaleDownStabilized DesiredWithinRange false");
    assert_eq!(go(3, 299), "8 ScaleDownStabilized DesiredWithinRange false");
    assert_eq!(go(3, 301), "3 ReadyForNewScale DesiredWithinRange false");
}

#[test]
fn windows_stabilize_both_ways() {
    let rules = behavior(
        json!({"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 100, "periodSeconds": 60}]}),
        json!({"stabilizationWindowSeconds": 120, "selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}]}),
    );
    let mut history = History::default();
    history.begin(5, at(0));
    let mut go = |desired, seconds| run(Some(&rules), wanted(5, desired), &mut history, seconds);
    assert_eq!(go(9, 15), "5 ScaleUpStabilized DesiredWithinRange false");
    assert_eq!(go(9, 70), "9 ReadyForNewScale DesiredWithinRange false");
    assert_eq!(go(3, 100), "5 ScaleDownStabilized DesiredWithinRange false");
    assert_eq!(go(3, 191), "3 ReadyForNewScale DesiredWithinRange false");
}

#[test]
fn policies_bound_what_changes_in_a_period() {
    let policies = |select: &str| {
        json!({"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 60},
            {"type": "Percent", "value": 50, "periodSeconds": 60},
        ]})
    };
    for (select, current, desired, done) in [
        ("Max", 4, 40, "8 ReadyForNewScale ScaleUpLimit true"),
        ("Min", 4, 40, "6 ReadyForNewScale ScaleUpLimit true"),
        ("Disabled", 4, 40, "4 ReadyForNewScale ScaleUpLimit true"),
        ("Max", 20, 2, "10 ReadyForNewScale ScaleDownLimit true"),
        ("Min", 20, 2, "16 ReadyForNewScale ScaleDownLimit true"),
        ("Disabled", 20, 2, "20 ReadyForNewScale ScaleDownLimit true"),
        ("Max", 3, 1, "2 ReadyForNewScale TooFewReplicas true"),
    ] {
        let rules = behavior(policies(select), policies(select));
        let mut history = History::default();
        let found = run(Some(&rules), wanted(current, desired), &mut history, 0);
        assert_eq!(found, done, "{select}: {current} to {desired}");
    }
    // What was added in the period counts.
    let rules = behavior(policies("Max"), policies("Max"));
    let mut history = History::default();
    history.changed(4, 8, at(0));
    let mut go = |seconds| run(Some(&rules), wanted(8, 40), &mut history, seconds);
    assert_eq!(go(30), "8 ReadyForNewScale ScaleUpLimit true");
    assert_eq!(go(61), "12 ReadyForNewScale ScaleUpLimit true");
}

#[test]
fn histories_are_bounded() {
    let mut history = History::default();
    for second in 0..5000 {
        history.changed(1, 2, at(second));
    }
    assert_eq!(history.ups.len(), MAX_ENTRIES);
    history.changed(1, 2, at(100_000));
    assert_eq!(history.ups.len(), 1);
}
