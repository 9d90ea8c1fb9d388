//! Service. Addresses and ports are allocated by the API server, between [`patch_allocated`] and the strategy.

mod columns;
mod rules;
mod update;

use knarr_meta::{
    field::ErrorList,
    names,
    object::{self, at, i64_at, list_at, str_at},
};
use serde_json::{Map, Value, json};

use crate::{
    kind::{Column, Kind, Part, STATUS, Scope, Strategy, Verb},
    tree,
};

pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    resource: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/services/specs"),
    definition: "io.k8s.api.core.v1.Service",
    strategy: &Service,
    aliases: &[],
};

/// Seconds that a client stays with its endpoint, by default.
const DEFAULT_AFFINITY_SECONDS: i64 = 10_800;

struct Service;

fn kind_of(service: &Value) -> &str {
    str_at(service, &["spec", "type"])
}

/// Every type but ExternalName has an address, or says that it wants none.
pub fn needs_cluster_ip(service: &Value) -> bool {
    kind_of(service) != "ExternalName"
}

/// True where every port gets a port on the nodes.
pub fn needs_node_port(service: &Value) -> bool {
    matches!(kind_of(service), "NodePort" | "LoadBalancer")
}

/// True where the nodes answer a load balancer's health checks on a port of their own.
pub fn needs_health_check_port(service: &Value) -> bool {
    kind_of(service) == "LoadBalancer"
        && str_at(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// A service without an address.
pub fn is_headless(service: &Value) -> bool {
    list_at(service, &["spec", "clusterIPs"])
        .first()
        .and_then(Value::as_str)
        .unwrap_or_else(|| str_at(service, &["spec", "clusterIP"]))
        == "None"
}

fn spec_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object::child_mut(object, "spec")
}

/// Lets clients leave out on update what was allocated for them on create: the address, node ports by the name of their port,
/// the health check port. Keeps `clusterIP` and `clusterIPs` in step. To be called before anything is allocated for `new`.
pub fn patch_allocated(new: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        copy_where_empty(new, old, "clusterIP");
        copy_where_empty(new, old, "clusterIPs");
    }
    if needs_node_port(old) && needs_node_port(new) {
        patch_node_ports(new, old);
    }
    if needs_health_check_port(old)
        && needs_health_check_port(new)
        && i64_at(new, &["spec", "healthCheckNodePort"]).unwrap_or_default() == 0
        && let Some(port) = at(old, &["spec", "healthCheckNodePort"])
        && let Some(spec) = spec_mut(new)
    {
        spec.insert("healthCheckNodePort".to_owned(), port.clone());
    }
    normalize_cluster_ips(new, old);
}

fn copy_where_empty(new: &mut Value, old: &Value, field: &str) {
    let empty = match at(new, &["spec", field]) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    if empty
        && let Some(value) = at(old, &["spec", field])
        && let Some(spec) = spec_mut(new)
    {
        spec.insert(field.to_owned(), value.clone());
    }
}

fn patch_node_ports(new: &mut Value, old: &Value) {
    let node_port = |port: &Value| i64_at(port, &["nodePort"]).unwrap_or_default();
    let old_ports = list_at(old, &["spec", "ports"]);
    let used: Vec<i64> = list_at(new, &["spec", "ports"])
        .iter()
        .map(node_port)
        .filter(|port| *port != 0 && old_ports.iter().any(|old| node_port(old) == *port))
        .collect();
    let Some(spec) = spec_mut(new) else { return };
    for port in tree::items(spec, "ports") {
        if port
            .get("nodePort")
            .and_then(Value::as_i64)
            .unwrap_or_default()
            != 0
        {
            continue;
        }
        let name = tree::text(port, "name");
        // The last of that name, as upstream's map has it.
        let before = old_ports
            .iter()
            .rev()
            .find(|old| str_at(old, &["name"]) == name)
            .map(node_port)
            .unwrap_or_default();
        if before != 0 && !used.contains(&before) {
            port.insert("nodePort".to_owned(), before.into());
        }
    }
}

/// Old clients write `clusterIP` only.
fn normalize_cluster_ips(new: &mut Value, old: &Value) {
    let (new_ip, old_ip) = (
        str_at(new, &["spec", "clusterIP"]).to_owned(),
        str_at(old, &["spec", "clusterIP"]),
    );
    let same_list = tree::same(
        at(new, &["spec", "clusterIPs"]),
        at(old, &["spec", "clusterIPs"]),
    );
    if new_ip == old_ip || !same_list {
        return;
    }
    if let Some(spec) = spec_mut(new) {
        if new_ip.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".to_owned(), json!([new_ip]));
        }
    }
}

/// Clears what a changed type has no use for, where the client did not change it too: then it is validation's to refuse.
fn drop_type_dependent(new: &mut Value, old: &Value) {
    let same =
        |new: &Value, field: &str| tree::same(at(new, &["spec", field]), at(old, &["spec", field]));
    let mut drop = Vec::new();
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        if same(new, "clusterIP") && same(new, "clusterIPs") {
            drop.extend(["clusterIP", "clusterIPs"]);
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if same(new, field) {
                drop.push(field);
            }
        }
    }
    let drop_node_ports =
        needs_node_port(old) && !needs_node_port(new) && no_new_node_ports(new, old);
    let mut unless_changed = |applies: bool, field: &'static str| {
        if applies && same(new, field) {
            drop.push(field);
        }
    };
    let was_balanced = kind_of(old) == "LoadBalancer" && kind_of(new) != "LoadBalancer";
    unless_changed(
        needs_health_check_port(old) && !needs_health_check_port(new),
        "healthCheckNodePort",
    );
    unless_changed(was_balanced, "allocateLoadBalancerNodePorts");
    unless_changed(was_balanced, "loadBalancerClass");
    unless_changed(
        needs_node_port(old) && !needs_node_port(new),
        "externalTrafficPolicy",
    );
    let balanced = kind_of(new) == "LoadBalancer";
    if let Some(spec) = spec_mut(new) {
        for field in drop {
            spec.remove(field);
        }
        if drop_node_ports {
            for port in tree::items(spec, "ports") {
                port.remove("nodePort");
            }
        }
    }
    if !balanced && let Some(status) = object::child_mut(new, "status") {
        status.insert("loadBalancer".to_owned(), json!({}));
    }
}

fn no_new_node_ports(new: &Value, old: &Value) -> bool {
    let ports = |service: &Value| -> Vec<i64> {
        list_at(service, &["spec", "ports"])
            .iter()
            .filter_map(|port| i64_at(port, &["nodePort"]))
            .filter(|port| *port != 0)
            .collect()
    };
    let before = ports(old);
    ports(new).iter().all(|port| before.contains(port))
}

fn default_affinity(spec: &mut Map<String, Value>) {
    tree::default_str(spec, "sessionAffinity", "None");
    match tree::text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let timeout = spec
                .get("sessionAffinityConfig")
                .and_then(|config| at(config, &["clientIP", "timeoutSeconds"]))
                .is_some_and(|seconds| !seconds.is_null());
            if !timeout {
                spec.insert(
                    "sessionAffinityConfig".to_owned(),
                    json!({"clientIP": {"timeoutSeconds": DEFAULT_AFFINITY_SECONDS}}),
                );
            }
        }
        _ => {}
    }
}

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        default_affinity(spec);
        tree::default_str(spec, "type", "ClusterIP");
        for port in tree::items(spec, "ports") {
            tree::default_str(port, "protocol", "TCP");
            let unset = port.get("targetPort").is_none_or(|target| {
                target.is_null() || target.as_i64() == Some(0) || target.as_str() == Some("")
            });
            if unset && let Some(number) = port.get("port").cloned() {
                port.insert("targetPort".to_owned(), number);
            }
        }
        match tree::text(spec, "type") {
            "ClusterIP" => tree::default_str(spec, "internalTrafficPolicy", "Cluster"),
            "NodePort" => {
                tree::default_str(spec, "externalTrafficPolicy", "Cluster");
                tree::default_str(spec, "internalTrafficPolicy", "Cluster");
            }
            "LoadBalancer" => {
                tree::default_str(spec, "externalTrafficPolicy", "Cluster");
                tree::default_str(spec, "internalTrafficPolicy", "Cluster");
                tree::default_value(spec, "allocateLoadBalancerNodePorts", true);
            }
            // It says nothing there, and upstream does not serve it.
            "ExternalName" => {
                spec.remove("internalTrafficPolicy");
            }
            _ => {}
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"loadBalancer": {}}));
        let Some(spec) = spec_mut(object) else { return };
        let ip = tree::text(spec, "clusterIP").to_owned();
        if !ip.is_empty()
            && spec
                .get("clusterIPs")
                .is_none_or(|ips| ips.get(0).is_none())
        {
            spec.insert("clusterIPs".to_owned(), json!([ip]));
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if part == Part::Status {
            tree::keep(new, old, "spec");
            return;
        }
        tree::keep(new, old, "status");
        patch_allocated(new, old);
        drop_type_dependent(new, old);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::validate(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        if part == Part::Status {
            rules::validate_status(new, &mut errors);
            return errors;
        }
        update::validate(new, old, &mut errors);
        rules::validate(new, &mut errors);
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        if generate_prefix {
            return names::dns1035_label(&names::mask_trailing_dash(name));
        }
        names::dns1035_label(name)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        vec![
            str_at(object, &["spec", "clusterIP"]).to_owned(),
            kind_of(object).to_owned(),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }

    fn cells(&self, object: &Value, now: i64) -> Vec<Value> {
        columns::cells(object, now)
    }
}

#[cfg(test)]
mod tests;
