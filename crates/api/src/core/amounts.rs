//! Names of resources and amounts of them, as limits, quotas and pods have them.

use std::collections::BTreeMap;

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    names,
    object::map_at,
};
use serde_json::Value;

use crate::{core::pod_spec::resources, validate::NOT_NEGATIVE};

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Resources of which quotas may speak, beside those with a domain in front and huge pages.
const QUOTA_RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// The amount that a value states, if it states one.
pub fn amount(value: &Value) -> Option<Quantity> {
    resources::parse(value)
}

/// The amounts in a map of resources; what states none is left out.
pub fn amounts(owner: &Value, path: &[&str]) -> Amounts {
    let entries = map_at(owner, path).into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), amount(value)?)))
        .collect()
}

/// Whether a quota may speak of a resource without a domain.
pub(crate) fn is_quota_resource(name: &str) -> bool {
    QUOTA_RESOURCES.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Resources that are counted: a half of one is nothing.
fn is_whole(name: &str) -> bool {
    resources::is_whole_resource(name)
        || matches!(
            name,
            "persistentvolumeclaims" | "services.nodeports" | "services.loadbalancers"
        )
}

/// A name of a resource, with a domain or known. Whether it is one.
pub(crate) fn validate_name(name: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let mut messages = names::qualified_name(name);
    if messages.is_empty() && !name.contains('/') && !is_quota_resource(name) && name != "storage" {
        messages.push("must be a standard resource type or fully qualified".to_owned());
    }
    let valid = messages.is_empty();
    crate::validate::each(errors, path, name, messages);
    valid
}

/// The name of a resource that a quota limits.
pub(crate) fn validate_quota_name(name: &str, path: &Path, errors: &mut ErrorList) {
    validate_name(name, path, errors);
    if !name.contains('/') && !is_quota_resource(name) {
        errors.push(Error::invalid(
            path,
            name,
            "must be a standard resource for quota",
        ));
    }
}

/// An amount that is not negative, and whole where the resource is counted.
pub(crate) fn validate_amount(name: &str, value: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(quantity) = amount(value) else {
        errors.push(Error::invalid(
            path,
            value.clone(),
            "must be a valid resource quantity",
        ));
        return;
    };
    if quantity.is_negative() {
        errors.push(Error::invalid(path, quantity.to_string(), NOT_NEGATIVE));
    }
    if is_whole(name) && !quantity.is_integer() {
        errors.push(Error::invalid(
            path,
            quantity.to_string(),
            "must be an integer",
        ));
    }
}
