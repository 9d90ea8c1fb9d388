use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, not_ready, now, object, pod};

fn set(spec: Value) -> StatefulSet {
    let mut set = json!({
        "metadata": {"namespace": "x", "name": "db", "uid": "sts", "generation": 3},
        "spec": {"selector": {"matchLabels": {"app": "db"}}, "replicas": 3, "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}},
            "template": {}},
    });
    merge(&mut set, json!({"spec": spec}));
    object(set)
}

fn version(name: &str) -> Version {
    Version {
        name: name.to_owned(),
        template: PodTemplateSpec::default(),
    }
}

/// A pod in words: `1` is of the new revision and ready, with `o` of the old one, `n` not ready, `g` going, `f` failed,
/// `p` pending, `r` with another's label.
fn pods(words: &str) -> Vec<Arc<Pod>> {
    let read = |word: &str| {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let name = format!("db-{digits}");
        let has = |letter| word.contains(letter);
        let hash = if has('o') { "old" } else { "new" };
        let mut more = json!({"metadata": {"labels": {
            HASH_LABEL: hash, "statefulset.kubernetes.io/pod-name": name}}});
        if has('n') || has('p') {
            merge(&mut more, not_ready());
        }
        if has('g') {
            merge(
                &mut more,
                json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}}),
            );
        }
        if has('f') {
            merge(
                &mut more,
                json!({"status": {"phase": "Failed", "conditions": []}}),
            );
        }
        if has('p') {
            merge(&mut more, json!({"status": {"phase": "Pending"}}));
        }
        if has('r') {
            merge(
                &mut more,
                json!({"metadata": {"labels": {"statefulset.kubernetes.io/pod-name": "other"}}}),
            );
        }
        pod(&name, "n", more)
    };
    words.split_whitespace().map(read).collect()
}

fn words(ops: &[Op]) -> String {
    let word = |op: &Op| {
        let (sign, pod): (&str, &Pod) = match op {
            Op::Create(pod) => (if revision(pod) == "old" { "+o" } else { "+" }, pod),
            Op::Claims(pod) => ("c", pod),
            Op::Repair(pod) => ("r", pod),
            Op::Delete(pod) => ("-", pod),
        };
        format!("{sign}{}", identity::ordinal(pod).unwrap_or(-1))
    };
    ops.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn planned(spec: &Value, there: &str) -> String {
    let set = set(spec.clone());
    let (current, update) = (version("old"), version("new"));
    let pods = pods(there);
    let observed = Observed {
        set: &set,
        current: &current,
        update: &update,
        pods: &pods,
        now: now(),
    };
    words(&plan(&observed).ops)
}

#[test]
fn one_after_the_other() {
    let plain = json!({});
    for (spec, there, expected) in [
        (&plain, "", "+0"),
        (&plain, "0n", ""),
        (&plain, "0", "+1"),
        (&plain, "0 1 2", ""),
        (&plain, "0 2", "+1"),
        (&plain, "0 1g 2", ""),
        (&plain, "0 1f 2", "-1"),
        (&plain, "0 1fg 2", ""),
        (&plain, "0n 1f 2", ""),
        (&plain, "0 1 2 3 4", "-4"),
        (&plain, "0 1 2 3 4g", ""),
        (&plain, "0 1n 2 3 4", ""),
        (&plain, "0 1 2 3n 4", "-4"),
        (&plain, "0 1 2 3n 4n", ""),
        (&plain, "0 1 2 3n", "-3"),
        (&plain, "0 1 3 4", "+2"),
        (&plain, "0 1r 2", "r1"),
        (&json!({"replicas": 0}), "0 1", "-1"),
        (&json!({"replicas": 0}), "", ""),
        (&json!({"ordinals": {"start": 5}}), "", "+5"),
        (&json!({"ordinals": {"start": 2}}), "1 2 3 4", "-1"),
        (&json!({"minReadySeconds": 7200}), "0", ""),
    ] {
        assert_eq!(planned(spec, there), expected, "{spec} and {there:?}");
    }
}

#[test]
fn all_at_once() {
    let parallel = |more: Value| {
        let mut spec = json!({"podManagementPolicy": "Parallel"});
        merge(&mut spec, more);
        spec
    };
    let two = json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}});
    for (spec, there, expected) in [
        (parallel(json!({})), "", "+0 +1 +2"),
        (parallel(json!({})), "0n 2", "+1"),
        (parallel(json!({})), "0n 1f 2 3 4n 5g", "-1 -4 -3"),
        (parallel(json!({})), "0o 1o 2o", "-2"),
        (parallel(json!({})), "0o 1o 2n", ""),
        (parallel(json!({})), "0o 1on 2o", "-1"),
        (parallel(two), "0o 1on 2o", "-1 -2"),
    ] {
        assert_eq!(planned(&spec, there), expected, "{spec} and {there:?}");
    }
}

#[test]
fn rolling() {
    let rolling = |rolling: Value| json!({"updateStrategy": {"rollingUpdate": rolling}});
    for (spec, there, expected) in [
        (json!({}), "0o 1o 2o", "-2"),
        (json!({}), "0o 1o 2og", ""),
        (json!({}), "0o 1o", "+2"),
        (json!({}), "0o 1o 2n", ""),
        (json!({}), "0o 1o 2", "-1"),
        (json!({}), "0o 1o 2o 3o", "-3"),
        (rolling(json!({"partition": 2})), "0o 1o 2", ""),
        (rolling(json!({"partition": 2})), "0o 1o 2o", "-2"),
        (rolling(json!({"partition": 2})), "0o 2", "+o1"),
        (rolling(json!({"partition": 9})), "", "+o0"),
        (rolling(json!({"maxUnavailable": 2})), "0o 1o 2o", "-2 -1"),
        (
            rolling(json!({"maxUnavailable": "70%"})),
            "0o 1o 2o",
            "-2 -1",
        ),
        (rolling(json!({"maxUnavailable": "10%"})), "0o 1o 2o", "-2"),
        (
            json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}),
            "0o 1o 2o",
            "",
        ),
        (
            json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}),
            "0o 2o",
            "+1",
        ),
    ] {
        assert_eq!(planned(&spec, there), expected, "{spec} and {there:?}");
    }
}

#[test]
fn claims_of_pods_that_wait() {
    let claims = json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
    assert_eq!(planned(&claims, "0p"), "c0");
    assert_eq!(planned(&json!({}), "0p"), "");
}

#[test]
fn status() {
    let check = |spec: Value, there: &str, expected: Value| {
        let set = set(spec);
        let (current, update) = (version("old"), version("new"));
        let pods = pods(there);
        let observed = Observed {
            set: &set,
            current: &current,
            update: &update,
            pods: &pods,
            now: now(),
        };
        let status = serde_json::to_value(plan(&observed).status).expect("json");
        assert_eq!(status, expected, "{there:?}");
    };
    let mut told = json!({"observedGeneration": 3, "collisionCount": 0, "currentRevision": "old", "updateRevision": "new",
        "replicas": 4, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 1, "updatedReplicas": 2});
    check(json!({"replicas": 4}), "0o 1 2n 3og", told.clone());
    // One of the old ones is deleted now.
    merge(
        &mut told,
        json!({"replicas": 3, "currentReplicas": 1, "updatedReplicas": 1}),
    );
    check(json!({}), "0o 1o 2", told.clone());
    merge(
        &mut told,
        json!({"currentRevision": "new", "currentReplicas": 3, "updatedReplicas": 3}),
    );
    check(json!({}), "0 1 2", told.clone());
    merge(
        &mut told,
        json!({"currentRevision": "old", "availableReplicas": 0}),
    );
    merge(&mut told, json!({"currentRevision": "new"}));
    check(json!({"minReadySeconds": 7200}), "0 1 2", told);
}

#[test]
fn a_set_that_goes_is_left_to_the_collector() {
    let mut set = set(json!({}));
    set.metadata.deletion_timestamp = object(json!("2030-01-01T11:59:00Z"));
    let (current, update) = (version("new"), version("new"));
    let observed = Observed {
        set: &set,
        current: &current,
        update: &update,
        pods: &pods("0 3"),
        now: now(),
    };
    assert!(plan(&observed).ops.is_empty());
}

/// What a set costs does not grow with what it asks for.
#[test]
fn a_set_of_billions_is_made_in_pieces() {
    let version = version("new");
    let there = pods("1 70000");
    for (policy, creates) in [("Parallel", 500), ("OrderedReady", 1)] {
        let set = set(json!({"replicas": i32::MAX, "podManagementPolicy": policy}));
        let plan = plan(&Observed {
            set: &set,
            current: &version,
            update: &version,
            pods: &there,
            now: now(),
        });
        let made: Vec<String> = plan
            .ops
            .iter()
            .filter_map(|op| match op {
                Op::Create(pod) => pod.metadata.name.clone(),
                _ => None,
            })
            .collect();
        assert_eq!(made.len(), creates, "{policy}");
        assert_eq!(made[0], "db-0");
        assert_eq!(plan.status.replicas, 2);
    }
}
