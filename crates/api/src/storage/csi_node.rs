//! CSINode: the drivers of a node.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, list_at, str_at},
    object_meta::IMMUTABLE,
};
use serde_json::{Value, json};

use crate::{
    core::pod_spec::validate_csi_driver_name,
    kind::{BuiltIn, Column, GET_PATCH_UPDATE, Part, Scope, Strategy, Subresource, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "storage.k8s.io",
    version: "v1",
    kind: "CSINode",
    resource: "csinodes",
    singular: "csinode",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    // There without the feature of what it holds, too.
    subresources: &[Subresource {
        name: "status",
        kind: None,
        verbs: GET_PATCH_UPDATE,
        changes: &[&["metadata", "managedFields"], &["status"]],
    }],
    storage: Some("/registry/csinodes"),
    definition: "io.k8s.api.storage.v1.CSINode",
    strategy: &CsiNode,
    aliases: &[],
};

struct CsiNode;

const MAX_NODE_ID_CHARS: usize = 256;

const COLUMNS: &[Column] = &[
    NAME,
    column("Drivers", "integer", "How many drivers the node has."),
    AGE,
];

impl Strategy for CsiNode {
    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        match part {
            Part::Main => tree::keep(new, old, "status"),
            Part::Status => {
                tree::keep(new, old, "spec");
                for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
                    tree::keep_metadata(new, old, field);
                }
            }
            Part::Subresource(_) => {}
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("drivers");
        let mut seen = HashSet::new();
        for (index, driver) in list_at(object, &["spec", "drivers"]).iter().enumerate() {
            let path = path.index(index);
            let name = str_at(driver, &["name"]);
            validate_driver(driver, &path, &mut errors);
            if !seen.insert(name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            validate_topology_keys(driver, &path, &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        let drivers = |object| list_at(object, &["spec", "drivers"]);
        for before in drivers(old) {
            let name = str_at(before, &["name"]);
            let same_name = |driver: &&Value| str_at(driver, &["name"]) == name;
            for now in drivers(new).iter().filter(same_name) {
                if !tree::same(Some(&without_count(now)), Some(&without_count(before))) {
                    let path = Path::new("spec").child("drivers");
                    errors.push(Error::invalid(&path, now.clone(), IMMUTABLE));
                }
            }
        }
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            list_at(object, &["spec", "drivers"]).len().into(),
            table::age(object, now),
        ]
    }
}

/// A driver may change its mind on how many volumes fit.
fn without_count(driver: &Value) -> Value {
    let mut driver = driver.clone();
    if let Some(driver) = driver.as_object_mut() {
        driver.remove("allocatable");
    }
    driver
}

fn validate_driver(driver: &Value, path: &Path, errors: &mut ErrorList) {
    let name = str_at(driver, &["name"]);
    validate_csi_driver_name(name, &path.child("name"), errors);
    validate::filled(errors, driver, &["nodeID"], path);
    let id = str_at(driver, &["nodeID"]);
    if id.len() > MAX_NODE_ID_CHARS {
        let why = format!("must be {MAX_NODE_ID_CHARS} characters or less");
        errors.push(Error::invalid(&path.child("nodeID"), id, why));
    }
    let count = i64_at(driver, &["allocatable", "count"]);
    validate::not_negative(errors, &path.child("allocatable").child("count"), count);
}

/// Upstream names the driver in these paths, not the list.
fn validate_topology_keys(driver: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for key in list_at(driver, &["topologyKeys"]) {
        let key = key.as_str().unwrap_or_default();
        if key.is_empty() {
            errors.push(Error::required(path, ""));
        }
        if !seen.insert(key) {
            errors.push(Error::duplicate(path, key));
        }
        validate::each(errors, path, key, names::qualified_name(key));
    }
}
