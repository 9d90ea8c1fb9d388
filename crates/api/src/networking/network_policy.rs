//! NetworkPolicy.

use std::collections::BTreeSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    labels::Selector,
    names,
    object::{at, i64_at, list_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::{Map, Value, json};

use super::cidr::Cidr;
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "networking.k8s.io",
    version: "v1",
    kind: "NetworkPolicy",
    resource: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/networkpolicies"),
    definition: "io.k8s.api.networking.v1.NetworkPolicy",
    strategy: &NetworkPolicy,
    aliases: &[],
};

struct NetworkPolicy;

const COLUMNS: &[Column] = &[
    NAME,
    column("Pod-Selector", "string", "Labels of the policy's pods."),
    AGE,
];

const TYPES: [&str; 2] = ["Ingress", "Egress"];
/// The rules of each direction, and the field of their peers.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        // Upstream's spec is there even where nobody gave one.
        let Some(spec) = object.as_object_mut().and_then(|p| tree::child(p, "spec")) else {
            return;
        };
        for (direction, _) in DIRECTIONS {
            for rule in tree::items(spec, direction) {
                tree::items(rule, "ports")
                    .for_each(|port| tree::default_value(port, "protocol", "TCP"));
            }
        }
        let empty = |spec: &Map<String, Value>, field: &str| {
            spec.get(field)
                .and_then(Value::as_array)
                .is_none_or(Vec::is_empty)
        };
        if empty(spec, "policyTypes") {
            let types = match empty(spec, "egress") {
                true => &TYPES[..1],
                false => &TYPES[..],
            };
            spec.insert("policyTypes".to_owned(), json!(types));
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(object, &BTreeSet::new(), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(new, &cidrs(old), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in list_at(object, &["spec", rules]).iter().enumerate() {
                let path = Path::new("spec").child(rules).index(index).child(peers);
                for (index, peer) in list_at(rule, &[peers]).iter().enumerate() {
                    let Some(block) = struct_at(peer, &["ipBlock"]) else {
                        continue;
                    };
                    let path = path.index(index).child("ipBlock");
                    warnings::cidr(&path.child("cidr"), str_at(block, &["cidr"]), &mut out);
                    for (index, range) in list_at(block, &["except"]).iter().enumerate() {
                        let path = path.child("except").index(index);
                        warnings::cidr(&path, range.as_str().unwrap_or_default(), &mut out);
                    }
                }
            }
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn counts_empty(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let empty = json!({});
        let selector = struct_at(object, &["spec", "podSelector"]).unwrap_or(&empty);
        vec![
            table::name(object),
            match Selector::from_value(Some(selector)) {
                Ok(selector) => table::or(&selector.to_string(), "<none>"),
                Err(_) => "<error>".into(),
            },
            table::age(object, now),
        ]
    }
}

/// Every range that a policy has: an update may keep those that are not as they should be.
fn cidrs(policy: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (direction, peers) in DIRECTIONS {
        let rules = list_at(policy, &["spec", direction]).iter();
        for peer in rules.flat_map(|rule| list_at(rule, &[peers])) {
            found.insert(str_at(peer, &["ipBlock", "cidr"]));
            let except = list_at(peer, &["ipBlock", "except"]);
            found.extend(except.iter().filter_map(Value::as_str));
        }
    }
    found
}

fn validate_spec(policy: &Value, kept: &BTreeSet<&str>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if let Some(selector) = struct_at(policy, &["spec", "podSelector"]) {
        validate_label_selector(selector, &path.child("podSelector"), errors);
    }
    for (direction, peers) in DIRECTIONS {
        for (index, rule) in list_at(policy, &["spec", direction]).iter().enumerate() {
            let path = path.child(direction).index(index);
            for (index, port) in list_at(rule, &["ports"]).iter().enumerate() {
                validate_port(port, &path.child("ports").index(index), errors);
            }
            for (index, peer) in list_at(rule, &[peers]).iter().enumerate() {
                validate_peer(peer, kept, &path.child(peers).index(index), errors);
            }
        }
    }
    let types = list_at(policy, &["spec", "policyTypes"]);
    let path = path.child("policyTypes");
    if types.len() > TYPES.len() {
        let message = "may not specify more than two policyTypes";
        errors.push(Error::invalid(&path, types.to_vec(), message));
        return;
    }
    for (index, type_) in types.iter().enumerate() {
        let type_ = type_.as_str().unwrap_or_default();
        if !TYPES.contains(&type_) {
            errors.push(Error::not_supported(&path.index(index), type_, &TYPES));
        }
    }
}

fn validate_port(port: &Value, path: &Path, errors: &mut ErrorList) {
    let protocol = str_at(port, &["protocol"]);
    if !protocol.is_empty() {
        let protocols = ["TCP", "UDP", "SCTP"];
        validate::one_of(errors, &path.child("protocol"), protocol, &protocols, false);
    }
    let end = i64_at(port, &["endPort"]);
    let end_path = path.child("endPort");
    let mut refuse_end = |message: &str| {
        if let Some(end) = end {
            errors.push(Error::invalid(&end_path, end, message));
        }
    };
    match at(port, &["port"]).filter(|port| !port.is_null()) {
        None => refuse_end("may not be specified when `port` is not specified"),
        Some(Value::String(name)) => {
            refuse_end("may not be specified when `port` is non-numeric");
            validate::each(errors, &path.child("port"), name, names::port_name(name));
        }
        Some(number) => {
            validate::port(errors, &path.child("port"), number.as_i64());
            if let Some(end) = end {
                if number.as_i64().is_some_and(|port| end < port) {
                    let message = "must be greater than or equal to `port`";
                    errors.push(Error::invalid(&end_path, end, message));
                }
                validate::port(errors, &end_path, Some(end));
            }
        }
    }
}

fn validate_peer(peer: &Value, kept: &BTreeSet<&str>, path: &Path, errors: &mut ErrorList) {
    let mut found = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = struct_at(peer, &[field]) {
            found += 1;
            validate_label_selector(selector, &path.child(field), errors);
        }
    }
    let block = struct_at(peer, &["ipBlock"]);
    if let Some(block) = block {
        validate_block(block, kept, &path.child("ipBlock"), errors);
    }
    match (found, block) {
        (0, None) => errors.push(Error::required(path, "must specify a peer")),
        (1.., Some(_)) => errors.push(Error::forbidden(
            path,
            "may not specify both ipBlock and another peer",
        )),
        _ => {}
    }
}

fn validate_block(block: &Value, kept: &BTreeSet<&str>, path: &Path, errors: &mut ErrorList) {
    let text = str_at(block, &["cidr"]);
    if text.is_empty() {
        errors.push(Error::required(&path.child("cidr"), ""));
        return;
    }
    let check = |text: &str, path: &Path, errors: &mut ErrorList| {
        if !kept.contains(text) {
            validate::each(errors, path, text, names::cidr(text));
        }
    };
    check(text, &path.child("cidr"), errors);
    let Some(range) = Cidr::parse(text) else {
        return;
    };
    for (index, except) in list_at(block, &["except"]).iter().enumerate() {
        let path = path.child("except").index(index);
        let text = except.as_str().unwrap_or_default();
        check(text, &path, errors);
        if Cidr::parse(text).is_some_and(|except| !range.has_within(&except)) {
            let message = "must be a strict subset of `cidr`";
            errors.push(Error::invalid(&path, text, message));
        }
    }
}

#[cfg(test)]
mod tests;
