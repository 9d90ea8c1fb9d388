//! DeviceClass.

use knarr_meta::{
    field::{ErrorList, Path},
    names::extended_resource,
    object::{list_at, str_at},
};
use serde_json::Value;

use super::{
    GROUP, bounded,
    selectors::{self, Expressions},
};
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "DeviceClass",
    resource: "deviceclasses",
    singular: "deviceclass",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/deviceclasses"),
    definition: "io.k8s.api.resource.v1.DeviceClass",
    strategy: &DeviceClass,
    aliases: &[],
};

const MAX_CONFIGS: usize = 32;

const COLUMNS: &[Column] = &[NAME, AGE];

struct DeviceClass;

impl Strategy for DeviceClass {
    fn validate_create(&self, object: &Value) -> ErrorList {
        validate(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        validate(new, Some(old))
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![table::name(object), table::age(object, now)]
    }
}

fn validate(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let old = old.map(|old| old.get("spec").unwrap_or(&Value::Null));
    // What is as it was, in the same order, is as valid as it was.
    let stored = |field| old.is_some_and(|old| tree::same(old.get(field), spec.get(field)));
    selectors::validate(
        list_at(spec, &["selectors"]),
        stored("selectors"),
        &mut Expressions::default(),
        &path.child("selectors"),
        &mut errors,
    );
    let is_stored = stored("config");
    bounded::slice(
        list_at(spec, &["config"]),
        MAX_CONFIGS,
        &path.child("config"),
        &mut errors,
        |config, path, errors| selectors::validate_config(config, is_stored, path, errors),
    );
    if spec
        .get("extendedResourceName")
        .is_some_and(|name| !name.is_null())
    {
        let name = str_at(spec, &["extendedResourceName"]);
        let path = path.child("extendedResourceName");
        validate::each(&mut errors, &path, name, extended_resource(name));
    }
    errors
}
