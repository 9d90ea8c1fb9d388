//! ServiceCIDR.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::list_at,
    object_meta::IMMUTABLE,
};
use serde_json::{Map, Value};

use super::cidr::{self, Cidr};
use crate::{
    apps,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "networking.k8s.io",
    version: "v1",
    kind: "ServiceCIDR",
    resource: "servicecidrs",
    singular: "servicecidr",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/servicecidrs"),
    definition: "io.k8s.api.networking.v1.ServiceCIDR",
    strategy: &ServiceCidr,
    aliases: &[],
};

/// The range that the cluster was made with.
pub const DEFAULT: &str = "kubernetes";

/// A range in the form that a ServiceCIDR has it in; `None` for what is no range.
pub fn canonical(text: &str) -> Option<String> {
    Some(Cidr::parse(text)?.canonical())
}

struct ServiceCidr;

const COLUMNS: &[Column] = &[
    NAME,
    column("CIDRs", "string", "One range of each family of addresses."),
    AGE,
];

fn cidrs(object: &Value) -> Vec<&str> {
    let list = list_at(object, &["spec", "cidrs"]).iter();
    list.map(|cidr| cidr.as_str().unwrap_or_default()).collect()
}

impl Strategy for ServiceCidr {
    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
        if part == Part::Status {
            tree::keep_metadata(new, old, "labels");
            tree::keep_metadata(new, old, "annotations");
            tree::keep_metadata(new, old, "finalizers");
            tree::keep_metadata(new, old, "ownerReferences");
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_cidrs(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        if part == Part::Status {
            return errors;
        }
        let path = Path::new("spec").child("cidrs");
        let (now, before) = (cidrs(new), cidrs(old));
        let changed = now.iter().zip(&before).enumerate();
        let changed = changed.filter(|(_, (now, before))| now != before);
        match (before.len(), now.len()) {
            (1, 2) => {
                for (index, (now, _)) in changed {
                    errors.push(Error::invalid(&path.index(index), *now, IMMUTABLE));
                }
                validate_cidrs(new, &mut errors);
            }
            (before, now) if before == now => {
                for (index, (now, _)) in changed {
                    errors.push(Error::invalid(&path.index(index), *now, IMMUTABLE));
                }
            }
            // Of a list that is not there Go shows nothing.
            (_, 0) => errors.push(Error::invalid(&path, Value::Null, IMMUTABLE)),
            _ => errors.push(Error::invalid(&path, now, IMMUTABLE)),
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            cidrs(object).join(",").into(),
            table::age(object, now),
        ]
    }
}

fn validate_cidrs(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("cidrs");
    let list = cidrs(object);
    match list.len() {
        0 => errors.push(Error::required(&path, "at least one CIDR required")),
        1 | 2 => {}
        _ => {
            let spec = object.get("spec").cloned().unwrap_or_default();
            errors.push(Error::invalid(&path, spec, "may only hold up to 2 values"));
            return;
        }
    }
    for (index, cidr) in list.iter().enumerate() {
        validate::each(errors, &path.index(index), cidr, cidr::errors(cidr));
    }
    let families: Vec<bool> = list
        .iter()
        .filter_map(|cidr| Some(Cidr::parse(cidr)?.is_v6()))
        .collect();
    if matches!(families[..], [first, second] if first == second) {
        errors.push(Error::invalid(
            &path,
            list,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ));
    }
}

#[cfg(test)]
mod tests;
