//! Service. Addresses and ports are allocated by the API server, between [`keep_allocated`] and the strategy.

mod allocated;
mod columns;
mod rules;
mod update;
mod warned;

use knarr_meta::{
    field::{ErrorList, Path},
    names,
    object::{self, at, i64_at, list_at, str_at},
};
use serde_json::{Map, Value, json};

pub use self::allocated::{
    cluster_ip, cluster_ips, has_selector, is_external_name, is_externally_accessible, is_headless,
    keep_allocated, kind_of, needs_health_check, normalize_create, normalize_update, spec_mut,
    wants_node_ports,
};
pub use self::rules::address_errors;
use crate::{
    kind::{
        BuiltIn, Column, NOTHING, PROXY, Part, STATUS, Scope, Strategy, Subresource, Text, Verb,
        text,
    },
    now::Now,
    tree,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "Service",
    resource: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[
        Subresource {
            name: "proxy",
            kind: Some(("", "v1", "ServiceProxyOptions")),
            verbs: PROXY,
            changes: NOTHING,
        },
        STATUS,
    ],
    storage: Some("/registry/services/specs"),
    definition: "io.k8s.api.core.v1.Service",
    strategy: &Service,
    aliases: &[],
};

/// Seconds that a client stays with its endpoint, by default.
const DEFAULT_AFFINITY_SECONDS: i64 = 10_800;

struct Service;

/// Clears what a changed type has no use for, where the client did not change it too: then it is validation's to refuse.
fn drop_type_dependent(new: &mut Value, old: &Value) {
    let same =
        |new: &Value, field: &str| tree::same(at(new, &["spec", field]), at(old, &["spec", field]));
    let mut drop = Vec::new();
    if !is_external_name(old) && is_external_name(new) {
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
        wants_node_ports(old) && !wants_node_ports(new) && no_new_node_ports(new, old);
    let mut unless_changed = |applies: bool, field: &'static str| {
        if applies && same(new, field) {
            drop.push(field);
        }
    };
    let was_balanced = kind_of(old) == "LoadBalancer" && kind_of(new) != "LoadBalancer";
    unless_changed(
        needs_health_check(old) && !needs_health_check(new),
        "healthCheckNodePort",
    );
    unless_changed(was_balanced, "allocateLoadBalancerNodePorts");
    unless_changed(was_balanced, "loadBalancerClass");
    unless_changed(
        is_externally_accessible(old) && !is_externally_accessible(new),
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

/// A load balancer that says nothing is a virtual address.
fn default_ip_modes(service: &mut Value) {
    let balancer = service
        .get_mut("status")
        .and_then(|status| status.get_mut("loadBalancer"))
        .and_then(Value::as_object_mut);
    for point in balancer.into_iter().flat_map(|b| tree::items(b, "ingress")) {
        if !tree::text(point, "ip").is_empty() {
            tree::default_value(point, "ipMode", "VIP");
        }
    }
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
            "ClusterIP" | "NodePort" => {
                tree::default_value(spec, "internalTrafficPolicy", "Cluster");
            }
            "LoadBalancer" => {
                tree::default_value(spec, "internalTrafficPolicy", "Cluster");
                tree::default_value(spec, "allocateLoadBalancerNodePorts", true);
            }
            _ => {}
        }
        if is_externally_accessible(object)
            && let Some(spec) = spec_mut(object)
        {
            tree::default_str(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind_of(object) == "LoadBalancer" {
            default_ip_modes(object);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"loadBalancer": {}}));
        normalize_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if part == Part::Status {
            tree::keep(new, old, "spec");
            return;
        }
        tree::keep(new, old, "status");
        keep_allocated(new, old);
        normalize_update(new, old);
        drop_type_dependent(new, old);
    }

    /// Of an external name it says nothing, and upstream does not show it.
    fn settle(&self, object: &mut Value) {
        if kind_of(object) == "ExternalName"
            && let Some(spec) = spec_mut(object)
        {
            spec.remove("internalTrafficPolicy");
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::validate(object, None, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        if part == Part::Status {
            rules::validate_status(new, &mut errors);
            return errors;
        }
        update::validate(new, old, &mut errors);
        rules::validate(new, Some(old), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, part: Part) -> Vec<String> {
        let mut out = Warnings::default();
        match part {
            Part::Status => {
                let path = Path::new("status").child("loadBalancer").child("ingress");
                let ingress = list_at(object, &["status", "loadBalancer", "ingress"]);
                for (index, ingress) in ingress.iter().enumerate() {
                    warnings::ip(&path.index(index), str_at(ingress, &["ip"]), &mut out);
                }
            }
            _ => warned::warn(object, &mut out),
        }
        out.into()
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::name_or_prefix(name, generate_prefix, names::dns1123_label)
    }

    fn selectable_fields(&self) -> &[Text] {
        const FIELDS: &[Text] = &[text("spec.clusterIP"), text("spec.type")];
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        vec![
            str_at(object, &["spec", "clusterIP"]).to_owned(),
            kind_of(object).to_owned(),
        ]
    }

    fn columns(&self) -> &[Column] {
        columns::COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        columns::cells(object, now)
    }
}

#[cfg(test)]
mod tests;
