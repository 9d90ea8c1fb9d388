//! ConfigMap.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::map_at,
};
use serde_json::{Map, Value};

use super::MAX_DATA_SIZE_BYTES;
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    validate,
};

pub static KIND: BuiltIn = BuiltIn {
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
        let (data, binary) = (object.get("data"), object.get("binaryData"));
        let path = Path::new("data");
        let texts = validate::data(&mut errors, data, &path, str::len);
        for (key, _) in validate::entries(data) {
            if binary.is_some_and(|binary| binary.get(key).is_some()) {
                errors.push(Error::invalid(
                    &path.key(key),
                    key.as_str(),
                    "duplicate of key present in binaryData",
                ));
            }
        }
        let path = Path::new("binaryData");
        let bytes = validate::data(&mut errors, binary, &path, validate::base64_length);
        if texts + bytes > MAX_DATA_SIZE_BYTES {
            errors.push(Error::too_long(&Path::new("[]"), MAX_DATA_SIZE_BYTES));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        validate::finalizers(&mut errors, new);
        validate::frozen(&mut errors, new, old, &["data", "binaryData"]);
        errors.extend(self.validate_create(new));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let count = |field| map_at(object, &[field]).map_or(0, Map::len);
        vec![
            table::name(object),
            (count("data") + count("binaryData")).into(),
            table::age(object, now),
        ]
    }
}
