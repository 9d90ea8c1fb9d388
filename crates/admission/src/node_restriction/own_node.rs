//! A kubelet writes its own Node, and of its labels those that are for kubelets to set.

use std::collections::BTreeSet;

use knarr_meta::{field::quote, object};
use serde_json::Value;

use super::answer::{Answer, need};
use crate::request::{AdmissionRequest, Operation};

const RESTRICTED_LABELS: &str = "node-restriction.kubernetes.io";
/// Labels under `kubernetes.io` and `k8s.io` that kubelets set.
const KUBELET_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];
/// Label prefixes (and their subdomains) that kubelets may set freely.
const KUBELET_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) fn own_node(node: &str, request: &AdmissionRequest<'_>) -> Answer {
    let quoted = quote(node);
    need(request.name == node, || {
        format!(
            "node {quoted} is not allowed to modify node {}",
            quote(request.name)
        )
    })?;
    let Some(new) = request.object.as_deref() else {
        return Ok(());
    };
    let source = |node: &Value| {
        object::at(node, &["spec", "configSource"])
            .filter(|source| !source.is_null())
            .cloned()
    };
    match request.operation {
        Operation::Create => {
            need(source(new).is_none(), || {
                format!("node {quoted} is not allowed to create pods with a non-nil configSource")
            })?;
            let labels = forbidden_labels(new, None);
            need(labels.is_empty(), || {
                format!("node {quoted} is not allowed to set the following labels: {labels}")
            })
        }
        Operation::Update => {
            let Some(old) = request.old else {
                return Ok(());
            };
            need(source(new).is_none() || source(new) == source(old), || {
                format!(
                    "node {quoted} is not allowed to update configSource to a new non-nil configSource"
                )
            })?;
            let same = |path: &[&str]| object::list_at(new, path) == object::list_at(old, path);
            need(same(&["spec", "taints"]), || {
                format!("node {quoted} is not allowed to modify taints")
            })?;
            need(same(&["metadata", "ownerReferences"]), || {
                format!("node {quoted} is not allowed to modify ownerReferences")
            })?;
            let labels = forbidden_labels(new, Some(old));
            need(labels.is_empty(), || {
                format!("is not allowed to modify labels: {labels}")
            })
        }
        Operation::Delete | Operation::Connect => Ok(()),
    }
}

/// Labels that differ and are not for kubelets to set, sorted and joined.
fn forbidden_labels(new: &Value, old: Option<&Value>) -> String {
    let before = |key: &str| old.and_then(|old| object::label(old, key));
    let changed = object::labels(new)
        .filter(|(key, value)| before(key) != Some(value))
        .map(|(key, _)| key);
    let removed = old
        .into_iter()
        .flat_map(object::labels)
        .map(|(key, _)| key)
        .filter(|key| object::label(new, key).is_none());
    let labels: BTreeSet<&str> = changed.chain(removed).filter(|key| !may_set(key)).collect();
    labels.into_iter().collect::<Vec<_>>().join(", ")
}

fn may_set(label: &str) -> bool {
    let Some((prefix, _)) = label.split_once('/') else {
        return true;
    };
    let under = |domain: &str| {
        prefix == domain
            || prefix
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if under(RESTRICTED_LABELS) {
        return false;
    }
    let kubernetes = under("kubernetes.io") || under("k8s.io");
    !kubernetes || KUBELET_LABELS.contains(&label) || KUBELET_PREFIXES.into_iter().any(under)
}
