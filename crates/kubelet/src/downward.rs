//! The downward API: pod fields and container resources as text, for variables and volume files.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceFieldSelector, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use knarr_meta::quantity::Quantity;

use crate::resources;

/// What the API object does not say: the node's size, for limits that are not set, and addresses fresh from the
/// runtime, which the pod's status may not show yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Allocatable CPU of the node in thousandths.
    pub node_cpu_milli: i64,
    /// Allocatable memory of the node in bytes.
    pub node_memory_bytes: i64,
    /// Allocatable ephemeral storage of the node in bytes.
    pub node_storage_bytes: i64,
    /// The node's addresses; the first is the primary one.
    pub host_ips: Vec<String>,
    /// The pod's addresses; the first is the primary one.
    pub pod_ips: Vec<String>,
    /// Name of the node.
    pub node_name: String,
    /// What the kubelet adds to a pod's annotations, as those who read them inside of it know it.
    pub annotations: BTreeMap<String, String>,
}

/// A selector that names nothing; validation keeps most of them out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("unsupported fieldPath: {0}")]
    FieldPath(String),
    #[error("unsupported container resource : {0}")]
    Resource(String),
    #[error("container {0} not found")]
    Container(String),
    #[error("invalid divisor {0:?}")]
    Divisor(String),
}

/// The text of `path` (`metadata.labels['a']`, `status.podIP`, ...).
pub(crate) fn field(pod: &Pod, path: &str, facts: &Facts) -> Result<String, Error> {
    let meta = &pod.metadata;
    if let Some((base, key)) = subscript(path) {
        let value = match base {
            "metadata.labels" => meta.labels.as_ref().and_then(|labels| labels.get(key)),
            "metadata.annotations" => {
                let own = meta.annotations.as_ref().and_then(|own| own.get(key));
                facts.annotations.get(key).or(own)
            }
            _ => return Err(Error::FieldPath(path.to_owned())),
        };
        return Ok(value.cloned().unwrap_or_default());
    }
    let spec = pod.spec.as_ref();
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => {
            let mut all = meta.annotations.clone().unwrap_or_default();
            all.extend(facts.annotations.clone());
            format_map(Some(&all))
        }
        "spec.nodeName" => spec
            .and_then(|s| s.node_name.clone())
            .unwrap_or_else(|| facts.node_name.clone()),
        "spec.serviceAccountName" => spec
            .and_then(|s| s.service_account_name.clone())
            .unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(Error::FieldPath(path.to_owned())),
    })
}

/// `metadata.labels['key']` -> (`metadata.labels`, `key`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, rest) = path.split_once("['")?;
    Some((base, rest.strip_suffix("']")?))
}

/// One `key="escaped value"` a line, sorted by key.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", quote(v)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Go's `%q`.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_control() && (c as u32) < 0x80 => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A container's request or limit, divided by the selector's divisor and rounded up. A limit that is not set is the pod's, or the node's.
pub(crate) fn resource(
    pod: &Pod,
    own: &Container,
    selector: &ResourceFieldSelector,
    facts: &Facts,
) -> Result<String, Error> {
    let named = selector.container_name.as_deref().filter(|n| !n.is_empty());
    let container = match named {
        Some(name) => find(pod, name).ok_or_else(|| Error::Container(name.to_owned()))?,
        None => own,
    };
    let unsupported = || Error::Resource(selector.resource.clone());
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let limit = match kind {
        "limits" => true,
        "requests" => false,
        _ => return Err(unsupported()),
    };
    let of_node = match name {
        "cpu" => facts.node_cpu_milli,
        "memory" => facts.node_memory_bytes,
        "ephemeral-storage" => facts.node_storage_bytes,
        _ if name.starts_with("hugepages-") => 0,
        _ => return Err(unsupported()),
    };
    let unit: fn(Quantity) -> i64 = match name {
        "cpu" => |quantity| quantity.milli_value(),
        _ => |quantity| quantity.value(),
    };
    let declared = amount(container.resources.as_ref(), limit, name).map(unit);
    let fallback = || {
        let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        let of_pod = amount(whole, true, name).map(unit);
        of_pod.filter(|_| of_node != 0).unwrap_or(of_node)
    };
    let amount = declared.or_else(|| limit.then(fallback)).unwrap_or(0);
    let divisor = unit(divisor(selector.divisor.as_ref())?);
    Ok(divide_up(amount, divisor).to_string())
}

fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(init).find(|c| c.name == name)
}

/// The declared amount; a request that is not set equals the limit. Zero counts as not set, as upstream has it.
fn amount(
    requirements: Option<&ResourceRequirements>,
    limit: bool,
    name: &str,
) -> Option<Quantity> {
    let requirements = requirements?;
    let from = |map: &Option<BTreeMap<String, ApiQuantity>>| {
        map.as_ref()
            .and_then(|m| m.get(name))
            .and_then(resources::parse)
    };
    let value = if limit {
        from(&requirements.limits)
    } else {
        from(&requirements.requests).or_else(|| from(&requirements.limits))
    };
    value.filter(|q| q.milli_value() != 0)
}

fn divisor(divisor: Option<&ApiQuantity>) -> Result<Quantity, Error> {
    let text = divisor.map_or("1", |d| d.0.as_str());
    let text = if text.is_empty() || text == "0" {
        "1"
    } else {
        text
    };
    resources::parse(&ApiQuantity(text.to_owned())).ok_or_else(|| Error::Divisor(text.to_owned()))
}

fn divide_up(value: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    value / divisor + i64::from(value % divisor > 0)
}

#[cfg(test)]
mod tests;
