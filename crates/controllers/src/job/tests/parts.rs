//! Sets of indexes, back-off, and the pods that are made.

use std::time::Duration;

use super::super::backoff::remaining;
use super::super::indexes::Indexes;
use super::*;

#[test]
fn sets_of_indexes() {
    for (text, completions, normal, total) in [
        ("", 5, "", 0),
        ("0", 5, "0", 1),
        ("0,1", 5, "0,1", 2),
        ("0-2,4", 5, "0-2,4", 4),
        ("0,1,2,3", 9, "0-3", 4),
        ("0-7,9", 5, "0-4", 5),
        ("x,3,1-,2", 5, "2,3", 2),
        ("7", 5, "", 0),
    ] {
        let set = Indexes::parse(text, completions);
        assert_eq!(
            (set.to_string().as_str(), set.total()),
            (normal, total),
            "{text}"
        );
    }
    let set = Indexes::parse("1-3,5,8-9", 20);
    for index in 0..12 {
        let expected = matches!(index, 1..=3 | 5 | 8 | 9);
        assert_eq!(set.has(index), expected, "{index}");
    }
    assert_eq!(set.lacking(4, 20), [0, 4, 6, 7]);
    assert_eq!(set.lacking(9, 11), [0, 4, 6, 7, 10]);
    assert_eq!(set.lacking(3, 2), [0]);
    let more = Indexes::parse("4,7,10-12", 20);
    assert_eq!(set.with(&more).to_string(), "1-5,7-12");
    assert_eq!(set.common(&Indexes::parse("0-1,3,9-30", 99)), 3);
}

#[test]
fn waits_double() {
    let last = now();
    let at = |seconds: i64| now() + jiff::SignedDuration::from_secs(seconds);
    for (failures, elapsed, left) in [
        (0, 0, 0),
        (1, 0, 10),
        (1, 4, 6),
        (1, 11, 0),
        (2, 0, 20),
        (3, 5, 35),
        (7, 0, 600),
        (u32::MAX, 0, 600),
    ] {
        let expected = Duration::from_secs(left);
        assert_eq!(
            remaining(failures, last, at(elapsed)),
            expected,
            "{failures}"
        );
    }
    let ended = |name, phase, second: u32| {
        let at = format!("2030-01-01T11:59:{second:02}Z");
        pod(
            name,
            phase,
            None,
            json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": at}]}}),
        )
    };
    let (early, late) = (ended("a", "Failed", 30), ended("b", "Failed", 50));
    let success = ended("c", "Succeeded", 40);
    let none = Backoff::default();
    let two = none.after(&[], &[late.clone(), early.clone()]);
    assert_eq!(two.remaining(now()), Duration::from_secs(10));
    assert_eq!(
        none.after(
            std::slice::from_ref(&success),
            &[early.clone(), late.clone()]
        ),
        none.after(&[], &[late])
    );
    assert_eq!(two.after(&[success], &[]), none);
    assert_eq!(two.after(&[], &[]), two);
}

#[test]
fn pods_of_indexes_know_theirs() {
    let plain = template::new_pod(&job(json!({})), None, None);
    assert_eq!(
        serde_json::to_value(plain).expect("json"),
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": "pi-", "namespace": "x", "labels": {"app": "web"}, "finalizers": [facts::FINALIZER],
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "pi", "uid": "job",
                    "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"},
        })
    );
    let third = template::new_pod(&indexed(json!({})), Some(3), None);
    let third = serde_json::to_value(third).expect("json");
    assert_eq!(third["metadata"]["generateName"], "pi-3-");
    assert_eq!(third["metadata"]["labels"][facts::INDEX], "3");
    assert_eq!(third["metadata"]["annotations"], json!({facts::INDEX: "3"}));
    assert_eq!(third["spec"]["hostname"], "pi-3");
    assert_eq!(
        third["spec"]["containers"][0]["env"],
        json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {
            "fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}])
    );
    let name = "x".repeat(70);
    let long = indexed(json!({"metadata": {"name": name}}));
    let long = template::new_pod(&long, Some(12), None);
    let prefix = long.metadata.generate_name.unwrap_or_default();
    assert_eq!(prefix, format!("{}-12-", "x".repeat(54)));
}
