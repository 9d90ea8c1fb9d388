//! What an object takes of a quota: the rules that admission and the quota controller share.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use knarr_meta::{
    Quantity,
    object::{self, at, i64_at, list_at, str_at, struct_at},
    quantity::Format,
    time,
};
use serde_json::Value;

use super::scopes;
use crate::core::{
    amounts::{Amounts, amounts},
    pod,
};

/// Pods' resources for which a quota asks each container to state an amount.
const STATED: &[&str] = &[
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];
/// Between the name of a class and a resource that claims of it use.
const OF_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// A kind of object by its group and resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    pub group: &'a str,
    pub resource: &'a str,
}

impl Counted<'_> {
    /// `count/deployments.apps`.
    pub fn count_name(&self) -> String {
        match self.group {
            "" => format!("count/{}", self.resource),
            group => format!("count/{}.{group}", self.resource),
        }
    }

    fn is(&self, resource: &str) -> bool {
        self.group.is_empty() && self.resource == resource
    }

    pub fn is_pod(&self) -> bool {
        self.is("pods")
    }

    /// Kinds that were counted by their plain name before `count/` was.
    fn has_plain_name(&self) -> bool {
        [
            "configmaps",
            "resourcequotas",
            "replicationcontrollers",
            "secrets",
        ]
        .iter()
        .any(|resource| self.is(resource))
    }

    /// Kinds that no quota counts: events, and what is not stored.
    pub fn is_ignored(&self) -> bool {
        self.resource == "events" && matches!(self.group, "" | "events.k8s.io")
    }

    /// Whether objects of this kind use a resource of a quota.
    pub fn uses(&self, name: &str) -> bool {
        if name == self.count_name() {
            return true;
        }
        match self.resource {
            "pods" if self.is_pod() => is_used_by_pods(name),
            "services" if self.is("services") => {
                matches!(
                    name,
                    "services" | "services.nodeports" | "services.loadbalancers"
                )
            }
            "persistentvolumeclaims" if self.is("persistentvolumeclaims") => {
                let of_class = name
                    .split_once(OF_STORAGE_CLASS)
                    .map(|(_, resource)| resource);
                matches!(
                    of_class.unwrap_or(name),
                    "persistentvolumeclaims" | "requests.storage"
                )
            }
            plain => self.has_plain_name() && name == plain,
        }
    }

    /// What one object uses. `now` decides of pods whose deletion is over and that are still there.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        let mut usage = Amounts::from([(self.count_name(), number(1))]);
        if self.is_pod() {
            if is_charged(object, now) {
                pod_usage(object, &mut usage);
            }
        } else if self.is("services") {
            service_usage(object, &mut usage);
        } else if self.is("persistentvolumeclaims") {
            claim_usage(object, &mut usage);
        } else if self.has_plain_name() {
            usage.insert(self.resource.to_owned(), number(1));
        }
        usage
    }

    /// Whether an object is in all scopes of a quota. Only pods are in any.
    pub fn in_scopes(&self, quota: &Value, object: &Value) -> bool {
        let listed = scopes::names(quota);
        let mut listed = listed.iter();
        let selected = list_at(quota, &["spec", "scopeSelector", "matchExpressions"]);
        let pod = self.is_pod();
        listed.all(|scope| pod && is_in(scope, "Exists", &[], object))
            && selected.iter().all(|rule| {
                let scope = str_at(rule, &["scopeName"]);
                let operator = str_at(rule, &["operator"]);
                pod && is_in(scope, operator, list_at(rule, &["values"]), object)
            })
    }
}

fn number(count: usize) -> Quantity {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Quantity::new(count, Format::DecimalSi)
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
        || name.starts_with("deviceclass.resource.kubernetes.io/")
}

fn is_used_by_pods(name: &str) -> bool {
    let plain = ["requests.", "limits."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    name == "pods"
        || matches!(
            plain.unwrap_or(name),
            "cpu" | "memory" | "ephemeral-storage"
        )
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || name.strip_prefix("requests.").is_some_and(is_extended)
}

/// Whether a pod still uses anything: not when it has ended, nor when it should be gone.
pub fn is_charged(pod: &Value, now: Timestamp) -> bool {
    if matches!(str_at(pod, &["status", "phase"]), "Failed" | "Succeeded") {
        return false;
    }
    let deletion = object::deletion_timestamp(pod).and_then(time::parse);
    let grace = object::deletion_grace_period_seconds(pod);
    let over = deletion
        .zip(grace)
        .and_then(|(at, grace)| at.checked_add(SignedDuration::from_secs(grace)).ok());
    over.is_none_or(|over| now <= over)
}

/// Whether a pod ends by itself after a time, which is what the scope `Terminating` means.
pub fn is_terminating(pod: &Value) -> bool {
    i64_at(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0)
}

fn pod_usage(pod: &Value, usage: &mut Amounts) {
    let mut requests = pod::amounts::charged_requests(pod);
    let mut limits = pod::amounts::charged_limits(pod);
    let overhead = amounts(pod, &["spec", "overhead"]);
    pod::amounts::add(&mut requests, &overhead);
    let limited = overhead
        .into_iter()
        .filter(|(name, _)| limits.contains_key(name));
    let limited = limited.collect();
    pod::amounts::add(&mut limits, &limited);
    usage.extend(compute_usage(&requests, &limits));
}

/// Requests and limits under the names that quotas have for them.
fn compute_usage(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods".to_owned(), number(1))]);
    for (name, request) in requests {
        let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if known || name.starts_with("hugepages-") {
            usage.insert(name.clone(), *request);
        }
        if known || name.starts_with("hugepages-") || is_extended(name) {
            usage.insert(format!("requests.{name}"), *request);
        }
    }
    for (name, limit) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}"), *limit);
        }
    }
    usage
}

fn service_usage(service: &Value, usage: &mut Amounts) {
    let ports = list_at(service, &["spec", "ports"]);
    let type_ = str_at(service, &["spec", "type"]);
    let allocated = at(service, &["spec", "allocateLoadBalancerNodePorts"]);
    let node_ports = match type_ {
        "NodePort" => ports.len(),
        "LoadBalancer" if allocated != Some(&Value::Bool(false)) => ports.len(),
        "LoadBalancer" => {
            let given = |port: &&Value| i64_at(port, &["nodePort"]).is_some_and(|port| port != 0);
            ports.iter().filter(given).count()
        }
        _ => 0,
    };
    usage.extend([
        ("services".to_owned(), number(1)),
        ("services.nodeports".to_owned(), number(node_ports)),
        (
            "services.loadbalancers".to_owned(),
            number(usize::from(type_ == "LoadBalancer")),
        ),
    ]);
}

fn claim_usage(claim: &Value, usage: &mut Amounts) {
    let class = object::annotation(claim, CLASS_ANNOTATION)
        .unwrap_or_else(|| str_at(claim, &["spec", "storageClassName"]));
    let requested = amounts(claim, &["spec", "resources", "requests"]);
    let allocated = amounts(claim, &["status", "allocatedResources"]);
    let requested = requested.get("storage").cloned().map(|requested| {
        let allocated = allocated.get("storage").filter(|size| **size > requested);
        // Bytes are whole.
        let size = allocated.unwrap_or(&requested);
        match size.is_integer() {
            true => *size,
            false => Quantity::new(size.value(), size.format()),
        }
    });
    let all = [
        ("persistentvolumeclaims", Some(number(1))),
        ("requests.storage", requested),
    ];
    for (name, amount) in all {
        let Some(amount) = amount else { continue };
        if !class.is_empty() {
            usage.insert(format!("{class}{OF_STORAGE_CLASS}{name}"), amount);
        }
        usage.insert(name.to_owned(), amount);
    }
}

/// Whether a pod is in a scope.
fn is_in(scope: &str, operator: &str, values: &[Value], pod: &Value) -> bool {
    let best_effort = || pod::qos_class(pod) == "BestEffort";
    match scope {
        scopes::TERMINATING => is_terminating(pod),
        scopes::NOT_TERMINATING => !is_terminating(pod),
        scopes::BEST_EFFORT => best_effort(),
        scopes::NOT_BEST_EFFORT => !best_effort(),
        scopes::PRIORITY_CLASS => {
            let class = str_at(pod, &["spec", "priorityClassName"]);
            let listed = || values.iter().any(|value| value.as_str() == Some(class));
            match operator {
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                "In" => !class.is_empty() && listed(),
                "NotIn" => class.is_empty() || !listed(),
                _ => false,
            }
        }
        scopes::CROSS_NAMESPACE_AFFINITY => names_namespaces(pod),
        _ => false,
    }
}

/// Whether a pod's affinity speaks of pods in other namespaces.
fn names_namespaces(pod: &Value) -> bool {
    let names = |term: &Value| {
        !list_at(term, &["namespaces"]).is_empty()
            || struct_at(term, &["namespaceSelector"]).is_some()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|affinity| {
        let list = |field| list_at(pod, &["spec", "affinity", affinity, field]).iter();
        let preferred = list("preferredDuringSchedulingIgnoredDuringExecution");
        list("requiredDuringSchedulingIgnoredDuringExecution").any(names)
            || preferred
                .filter_map(|term| term.get("podAffinityTerm"))
                .any(names)
    })
}

/// What a pod's containers must state for a quota of these resources and do not: upstream's sentence.
pub fn unstated<'n>(pod: &Value, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let whole = ["requests", "limits"].map(|list| amounts(pod, &["spec", "resources", list]));
    let of_pod =
        |name: &String| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-");
    if whole.iter().any(|list| list.keys().any(of_pod)) {
        return None;
    }
    let required: BTreeSet<&str> = names.filter(|name| STATED.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let lists = ["containers", "initContainers"].map(|list| list_at(pod, &["spec", list]));
    for container in lists.into_iter().flatten() {
        let of = |list| amounts(container, &["resources", list]);
        let stated = compute_usage(&of("requests"), &of("limits"));
        for name in required.iter().filter(|name| !stated.contains_key(**name)) {
            let containers = missing.entry(name).or_default();
            containers.insert(str_at(container, &["name"]));
        }
    }
    let told = missing.into_iter().map(|(name, containers)| {
        let containers: Vec<&str> = containers.into_iter().collect();
        format!("{name} for: {}", containers.join(","))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| format!("must specify {}", told.join("; ")))
}

#[cfg(test)]
mod tests;
