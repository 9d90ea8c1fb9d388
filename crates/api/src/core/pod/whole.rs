//! The resources that a pod states as a whole: what it leaves out follows from its containers and from the rest of what it says, as
//! upstream's `podutil.DefaultPodLevelResources`. Pods that state none get none.

use knarr_meta::{
    Quantity,
    object::{self, at, list_at, map_at},
};
use serde_json::Value;

use super::amounts;
use crate::core::amounts::{Amounts, amounts as amounts_at};

const LISTS: [&str; 2] = ["requests", "limits"];

/// Fills in requests and limits.
pub(super) fn default_resources(pod: &mut Value) {
    let [mut requests, mut limits] =
        LISTS.map(|list| amounts_at(pod, &["spec", "resources", list]));
    if requests.is_empty() && limits.is_empty() {
        return;
    }
    let given = (requests.clone(), limits.clone());
    let of_containers = LISTS.map(|list| amounts::of_containers(pod, list));
    let [requested, limited] = &of_containers;
    // Huge pages cannot be promised twice: what containers have of them is what the pod has.
    for (name, amount) in of_pod(limited).filter(|(name, _)| is_huge(name)) {
        if !requests.contains_key(name) {
            limits.entry(name.clone()).or_insert(*amount);
        }
    }
    for (name, amount) in of_pod(requested).filter(|(name, _)| !is_huge(name)) {
        requests.entry(name.clone()).or_insert(*amount);
    }
    for (name, amount) in of_pod(&limits) {
        requests.entry(name.clone()).or_insert(*amount);
    }
    for (name, requested) in of_pod(&requests) {
        if limits.contains_key(name) || !all_limit(pod, name) {
            continue;
        }
        if let Some(limited) = limited.get(name) {
            limits.insert(name.clone(), *limited.max(requested));
        }
    }
    if (&requests, &limits) == (&given.0, &given.1) {
        return;
    }
    let resources = object::child_mut(pod, "spec").and_then(|spec| spec.get_mut("resources"));
    let Some(resources) = resources else {
        return;
    };
    for (list, amounts, given) in [
        ("requests", &requests, &given.0),
        ("limits", &limits, &given.1),
    ] {
        let Some(stated) = object::child_mut(resources, list).filter(|_| !amounts.is_empty())
        else {
            continue;
        };
        for (name, amount) in amounts {
            if !given.contains_key(name) {
                stated.insert(name.clone(), amount.to_string().into());
            }
        }
    }
}

/// An update by somebody who does not know of them leaves them as they are.
pub(super) fn keep_resources(new: &mut Value, old: &Value) {
    let absent = at(new, &["spec", "resources"]).is_none_or(Value::is_null);
    if absent
        && let Some(kept) = at(old, &["spec", "resources"]).cloned()
        && let Some(spec) = object::child_mut(new, "spec")
    {
        spec.insert("resources".to_owned(), kept);
    }
}

fn of_pod(amounts: &Amounts) -> impl Iterator<Item = (&String, &Quantity)> {
    amounts.iter().filter(|(name, _)| amounts::is_of_pod(name))
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether every container has a limit of a resource.
fn all_limit(pod: &Value, name: &str) -> bool {
    let mut all = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| list_at(pod, &["spec", list]));
    all.all(|container| {
        map_at(container, &["resources", "limits"]).is_some_and(|limits| limits.contains_key(name))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn defaulted(resources: Value, containers: Value) -> Value {
        let mut pod = json!({"spec": {"resources": resources, "containers": containers}});
        default_resources(&mut pod);
        pod["spec"]["resources"].clone()
    }

    fn container(requests: Value, limits: Value) -> Value {
        json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn what_is_left_out_follows_from_the_rest() {
        let plain = || json!([{"name": "c"}]);
        let cases = [
            // Nothing stated, nothing added.
            (
                json!({}),
                json!([container(json!({"cpu": "1"}), json!({}))]),
                json!({}),
            ),
            (
                json!({"limits": {"cpu": "1"}}),
                plain(),
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}),
            ),
            (
                json!({"limits": {"cpu": "3"}}),
                json!([
                    container(json!({"cpu": "1", "memory": "1Gi"}), json!({})),
                    container(json!({"cpu": "500m", "x.io/y": "1"}), json!({})),
                ]),
                json!({"limits": {"cpu": "3"}, "requests": {"cpu": "1500m", "memory": "1Gi"}}),
            ),
            // All containers are limited, so that the pod is; never below what it requests.
            (
                json!({"requests": {"cpu": "3", "memory": "1Gi"}}),
                json!([container(json!({}), json!({"cpu": "2"}))]),
                json!({"requests": {"cpu": "3", "memory": "1Gi"}, "limits": {"cpu": "3"}}),
            ),
            (
                json!({"limits": {"memory": "1Gi"}}),
                json!([container(
                    json!({"hugepages-2Mi": "4Mi"}),
                    json!({"hugepages-2Mi": "4Mi"})
                )]),
                json!({
                    "limits": {"memory": "1Gi", "hugepages-2Mi": "4Mi"},
                    "requests": {"memory": "1Gi", "hugepages-2Mi": "4Mi"},
                }),
            ),
        ];
        for (stated, containers, expected) in cases {
            assert_eq!(defaulted(stated.clone(), containers), expected, "{stated}");
        }
    }
}
