//! The quality-of-service class of a pod.

use std::collections::BTreeMap;

use knarr_meta::{
    Quantity,
    object::{list_at, map_at},
};
use serde_json::Value;

/// `Guaranteed` when every container limits cpu and memory and requests the same, `BestEffort` when none says anything,
/// `Burstable` otherwise.
pub fn qos_class(pod: &Value) -> &'static str {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut guaranteed = true;
    let containers = list_at(pod, &["spec", "containers"])
        .iter()
        .chain(list_at(pod, &["spec", "initContainers"]));
    for container in containers {
        add(container, "requests", &mut requests);
        guaranteed &= add(container, "limits", &mut limits) == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds a container's cpu and memory; returns how many of the two are more than zero.
fn add(container: &Value, list: &str, sums: &mut BTreeMap<&'static str, Quantity>) -> usize {
    let Some(list) = map_at(container, &["resources", list]) else {
        return 0;
    };
    let mut found = 0;
    for name in ["cpu", "memory"] {
        let Some(quantity) = list
            .get(name)
            .and_then(Value::as_str)
            .and_then(|text| Quantity::parse(text).ok())
        else {
            continue;
        };
        if quantity > Quantity::ZERO {
            found += 1;
            *sums.entry(name).or_default() += quantity;
        }
    }
    found
}
