use serde_json::json;

use super::*;
use crate::fixtures::{now, object};

fn rule(effect: &str) -> DeviceTaintRule {
    object(json!({
        "metadata": {"name": "rule", "uid": "rule", "generation": 2},
        "spec": {"deviceSelector": {}, "taint": {"key": "k", "effect": effect}},
    }))
}

fn counts(pods: &[(&str, &str)], evicted: u64) -> Counts {
    Counts {
        pods: pods
            .iter()
            .map(|(namespace, name)| Key::new(*namespace, *name))
            .collect(),
        evicted,
        allocated: 1,
        published: 2,
    }
}

#[test]
fn rules_tell_whom_they_concern() {
    let cases = [
        ("NoExecute", counts(&[], 0), "False NotStarted "),
        (
            "NoExecute",
            counts(&[("a", "p")], 0),
            "True PodsPendingEviction 1 pod needs to be evicted in 1 namespace.",
        ),
        (
            "NoExecute",
            counts(&[("a", "p"), ("b", "p")], 1),
            "True PodsPendingEviction 2 pods need to be evicted in 2 different namespaces. 1 pod evicted since starting the controller.",
        ),
        (
            "NoExecute",
            counts(&[], 3),
            "False Completed 3 pods evicted since starting the controller.",
        ),
        (
            "NoSchedule",
            counts(&[], 0),
            "False OtherEffect Eviction only happens for the NoExecute effect.",
        ),
        (
            "None",
            counts(&[("a", "p")], 0),
            "False NoEffect 2 published devices selected. 1 allocated device selected. 1 pod would be evicted in 1 namespace if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.",
        ),
    ];
    for (effect, counts, wanted) in cases {
        let mut rule = rule(effect);
        let found = condition(&rule, &counts, now()).expect("a condition");
        let told = format!("{} {} {}", found.status, found.reason, found.message);
        assert_eq!(told, wanted);
        rule.status.conditions.push(found);
        assert_eq!(condition(&rule, &counts, now()), None, "it is there");
    }
}

#[test]
fn statuses_are_not_written_too_often() {
    let mut rule = rule("NoExecute");
    let period = Duration::from_secs(10);
    assert_eq!(wait(&rule, now(), period), None);
    let condition = condition(&rule, &counts(&[], 0), now()).expect("a condition");
    rule.status.conditions.push(condition);
    assert_eq!(wait(&rule, now(), period), Some(period));
    let later = now().checked_add(period).expect("a time");
    assert_eq!(wait(&rule, later, period), None);
    rule.metadata.generation = Some(3);
    assert_eq!(wait(&rule, now(), period), None, "it is another rule now");
}
