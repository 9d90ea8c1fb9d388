//! Ingress: which hosts and paths lead to which Services.

mod rules;

use std::collections::BTreeSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, list_at, str_at},
};
use serde_json::{Value, json};

use super::CLASS_ANNOTATION;
use crate::{
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "networking.k8s.io",
    version: "v1",
    kind: "Ingress",
    resource: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/ingress"),
    definition: "io.k8s.api.networking.v1.Ingress",
    strategy: &Ingress,
    aliases: &[],
};

struct Ingress;

/// Hosts that a row shows.
const MAX_HOSTS: usize = 3;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Class",
        "string",
        "Name of the class, which says who serves it.",
    ),
    column("Hosts", "string", "Hosts of the rules."),
    column("Address", "string", "Where it is served."),
    column("Ports", "string", "Ports on which it is served."),
    AGE,
];

impl Strategy for Ingress {
    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"loadBalancer": {}}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        let kept = match part {
            Part::Status => "spec",
            _ => "status",
        };
        tree::keep(new, old, kept);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = rules::validate(object, None);
        let annotation = class_annotation(object);
        let class = str_at(object, &["spec", "ingressClassName"]);
        let both = annotation.is_some() && at(object, &["spec", "ingressClassName"]).is_some();
        if let Some(annotation) = annotation
            && both
            && annotation != class
        {
            errors.push(Error::invalid(
                &Path::new("annotations").child(CLASS_ANNOTATION),
                annotation,
                "must match `ingressClassName` when both are specified",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        match part {
            Part::Status => validate_status(new, old),
            _ => rules::validate(new, Some(old)),
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, part: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if part == Part::Status {
            let path = Path::new("status").child("loadBalancer").child("ingress");
            let ingress = list_at(object, &["status", "loadBalancer", "ingress"]);
            for (index, ingress) in ingress.iter().enumerate() {
                warnings::ip(&path.index(index), str_at(ingress, &["ip"]), &mut out);
            }
        }
        let class = at(object, &["spec", "ingressClassName"]);
        if old.is_none() && class_annotation(object).is_some() && class.is_none() {
            out.add(format!(
                "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let secure = !list_at(object, &["spec", "tls"]).is_empty();
        vec![
            table::name(object),
            table::or(str_at(object, &["spec", "ingressClassName"]), "<none>"),
            hosts(object).into(),
            addresses(object).into(),
            if secure { "80, 443" } else { "80" }.into(),
            table::age(object, now),
        ]
    }
}

fn class_annotation(object: &Value) -> Option<&str> {
    at(object, &["metadata", "annotations", CLASS_ANNOTATION])?.as_str()
}

/// The first hosts of the rules, and how many rules follow.
fn hosts(object: &Value) -> String {
    let rules = list_at(object, &["spec", "rules"]);
    let mut shown: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == MAX_HOSTS;
        let host = str_at(rule, &["host"]);
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => shown.join(","),
        (false, true) => {
            let left = rules.len().saturating_sub(MAX_HOSTS);
            format!("{} + {left} more...", shown.join(","))
        }
    }
}

fn addresses(object: &Value) -> String {
    let served = list_at(object, &["status", "loadBalancer", "ingress"]);
    let addresses: BTreeSet<&str> = served
        .iter()
        .map(|place| match str_at(place, &["ip"]) {
            "" => str_at(place, &["hostname"]),
            ip => ip,
        })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let places = |object| list_at(object, &["status", "loadBalancer", "ingress"]);
    let known: BTreeSet<&str> = places(old)
        .iter()
        .map(|place| str_at(place, &["ip"]))
        .collect();
    let path = Path::new("status").child("loadBalancer").child("ingress");
    for (index, place) in places(new).iter().enumerate() {
        let path = path.index(index);
        let ip = str_at(place, &["ip"]);
        if !ip.is_empty() && !known.contains(ip) {
            validate::each(&mut errors, &path.child("ip"), ip, names::ip(ip));
        }
        let host = str_at(place, &["hostname"]);
        if !host.is_empty() {
            let path = path.child("hostname");
            validate::each(&mut errors, &path, host, names::dns1123_subdomain(host));
            rules::validate_no_ip(host, &path, &mut errors);
        }
    }
    errors
}
