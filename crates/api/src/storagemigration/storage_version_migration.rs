//! StorageVersionMigration.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, str_at},
    object_meta::IMMUTABLE,
};
use serde_json::{Map, Value};

use crate::{
    apps,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "storagemigration.k8s.io",
    version: "v1",
    kind: "StorageVersionMigration",
    resource: "storageversionmigrations",
    singular: "storageversionmigration",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/storageversionmigrations"),
    definition: "io.k8s.api.storagemigration.v1.StorageVersionMigration",
    strategy: &StorageVersionMigration,
    aliases: &[],
};

const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";

const COLUMNS: &[Column] = &[
    column("Name", "string", "Name of the object."),
    column("Resource", "string", "The resource that is migrated."),
    column("Status", "string", "How far the migration is."),
];

struct StorageVersionMigration;

fn is_true(object: &Value, condition: &str) -> bool {
    list_at(object, &["status", "conditions"])
        .iter()
        .any(|one| str_at(one, &["type"]) == condition && str_at(one, &["status"]) == "True")
}

impl Strategy for StorageVersionMigration {
    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
        if part == Part::Status {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                tree::keep_metadata(new, old, field);
            }
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_resource(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part == Part::Status {
            return validate_status(new, old);
        }
        let mut errors = self.validate_create(new);
        let path = Path::new("spec");
        validate::immutable(&mut errors, &path, new.get("spec"), old.get("spec"));
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: &Now) -> Vec<Value> {
        let resource = |field| str_at(object, &["spec", "resource", field]);
        let resource = match (resource("resource"), resource("group")) {
            (resource, "") => resource.to_owned(),
            (resource, group) => format!("{resource}.{group}"),
        };
        // Of several the last one counts, as upstream's printer.
        let state = list_at(object, &["status", "conditions"])
            .iter()
            .filter(|one| str_at(one, &["status"]) == "True")
            .map(|one| str_at(one, &["type"]))
            .rfind(|kind| matches!(*kind, "Running" | FAILED | SUCCEEDED));
        vec![
            table::name(object),
            resource.into(),
            state.unwrap_or("Unknown").into(),
        ]
    }
}

fn validate_resource(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("resource");
    let text = |field| str_at(object, &["spec", "resource", field]);
    let mut judge = |field: &'static str, value: &str, messages: Vec<String>| {
        if !messages.is_empty() {
            let path = path.child(field);
            errors.push(Error::invalid(&path, value, messages.join(",")));
        }
    };
    let (group, resource) = (text("group"), text("resource"));
    if !resource.is_empty() {
        judge("resource", resource, names::dns1035_label(resource));
    }
    if !group.is_empty() {
        judge("group", group, names::dns1123_subdomain(group));
    }
    if resource.is_empty() {
        let why = "resource is required to be set";
        errors.push(Error::required(&path.child("resource"), why));
    }
}

fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let version = |object| str_at(object, &["status", "resourceVersion"]);
    let (now, before) = (version(new), version(old));
    let at = path.child("resourceVersion");
    let digits = now.bytes().all(|byte| byte.is_ascii_digit());
    if !now.is_empty() && (!digits || now.starts_with('0')) {
        let why = format!("resource version is not well formed: {now}");
        errors.push(Error::invalid(&at, now, why));
    }
    let conditions = list_at(new, &["status", "conditions"]);
    let conditions_path = path.child("conditions");
    validate::conditions(conditions, &conditions_path, &mut errors);
    if !before.is_empty() && now != before {
        errors.push(Error::invalid(&at, now, IMMUTABLE));
    }
    let mut refuse = |why: &str| errors.push(Error::invalid(&conditions_path, conditions, why));
    if is_true(new, SUCCEEDED) && is_true(new, FAILED) {
        refuse("Both success and failed conditions cannot be true at the same time");
    }
    if is_true(old, SUCCEEDED) && !is_true(new, SUCCEEDED) {
        refuse("Success condition cannot be set to false once it is true");
    }
    if is_true(old, FAILED) && !is_true(new, FAILED) {
        refuse("Failed condition cannot be set to false once it is true");
    }
    errors
}

#[cfg(test)]
mod tests;
