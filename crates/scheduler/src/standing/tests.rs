use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::*;

/// A pod on a node, with a rule of one sort.
fn pod(uid: &str, sort: &str, rule: &serde_json::Value) -> PodInfo {
    let pod = json!({
        "metadata": {"uid": uid, "name": uid, "namespace": "n", "labels": {"app": "web"}},
        "spec": {"nodeName": "a", "containers": [], "affinity": {sort: rule}},
    });
    PodInfo::new(&Arc::new(serde_json::from_value(pod).unwrap()))
}

fn required(key: &str, app: &str) -> serde_json::Value {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
}

fn preferred(weight: i32) -> serde_json::Value {
    let term = json!({"topologyKey": "zone", "labelSelector": {}});
    json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "podAffinityTerm": term}]})
}

/// What rules mean the pod, by label; with their weights by slot.
fn about(rules: &Rules, pod: &PodInfo) -> BTreeMap<String, BTreeMap<usize, i64>> {
    let rules = rules.about(pod, &None);
    rules
        .map(|(term, weights)| (term.topology_key.clone(), weights.collect()))
        .collect()
}

#[test]
fn equal_rules_are_one() {
    let mut standing = Standing::default();
    let apart = |uid: &str| pod(uid, "podAntiAffinity", &required("host", "web"));
    for (slot, uid) in [(0, "p-0"), (1, "p-1"), (1, "p-2")] {
        standing.add(slot, &apart(uid));
    }
    standing.add(2, &pod("other", "podAntiAffinity", &required("host", "db")));
    assert_eq!(standing.apart.terms().count(), 2);
    let found = about(&standing.apart, &apart("new"));
    let expected = BTreeMap::from([(0, 1), (1, 2)]);
    assert_eq!(found, BTreeMap::from([("host".to_owned(), expected)]));
}

#[test]
fn rules_go_with_the_last_pod_that_has_them() {
    let mut standing = Standing::default();
    let near = pod("near", "podAffinity", &required("zone", "web"));
    let (likes, dislikes) = (
        pod("likes", "podAffinity", &preferred(7)),
        pod("dislikes", "podAntiAffinity", &preferred(7)),
    );
    standing.add(0, &near);
    standing.add(0, &likes);
    standing.add(0, &dislikes);
    assert_eq!(
        about(&standing.near, &near)["zone"],
        BTreeMap::from([(0, 1)])
    );
    // They are even, and both stand.
    assert_eq!(
        about(&standing.preferred, &near)["zone"],
        BTreeMap::from([(0, 0)])
    );
    standing.remove(0, &likes);
    assert_eq!(
        about(&standing.preferred, &near)["zone"],
        BTreeMap::from([(0, -7)])
    );
    standing.remove(0, &dislikes);
    standing.remove(0, &near);
    assert!(standing.is_empty());
}
