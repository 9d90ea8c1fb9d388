//! ConfigMap.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::MAX_DATA_SIZE_BYTES;
use crate::{
    kind::{Column, Kind, Part, Scope, Strategy, Verb},
    table::{self, AGE, NAME, column},
    validate,
};

pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    resource: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/configmaps"),
    definition: "io.k8s.api.core.v1.ConfigMap",
    strategy: &ConfigMap,
    aliases: &[],
};

struct ConfigMap;

const COLUMNS: &[Column] = &[NAME, column("Data", "string", "Number of entries."), AGE];

impl Strategy for ConfigMap {
    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let binary = object.get("binaryData");
        let mut total = 0;
        for (key, value) in validate::entries(object.get("data")) {
            let path = || Path::new("data").key(key);
            for message in names::config_map_key(key) {
                errors.push(Error::invalid(&path(), key.as_str(), message));
            }
            if binary.is_some_and(|binary| binary.get(key).is_some()) {
                errors.push(Error::invalid(
                    &path(),
                    key.as_str(),
                    "duplicate of key present in binaryData",
                ));
            }
            total += value.len();
        }
        for (key, value) in validate::entries(binary) {
            for message in names::config_map_key(key) {
                let path = Path::new("binaryData").key(key);
                errors.push(Error::invalid(&path, key.as_str(), message));
            }
            total += validate::base64_length(value);
        }
        if total > MAX_DATA_SIZE_BYTES {
            errors.push(Error::too_long(&Path::root(), MAX_DATA_SIZE_BYTES));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        validate::frozen(&mut errors, new, old, &["data", "binaryData"]);
        errors.extend(self.validate_create(new));
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: i64) -> Vec<Value> {
        let count = |field| {
            object
                .get(field)
                .and_then(Value::as_object)
                .map_or(0, |m| m.len())
        };
        vec![
            table::name(object),
            (count("data") + count("binaryData")).into(),
            table::age(object, now),
        ]
    }
}
