use serde_json::json;

use super::*;

fn node(zone: &str, ready: bool) -> Node {
    let status = if ready { "True" } else { "Unknown" };
    let value = json!({
        "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"conditions": [{"type": "Ready", "status": status}]},
    });
    serde_json::from_value(value).expect("a node")
}

/// What is kept up is what counting all nodes would say.
#[test]
fn the_census_is_what_counting_says() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut census = Census::default();
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for step in 0..500 {
        let name = format!("n{}", random.u8(..8));
        let before = nodes
            .get(&name)
            .map(|node| (plan::zone_of(node), plan::readiness(node).to_owned()));
        let changed = match random.u8(..4) {
            0 => {
                nodes.remove(&name);
                assert_eq!(census.remove(&name), before.is_some(), "step {step}");
                continue;
            }
            _ => {
                let node = node(&random.u8(..3).to_string(), random.bool());
                let changed = census.set(&name, &node);
                nodes.insert(name.clone(), node);
                changed
            }
        };
        let after = nodes
            .get(&name)
            .map(|node| (plan::zone_of(node), plan::readiness(node).to_owned()));
        assert_eq!(changed, before != after, "step {step}");
        let mut counted: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for node in nodes.values() {
            let (ready, not_ready) = counted.entry(plan::zone_of(node)).or_default();
            match plan::readiness(node) {
                "True" => *ready += 1,
                _ => *not_ready += 1,
            }
        }
        let kept = census.zones().iter();
        let kept: BTreeMap<String, (usize, usize)> = kept
            .map(|(name, zone)| (name.clone(), (zone.ready, zone.not_ready)))
            .collect();
        assert_eq!(kept, counted, "step {step}");
    }
}
