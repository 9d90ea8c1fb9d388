//! VolumeAttributesClass.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{map_at, str_at},
};
use serde_json::{Map, Value};

use super::{validate_parameters, validate_provisioner};
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "storage.k8s.io",
    version: "v1",
    kind: "VolumeAttributesClass",
    resource: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/volumeattributesclasses"),
    definition: "io.k8s.api.storage.v1.VolumeAttributesClass",
    strategy: &VolumeAttributesClass,
    aliases: &[],
};

struct VolumeAttributesClass;

const COLUMNS: &[Column] = &[
    NAME,
    column("DriverName", "string", "The driver that applies the class."),
    AGE,
];

impl Strategy for VolumeAttributesClass {
    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_provisioner(object, "driverName", &mut errors);
        validate_parameters(object, &mut errors);
        if map_at(object, &["parameters"]).is_none_or(Map::is_empty) {
            errors.push(Error::required(
                &Path::new("parameters"),
                "must contain at least one key/value pair",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        for field in ["driverName", "parameters"] {
            if !tree::same(new.get(field), old.get(field)) {
                let why = format!("updates to {field} are forbidden.");
                errors.push(Error::forbidden(&Path::new(field), why));
            }
        }
        errors.extend(self.validate_create(new));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            str_at(object, &["driverName"]).into(),
            table::age(object, now),
        ]
    }
}
