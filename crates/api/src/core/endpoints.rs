//! Endpoints.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, i64_at, list_at, str_at},
};
use serde_json::Value;

use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "Endpoints",
    resource: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/services/endpoints"),
    definition: "io.k8s.api.core.v1.Endpoints",
    strategy: &Endpoints,
    aliases: &[],
};

struct Endpoints;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Endpoints",
        "string",
        "The first addresses with their ports.",
    ),
    AGE,
];

impl Strategy for Endpoints {
    fn deprecation(&self) -> Option<&str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else {
            return;
        };
        for subset in tree::items(map, "subsets") {
            for port in tree::items(subset, "ports") {
                tree::default_str(port, "protocol", "TCP");
            }
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for (index, subset) in list_at(object, &["subsets"]).iter().enumerate() {
            validate_subset(subset, &Path::new("subsets").index(index), &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        // Those of the controller have the form that it gives them.
        if object::label(object, "endpoints.kubernetes.io/managed-by")
            != Some("endpoint-controller")
        {
            for (index, subset) in list_at(object, &["subsets"]).iter().enumerate() {
                for list in ["addresses", "notReadyAddresses"] {
                    let path = Path::new("subsets").index(index).child(list);
                    for (index, address) in list_at(subset, &[list]).iter().enumerate() {
                        let path = path.index(index).child("ip");
                        warnings::ip(&path, str_at(address, &["ip"]), &mut out);
                    }
                }
            }
        }
        out.into()
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            addresses(object),
            table::age(object, now),
        ]
    }
}

fn validate_subset(subset: &Value, path: &Path, errors: &mut ErrorList) {
    let ready = list_at(subset, &["addresses"]);
    let not_ready = list_at(subset, &["notReadyAddresses"]);
    if ready.is_empty() && not_ready.is_empty() {
        errors.push(Error::required(
            path,
            "must specify `addresses` or `notReadyAddresses`",
        ));
    }
    for (field, list) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
        for (index, address) in list.iter().enumerate() {
            let path = path.child(field).index(index);
            let ip = str_at(address, &["ip"]);
            validate::each(errors, &path.child("ip"), ip, names::ip(ip));
            validate::optional(errors, address, "hostname", &path, names::dns1123_label);
            let node = names::dns1123_subdomain;
            validate::optional_pointer(errors, address, "nodeName", &path, node);
            validate::non_special_ip(errors, &path.child("ip"), ip);
        }
    }
    let ports = list_at(subset, &["ports"]);
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        if ports.len() > 1 {
            validate::filled(errors, port, &["name"], &path);
        }
        validate::optional(errors, port, "name", &path, names::dns1123_label);
        validate::port(errors, &path.child("port"), i64_at(port, &["port"]));
        validate::protocol(errors, port, &path);
        validate::optional_pointer(errors, port, "appProtocol", &path, names::qualified_name);
    }
}

/// `10.42.0.5:80,10.42.0.6:80`; bare addresses where a subset has no ports.
fn addresses(object: &Value) -> Value {
    let mut list = Vec::new();
    let subsets = list_at(object, &["subsets"]);
    for subset in subsets {
        let ips = list_at(subset, &["addresses"])
            .iter()
            .map(|address| str_at(address, &["ip"]));
        let ports = list_at(subset, &["ports"]);
        if ports.is_empty() {
            list.extend(ips.clone().map(str::to_owned));
        }
        for port in ports {
            let port = i64_at(port, &["port"]).unwrap_or_default();
            list.extend(ips.clone().map(|ip| {
                if ip.contains(':') {
                    format!("[{ip}]:{port}")
                } else {
                    format!("{ip}:{port}")
                }
            }));
        }
    }
    table::first_three(&list, if subsets.is_empty() { "<none>" } else { "" })
}
