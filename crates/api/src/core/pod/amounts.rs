//! What a pod requests and is limited to, all of its containers together.

use knarr_meta::object::{list_at, map_at, str_at};
use serde_json::Value;

use crate::core::amounts::{Amounts, amounts};

/// The resources that a pod may state as a whole.
pub fn is_of_pod(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// The requests of a pod, without its overhead.
pub fn requests(pod: &Value) -> Amounts {
    total(pod, "requests", &|container| {
        amounts(container, &["resources", "requests"])
    })
}

/// The limits of a pod, without its overhead.
pub fn limits(pod: &Value) -> Amounts {
    total(pod, "limits", &|container| {
        amounts(container, &["resources", "limits"])
    })
}

/// The requests that a pod is charged for, without its overhead: while it is being resized the most of what it asks for, what its
/// node has promised and what its containers have. What the node can never give does not count (upstream
/// `resource.PodRequests` with status resources).
pub fn charged_requests(pod: &Value) -> Amounts {
    let statuses = Statuses::of(pod);
    let promised = total(pod, "requests", &|container| {
        let status = statuses.find(container);
        map_of(status, &["allocatedResources"])
            .unwrap_or_else(|| statuses.wanted(container, "requests"))
    });
    let actual = total(pod, "requests", &|container| {
        let status = statuses.find(container);
        map_of(status, &["resources", "requests"])
            .or_else(|| map_of(status, &["allocatedResources"]))
            .unwrap_or_else(|| statuses.wanted(container, "requests"))
    });
    statuses.most(requests(pod), [promised, actual])
}

/// The limits that a pod is charged for, as [`charged_requests`].
pub fn charged_limits(pod: &Value) -> Amounts {
    let statuses = Statuses::of(pod);
    let actual = total(pod, "limits", &|container| {
        map_of(statuses.find(container), &["resources", "limits"])
            .unwrap_or_else(|| statuses.wanted(container, "limits"))
    });
    statuses.most(limits(pod), [actual])
}

/// What a pod's node says of its containers.
struct Statuses<'a> {
    pod: &'a Value,
    /// The node can never give what is asked for.
    infeasible: bool,
}

impl<'a> Statuses<'a> {
    fn of(pod: &'a Value) -> Self {
        let pending = list_at(pod, &["status", "conditions"])
            .iter()
            .find(|condition| str_at(condition, &["type"]) == "PodResizePending");
        Self {
            pod,
            infeasible: pending.is_some_and(|c| str_at(c, &["reason"]) == "Infeasible"),
        }
    }

    fn find(&self, container: &Value) -> Option<&'a Value> {
        let name = str_at(container, &["name"]);
        ["containerStatuses", "initContainerStatuses"]
            .iter()
            .flat_map(|list| list_at(self.pod, &["status", list]))
            .find(|status| str_at(status, &["name"]) == name)
    }

    /// What a container asks for of which the node has said nothing.
    fn wanted(&self, container: &Value, list: &str) -> Amounts {
        match self.infeasible {
            true => Amounts::new(),
            false => amounts(container, &["resources", list]),
        }
    }

    fn most<const N: usize>(&self, wanted: Amounts, told: [Amounts; N]) -> Amounts {
        let mut most = match self.infeasible {
            true => Amounts::new(),
            false => wanted,
        };
        told.iter().for_each(|amounts| raise(&mut most, amounts));
        most
    }
}

/// The amounts in a map that is there.
fn map_of(owner: Option<&Value>, path: &[&str]) -> Option<Amounts> {
    let owner = owner?;
    map_at(owner, path).map(|_| amounts(owner, path))
}

/// What containers request (`requests`) or are limited to (`limits`) together, whatever the pod states as a whole.
pub fn of_containers(pod: &Value, list: &str) -> Amounts {
    sum(pod, &|container| amounts(container, &["resources", list]))
}

/// What the pod states as a whole takes the place of what its containers need.
fn total(pod: &Value, list: &str, of: &dyn Fn(&Value) -> Amounts) -> Amounts {
    let mut sum = sum(pod, of);
    let whole = amounts(pod, &["spec", "resources", list]);
    sum.extend(whole.into_iter().filter(|(name, _)| is_of_pod(name)));
    sum
}

/// The sum of the containers that run at once, or what the init containers need before, if that is more.
fn sum(pod: &Value, of: &dyn Fn(&Value) -> Amounts) -> Amounts {
    let mut sum = Amounts::new();
    for container in list_at(pod, &["spec", "containers"]) {
        add(&mut sum, &of(container));
    }
    let (mut beside, mut most) = (Amounts::new(), Amounts::new());
    for container in list_at(pod, &["spec", "initContainers"]) {
        let own = of(container);
        if str_at(container, &["restartPolicy"]) == "Always" {
            add(&mut sum, &own);
            add(&mut beside, &own);
            raise(&mut most, &beside);
        } else {
            let mut then = own;
            add(&mut then, &beside);
            raise(&mut most, &then);
        }
    }
    raise(&mut sum, &most);
    sum
}

/// Adds each of `more`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        *sum.entry(name.clone()).or_default() += *quantity;
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, quantity) in other {
        if most.get(name).is_none_or(|most| most < quantity) {
            most.insert(name.clone(), *quantity);
        }
    }
}

#[cfg(test)]
mod tests;
