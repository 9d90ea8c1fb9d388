//! The quality-of-service class of a pod.

use std::collections::BTreeMap;

use knarr_meta::{
    Quantity,
    object::{list_at, map_at},
};
use serde_json::Value;

/// By what the pod states as a whole, where it does; else `Guaranteed` when every container limits cpu and memory and requests
/// the same, `BestEffort` when none says anything, `Burstable` otherwise.
pub fn qos_class(pod: &Value) -> &'static str {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut guaranteed = true;
    let containers = list_at(pod, &["spec", "containers"])
        .iter()
        .chain(list_at(pod, &["spec", "initContainers"]));
    let whole = pod.get("spec").filter(|spec| states_resources(spec));
    for stated in whole
        .into_iter()
        .chain(containers.filter(|_| whole.is_none()))
    {
        add(stated, "requests", &mut requests);
        guaranteed &= add(stated, "limits", &mut limits) == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Whether a pod's spec has resources for the pod as a whole (upstream `IsPodLevelResourcesSet`).
fn states_resources(spec: &Value) -> bool {
    let stated = |list| map_at(spec, &["resources", list]);
    let mut names = ["requests", "limits"]
        .into_iter()
        .filter_map(stated)
        .flat_map(|list| list.keys());
    names.any(|name| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-"))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_pod_states_as_a_whole_decides() {
        let amounts = json!({"cpu": "1", "memory": "1Mi"});
        let both = json!({"requests": amounts, "limits": amounts});
        let class = |whole: &Value, container: &Value| {
            qos_class(
                &json!({"spec": {"resources": whole, "containers": [{"resources": container}]}}),
            )
        };
        assert_eq!(class(&both, &json!({})), "Guaranteed");
        assert_eq!(class(&json!({"limits": {"cpu": "1"}}), &both), "Burstable");
        assert_eq!(class(&json!({"requests": {}}), &both), "Guaranteed");
        assert_eq!(class(&json!(null), &json!({})), "BestEffort");
    }
}
