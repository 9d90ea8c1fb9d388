//! EndpointSlice.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, at, i64_at, list_at, str_at},
};
use serde_json::Value;

use crate::{
    kind::{self, BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    resource: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/endpointslices"),
    definition: "io.k8s.api.discovery.v1.EndpointSlice",
    strategy: &EndpointSlice,
    aliases: &[],
};

struct EndpointSlice;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
/// Of zones, and of nodes.
const MAX_HINTS: usize = 8;

const COLUMNS: &[Column] = &[
    NAME,
    column("AddressType", "string", "IPv4, IPv6 or FQDN."),
    column("Ports", "string", "The first ports."),
    column("Endpoints", "string", "The first addresses."),
    AGE,
];

impl Strategy for EndpointSlice {
    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else {
            return;
        };
        for port in tree::items(map, "ports") {
            tree::default_value(port, "name", "");
            tree::default_value(port, "protocol", "TCP");
        }
    }

    /// The topology of v1beta1 cannot be written through v1.
    fn prepare_create(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            for endpoint in tree::items(map, "endpoints") {
                endpoint.remove("deprecatedTopology");
            }
        }
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _part: Part) {
        self.prepare_create(new);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = validate_address_type(object);
        validate_endpoints(object, &mut errors);
        validate_ports(list_at(object, &["ports"]), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = validate_address_type(new);
        let path = Path::new("addressType");
        let (now, before) = (new.get("addressType"), old.get("addressType"));
        // Another type is told to be none that may follow, whatever it is.
        validate::declared_immutable(&mut errors, &path, now, before);
        // Those that are stored may have been made under other rules.
        if !tree::same(new.get("endpoints"), old.get("endpoints")) {
            validate_endpoints(new, &mut errors);
        }
        validate_ports(list_at(new, &["ports"]), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if old.is_none() && str_at(object, &["addressType"]) == "FQDN" {
            out.add("spec.addressType: FQDN endpoints are deprecated");
        }
        // Those of the controllers have the form that these give them.
        let manager = object::label(object, "endpointslice.kubernetes.io/managed-by");
        let known = [
            "endpointslice-controller.k8s.io",
            "endpointslicemirroring-controller.k8s.io",
        ];
        if !manager.is_some_and(|manager| known.contains(&manager)) {
            for (index, endpoint) in list_at(object, &["endpoints"]).iter().enumerate() {
                let path = Path::new("endpoints").index(index).child("addresses");
                for (index, address) in list_at(endpoint, &["addresses"]).iter().enumerate() {
                    warnings::ip(
                        &path.index(index),
                        address.as_str().unwrap_or_default(),
                        &mut out,
                    );
                }
            }
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn counts_dropped(&self) -> bool {
        true
    }

    /// Labels count too.
    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        kind::fields_differ(new, old) || kind::metadata_differs(new, old, "labels")
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let ports: Vec<String> = list_at(object, &["ports"])
            .iter()
            .map(
                |port| match (i64_at(port, &["port"]), at(port, &["name"])) {
                    (Some(number), _) => number.to_string(),
                    (None, Some(Value::String(name))) => name.clone(),
                    _ => "*".to_owned(),
                },
            )
            .collect();
        let addresses: Vec<String> = list_at(object, &["endpoints"])
            .iter()
            .flat_map(|endpoint| list_at(endpoint, &["addresses"]))
            .filter_map(|address| address.as_str().map(str::to_owned))
            .collect();
        vec![
            table::name(object),
            str_at(object, &["addressType"]).into(),
            table::first_three(&ports, "<unset>"),
            table::first_three(&addresses, "<unset>"),
            table::age(object, now),
        ]
    }
}

fn validate_address_type(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    validate::one_of(
        &mut errors,
        &Path::new("addressType"),
        str_at(object, &["addressType"]),
        &["FQDN", "IPv4", "IPv6"],
        true,
    );
    errors
}

fn validate_endpoints(object: &Value, errors: &mut ErrorList) {
    let address_type = str_at(object, &["addressType"]);
    let endpoints = list_at(object, &["endpoints"]);
    let path = Path::new("endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(Error::too_many(&path, endpoints.len(), MAX_ENDPOINTS));
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        validate_endpoint(endpoint, address_type, &path.index(index), errors);
    }
}

fn validate_endpoint(endpoint: &Value, address_type: &str, path: &Path, errors: &mut ErrorList) {
    let addresses = list_at(endpoint, &["addresses"]);
    let list_path = path.child("addresses");
    if addresses.is_empty() {
        errors.push(Error::required(&list_path, ""));
    } else if addresses.len() > MAX_ADDRESSES {
        errors.push(Error::too_many(&list_path, addresses.len(), MAX_ADDRESSES));
    }
    for (index, address) in addresses.iter().enumerate() {
        // One that is null is empty.
        let address = address.as_str().unwrap_or_default();
        validate_address(address, address_type, &list_path, index, errors);
    }
    validate::optional_pointer(errors, endpoint, "nodeName", path, names::dns1123_subdomain);
    validate::optional_pointer(errors, endpoint, "hostname", path, names::dns1123_label);
    let path = path.child("hints");
    validate_hints(endpoint, "forZones", names::label_value, &path, errors);
    validate_hints(
        endpoint,
        "forNodes",
        names::dns1123_subdomain,
        &path,
        errors,
    );
}

fn validate_hints(
    endpoint: &Value,
    field: &'static str,
    rule: validate::Rule,
    path: &Path,
    errors: &mut ErrorList,
) {
    let hints = list_at(endpoint, &["hints", field]);
    let path = path.child(field);
    if hints.len() > MAX_HINTS {
        errors.push(Error::too_many(&path, hints.len(), MAX_HINTS));
        return;
    }
    let mut seen = HashSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let path = path.index(index).child("name");
        let name = str_at(hint, &["name"]);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
        validate::each(errors, &path, name, rule(name));
    }
}

fn validate_address(
    address: &str,
    address_type: &str,
    list_path: &Path,
    index: usize,
    errors: &mut ErrorList,
) {
    let path = list_path.index(index);
    let (messages, is_other_family) = match address_type {
        "IPv4" => (names::ip(address), address.contains(':')),
        "IPv6" => (names::canonical_ip(address), !address.contains(':')),
        "FQDN" => return validate_domain(address, &path, errors),
        _ => return,
    };
    if !messages.is_empty() {
        validate::each(errors, &path, address, messages);
        return;
    }
    if is_other_family {
        // Upstream names the list.
        let why = format!("must be an {address_type} address");
        errors.push(Error::invalid(list_path, address, why));
    }
    validate::non_special_ip(errors, &path, address);
}

fn validate_domain(address: &str, path: &Path, errors: &mut ErrorList) {
    if address.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let name = address.strip_suffix('.').unwrap_or(address);
    let messages = names::dns1123_subdomain(name);
    if !messages.is_empty() {
        errors.push(Error::invalid(path, name, messages.join(",")));
        return;
    }
    if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path, name, why));
        return;
    }
    let wrong = name.split('.').find_map(|label| {
        let messages = names::dns1123_label(label);
        (!messages.is_empty()).then(|| Error::invalid(path, label, messages.join(",")))
    });
    errors.extend(wrong);
}

fn validate_ports(ports: &[Value], errors: &mut ErrorList) {
    let path = Path::new("ports");
    if ports.len() > MAX_PORTS {
        errors.push(Error::too_many(&path, ports.len(), MAX_PORTS));
        return;
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        validate::optional(errors, port, "name", &path, names::dns1123_label);
        let name = str_at(port, &["name"]);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        validate::protocol(errors, port, &path);
        validate::optional_pointer(errors, port, "appProtocol", &path, names::qualified_name);
    }
}
