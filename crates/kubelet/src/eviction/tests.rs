use serde_json::{Value, json};

use super::*;
use crate::testing;

fn short_of(pressures: &[Pressure]) -> Evictions {
    let evictions = Evictions::default();
    *evictions.pressures.lock() = pressures.to_vec();
    evictions
}

#[test]
fn pressure_turns_pods_away() {
    let container =
        |resources: Value| json!({ "containers": [{ "name": "a", "resources": resources }] });
    let modest = container(json!({ "requests": { "memory": "1Mi" } }));
    let greedy = container(json!({}));
    let mut tolerant = greedy.clone();
    tolerant["tolerations"] =
        json!([{ "key": "node.kubernetes.io/memory-pressure", "operator": "Exists" }]);
    let mut critical = greedy.clone();
    critical["priority"] = SYSTEM_CRITICAL.into();
    let memory = "The node had condition: [MemoryPressure]. ";
    let disk = "The node had condition: [DiskPressure]. ";
    let both = "The node had condition: [MemoryPressure DiskPressure]. ";
    use Pressure::{Disk, Memory};
    for (pressures, spec, expected) in [
        (&[][..], &greedy, None),
        (&[Memory], &greedy, Some(memory)),
        (&[Memory], &modest, None),
        (&[Memory], &tolerant, None),
        (&[Memory], &critical, None),
        (&[Disk], &modest, Some(disk)),
        (&[Disk], &critical, None),
        (&[Memory, Disk], &modest, Some(both)),
    ] {
        let pod = testing::pod(spec.clone());
        let answer = short_of(pressures).turns_away(&pod);
        assert_eq!(answer.as_deref(), expected, "{pressures:?} {spec}");
    }
}

#[test]
fn a_worker_is_told_once() {
    let evictions = Evictions::default();
    let eviction = |message: &str| Eviction {
        reason: EVICTED,
        grace: Some(GRACE_SECONDS),
        message: message.to_owned(),
        disruption: false,
    };
    assert!(!evictions.evict("u1", eviction("nobody is there")));
    let mut told = evictions.subscribe("u1");
    assert!(evictions.evict("u1", eviction("first")));
    assert!(!evictions.evict("u1", eviction("second")));
    assert_eq!(*told.borrow_and_update(), Some(eviction("first")));
    assert!(evictions.is_evicted("u1"));
    evictions.forget("u1");
    assert!(!evictions.is_evicted("u1") && !evictions.is_there("u1"));
}

#[test]
fn the_nodes_own_pods_stay() {
    let mut pod = testing::pod(json!({ "containers": [] }));
    assert!(!is_critical(&pod));
    for (source, expected) in [("api", false), ("file", true)] {
        let annotations = [(SOURCE.to_owned(), source.to_owned())];
        pod.metadata.annotations = Some(annotations.into());
        assert_eq!(is_critical(&pod), expected, "{source}");
    }
}
