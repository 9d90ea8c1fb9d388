//! Names of resources and amounts of them, as limits, quotas and pods have them.

use std::collections::BTreeMap;

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    names,
    object::map_at,
};
use serde_json::{Map, Value};

use crate::validate::NOT_NEGATIVE;

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
    parse(value)
}

/// The amounts in a map of resources; what states none is left out.
pub fn amounts(owner: &Value, path: &[&str]) -> Amounts {
    let entries = map_at(owner, path).into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), amount(value)?)))
        .collect()
}

/// Native resources have no prefix, or one of kubernetes.io.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Resources that are counted: a half of one is nothing.
pub(crate) fn is_whole_resource(name: &str) -> bool {
    matches!(name, "pods" | "services" | "secrets" | "configmaps")
        || matches!(name, "resourcequotas" | "replicationcontrollers")
        || is_extended(name)
}

/// The amount that a value states.
pub(crate) fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// Writes every quantity in its canonical form, rounded up to thousandths. What is no quantity stays for validation.
pub(crate) fn canonicalize_resources(list: &mut Map<String, Value>) {
    for value in list.values_mut() {
        let parsed = match &*value {
            Value::String(text) => Quantity::parse(text),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => continue,
        };
        let Ok(quantity) = parsed else { continue };
        let milli = Quantity::from_milli(quantity.milli_value(), quantity.format());
        // Beyond 64 bits of thousandths there is nothing to round.
        let canonical = if quantity.is_integer() {
            quantity
        } else {
            milli
        }
        .to_string();
        if value.as_str() != Some(&canonical) {
            *value = canonical.into();
        }
    }
}

/// Whether a quota may speak of a resource without a domain.
pub(crate) fn is_quota_resource(name: &str) -> bool {
    QUOTA_RESOURCES.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Resources that are counted: a half of one is nothing.
fn is_whole(name: &str) -> bool {
    is_whole_resource(name)
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
