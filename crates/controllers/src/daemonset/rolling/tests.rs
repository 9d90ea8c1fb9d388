use serde_json::{Value, json};

use super::*;
use crate::daemonset::plan::tests::{going, node, of, set};
use crate::fixtures::{not_ready, now};

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// Nodes that get a pod, and pods that go, for nodes `a`, `b`, … with these pods.
fn planned(strategy: &Value, nodes: &[&str], pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>) {
    let set = set(strategy.clone());
    let nodes: Vec<_> = nodes.iter().map(|name| node(name)).collect();
    let observed = Observed::new(&set, "new", &nodes, pods, now());
    let rolling = Rolling::of(&observed).expect("a rolling update");
    let (create, delete) = rolling.plan(&observed);
    let names = delete.iter().flat_map(|pod| pod.metadata.name.clone());
    (create, names.collect())
}

#[test]
fn bounds() {
    let of = |strategy: Value, nodes: &[&str]| {
        let set = set(strategy);
        let nodes: Vec<_> = nodes.iter().map(|name| node(name)).collect();
        let rolling = Rolling::of(&Observed::new(&set, "new", &nodes, &[], now()))?;
        Some((rolling.max_surge, rolling.max_unavailable, rolling.surges()))
    };
    let four = ["a", "b", "c", "d", "-e"];
    assert_eq!(of(json!({"type": "OnDelete"}), &four), None);
    for (surge, unavailable, expected) in [
        (json!(0), json!(1), (0, 1, false)),
        (json!(0), json!("30%"), (0, 2, false)),
        (json!("30%"), json!(0), (2, 0, true)),
        (json!("0%"), json!("0%"), (0, 1, false)),
    ] {
        let found = of(rolling(surge.clone(), unavailable.clone()), &four);
        assert_eq!(found, Some(expected), "{surge} and {unavailable}");
    }
    assert_eq!(of(rolling(json!("30%"), json!(0)), &[]), Some((0, 0, true)));
}

#[test]
fn old_pods_are_replaced() {
    let old = |node| of("old", &format!("old-{node}"), node, json!({}));
    let new = |node| of("new", &format!("new-{node}"), node, json!({}));
    let nodes = ["a", "b", "c"];
    type Case<'a> = (&'a str, i64, Vec<Arc<Pod>>, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        ("all old", 1, vec![old("a"), old("b"), old("c")], &["old-a"]),
        (
            "two at a time",
            2,
            vec![old("a"), old("b"), old("c")],
            &["old-a", "old-b"],
        ),
        ("one new", 1, vec![new("a"), old("b"), old("c")], &["old-b"]),
        (
            "the new one is not ready",
            1,
            vec![of("new", "n", "a", not_ready()), old("b"), old("c")],
            &[],
        ),
        ("a node is bare", 1, vec![old("b"), old("c")], &[]),
        (
            "one is going",
            1,
            vec![of("old", "o", "a", going()), old("b"), old("c")],
            &[],
        ),
        (
            "an old one is not ready",
            1,
            vec![of("old", "o", "b", not_ready()), old("a"), old("c")],
            &["o"],
        ),
        ("all new", 1, vec![new("a"), new("b"), new("c")], &[]),
    ];
    for (what, unavailable, pods, expected) in cases {
        let (create, delete) = planned(&rolling(json!(0), json!(unavailable)), &nodes, &pods);
        assert_eq!(delete, expected, "{what}");
        assert!(create.is_empty(), "{what}");
    }
}

#[test]
fn old_pods_are_doubled_first() {
    let old = |node| of("old", &format!("old-{node}"), node, json!({}));
    let new = |node| of("new", &format!("new-{node}"), node, json!({}));
    let starting = |node| of("new", &format!("new-{node}"), node, not_ready());
    let broken = |node| of("old", &format!("old-{node}"), node, not_ready());
    let nodes = ["a", "b", "-z"];
    type Case<'a> = (&'a str, Vec<Arc<Pod>>, &'a [&'a str], &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        ("all old", vec![old("a"), old("b")], &["a"], &[]),
        (
            "one doubled",
            vec![old("a"), starting("a"), old("b")],
            &[],
            &[],
        ),
        (
            "it can take over",
            vec![old("a"), new("a"), old("b")],
            &["b"],
            &["old-a"],
        ),
        (
            "the old one is of no use",
            vec![new("a"), broken("b")],
            &["b"],
            &[],
        ),
        ("all new", vec![new("a"), new("b")], &[], &[]),
        ("too many", vec![old("a"), old("a"), old("b")], &[], &[]),
        (
            "one where none should be, while one is missing",
            vec![new("a"), starting("b"), old("z")],
            &[],
            &[],
        ),
        (
            "one where none should be",
            vec![new("a"), new("b"), old("z")],
            &[],
            &["old-z"],
        ),
        (
            "a broken one there",
            vec![starting("a"), starting("b"), broken("z")],
            &[],
            &["old-z"],
        ),
    ];
    for (what, pods, created, deleted) in cases {
        let (create, delete) = planned(&rolling(json!(1), json!(0)), &nodes, &pods);
        assert_eq!(create, created, "{what}");
        assert_eq!(delete, deleted, "{what}");
    }
}
