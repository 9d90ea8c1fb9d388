use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::super::observed::TEMPLATE_GENERATION_LABEL;
use super::*;
use crate::fixtures::{merge, not_ready, now, object, pod};

pub(in crate::daemonset) fn set(strategy: Value) -> DaemonSet {
    object(json!({
        "metadata": {"namespace": "x", "name": "agent", "uid": "ds", "generation": 3,
            "annotations": {"deprecated.daemonset.template.generation": "2"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "updateStrategy": strategy, "template": {"spec": {
            "containers": [], "nodeSelector": {"role": "worker"}}}},
    }))
}

/// A node that fits, `-name` one that does not, `!name` one that lets pods that are there stay.
pub(in crate::daemonset) fn node(name: &str) -> Arc<Node> {
    let role = if name.starts_with('-') {
        "other"
    } else {
        "worker"
    };
    let taints = match name.starts_with('!') {
        true => json!([{"key": "mine", "effect": "NoSchedule"}]),
        false => json!([]),
    };
    let name = name.trim_start_matches(['-', '!']);
    Arc::new(object(json!({
        "metadata": {"name": name, "labels": {"role": role}}, "spec": {"taints": taints}})))
}

/// A pod of the revision `hash`.
pub(in crate::daemonset) fn of(hash: &str, name: &str, node: &str, more: Value) -> Arc<Pod> {
    let mut changes = json!({"metadata": {"labels": {HASH_LABEL: hash}}});
    merge(&mut changes, more);
    pod(name, node, changes)
}

pub(in crate::daemonset) fn going() -> Value {
    json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}})
}

fn phase(phase: &str) -> Value {
    json!({"status": {"phase": phase, "conditions": []}})
}

fn pinned(name: &str, node: &str) -> Arc<Pod> {
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
    of("new", name, "", json!({"spec": {"affinity": affinity}}))
}

/// Nodes that get a pod, and pods that go.
fn planned(strategy: &Value, nodes: &[&str], pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>) {
    let set = set(strategy.clone());
    let nodes: Vec<_> = nodes.iter().map(|name| node(name)).collect();
    let plan = plan(&Observed::new(&set, "new", &nodes, pods, now()), |_| None);
    let names = plan.delete.iter().flat_map(|pod| pod.metadata.name.clone());
    (plan.create, names.collect())
}

#[test]
fn every_node_that_fits_has_one() {
    let older = json!({"metadata": {"creationTimestamp": "2030-01-01T10:00:00Z"}});
    let new = |name, node| of("new", name, node, json!({}));
    type Case<'a> = (
        &'a str,
        &'a [&'a str],
        Vec<Arc<Pod>>,
        &'a [&'a str],
        &'a [&'a str],
    );
    let cases: Vec<Case<'_>> = vec![
        ("none yet", &["a", "-b", "!c"], vec![], &["a"], &[]),
        ("all there", &["a"], vec![new("p", "a")], &[], &[]),
        (
            "waits for its node",
            &["a"],
            vec![pinned("p", "a")],
            &[],
            &[],
        ),
        (
            "on a node that does not fit",
            &["-a"],
            vec![new("p", "a")],
            &[],
            &["p"],
        ),
        (
            "going there",
            &["-a"],
            vec![of("new", "p", "a", going())],
            &[],
            &[],
        ),
        (
            "on a node where it may stay",
            &["!a"],
            vec![new("p", "a")],
            &[],
            &[],
        ),
        (
            "going",
            &["a"],
            vec![of("new", "p", "a", going())],
            &[],
            &[],
        ),
        (
            "ended and going",
            &["a"],
            vec![of("new", "p", "a", {
                let mut more = going();
                merge(&mut more, phase("Failed"));
                more
            })],
            &["a"],
            &[],
        ),
        (
            "failed",
            &["a"],
            vec![of("new", "p", "a", phase("Failed"))],
            &[],
            &["p"],
        ),
        (
            "succeeded",
            &["a"],
            vec![of("new", "p", "a", phase("Succeeded"))],
            &[],
            &["p"],
        ),
        (
            "two",
            &["a"],
            vec![new("p", "a"), of("new", "q", "a", older.clone())],
            &[],
            &["p"],
        ),
        (
            "one bound, one not",
            &["a"],
            vec![pinned("p", "a"), new("q", "a")],
            &[],
            &["p"],
        ),
        (
            "for a node that is gone",
            &["a"],
            vec![pinned("p", "b"), new("q", "a")],
            &[],
            &["p"],
        ),
        ("on a node that is gone", &[], vec![new("p", "b")], &[], &[]),
        (
            "an old one",
            &["a"],
            vec![of("old", "p", "a", json!({}))],
            &[],
            &[],
        ),
    ];
    for (what, nodes, pods, create, delete) in cases {
        let (created, deleted) = planned(&json!({"type": "OnDelete"}), nodes, &pods);
        assert_eq!(created, create, "{what}");
        assert_eq!(deleted, delete, "{what}");
    }
}

#[test]
fn a_failed_pod_stays_for_its_time() {
    let set = set(json!({"type": "OnDelete"}));
    let pods = [of("new", "p", "a", phase("Failed"))];
    let observed = Observed::new(&set, "new", &[node("a")], &pods, now());
    let left = Duration::from_secs(8);
    let waits = plan(&observed, |_| Some(left));
    assert!(waits.is_empty() && waits.ended.is_empty());
    assert_eq!(waits.again_after, Some(left));
    let goes = plan(&observed, |_| None);
    let ended = Ended {
        node: "a".to_owned(),
        pod: "x/p".to_owned(),
        failed: true,
    };
    assert_eq!(goes.ended, [ended]);
    assert_eq!(goes.again_after, None);
}

#[test]
fn no_more_than_a_burst() {
    let set = set(json!({"type": "OnDelete"}));
    let nodes: Vec<_> = (0..BURST_PODS + 5)
        .map(|i| node(&format!("n{i}")))
        .collect();
    let plan = plan(&Observed::new(&set, "new", &nodes, &[], now()), |_| None);
    assert_eq!(plan.create.len(), BURST_PODS);
}

#[test]
fn where_pods_surge() {
    let strategy =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let new = |name, more| of("new", name, "a", more);
    let old = |name, more| of("old", name, "a", more);
    let older = json!({"metadata": {"creationTimestamp": "2030-01-01T10:00:00Z"}});
    for (what, pods, create, delete) in [
        (
            "failed: at once",
            vec![new("p", phase("Failed"))],
            &["a"][..],
            &["p"][..],
        ),
        (
            "one of each",
            vec![new("p", not_ready()), old("q", json!({}))],
            &[],
            &[],
        ),
        (
            "the new one is ready",
            vec![new("p", json!({})), old("q", json!({}))],
            &[],
            &["q"],
        ),
        (
            "the old one is not",
            vec![new("p", not_ready()), old("q", not_ready())],
            &[],
            &["q"],
        ),
        (
            "two of the new",
            vec![new("p", not_ready()), new("q", older)],
            &[],
            &["p"],
        ),
    ] {
        let (created, deleted) = planned(&strategy, &["a"], &pods);
        assert_eq!(created, create, "{what}");
        assert_eq!(deleted, delete, "{what}");
    }
}

#[test]
fn status() {
    let mut set = set(json!({"type": "OnDelete"}));
    if let Some(spec) = &mut set.spec {
        spec.min_ready_seconds = Some(60);
    }
    let just_ready = json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T11:59:30Z"}]}});
    let by_generation = json!({"metadata": {"labels": {TEMPLATE_GENERATION_LABEL: "2"}}});
    let pods = [
        of("new", "a", "a", json!({})),
        of("old", "b", "b", just_ready),
        of("older", "c", "c", by_generation),
        of("new", "d", "d", not_ready()),
        of("new", "f", "f", json!({})),
        of("new", "g", "g", json!({})),
    ];
    let nodes = ["a", "b", "c", "d", "e", "-f", "!g"].map(node);
    let observed = Observed::new(&set, "new", &nodes, &pods, now());
    assert_eq!(
        serde_json::to_value(observed.status(true)).expect("json"),
        json!({
            "desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberMisscheduled": 2, "numberReady": 3,
            "updatedNumberScheduled": 3, "numberAvailable": 2, "numberUnavailable": 3, "observedGeneration": 3,
        })
    );
    assert_eq!(observed.status(false).observed_generation, None);
}
