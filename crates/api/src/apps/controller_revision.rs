//! ControllerRevision: an immutable snapshot of a template.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{i64_at, owner_references},
    types::split_api_version,
};
use serde_json::Value;

use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "apps",
    version: "v1",
    kind: "ControllerRevision",
    resource: "controllerrevisions",
    singular: "controllerrevision",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/controllerrevisions"),
    definition: "io.k8s.api.apps.v1.ControllerRevision",
    strategy: &ControllerRevision,
    aliases: &[],
};

struct ControllerRevision;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Controller",
        "string",
        "The object that the revision is of.",
    ),
    column("Revision", "string", "Number of the revision."),
    AGE,
];

fn validate_revision(object: &Value, errors: &mut ErrorList) {
    let revision = i64_at(object, &["revision"]);
    validate::not_negative(errors, &Path::new("revision"), revision);
}

impl Strategy for ControllerRevision {
    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("data");
        match object.get("data") {
            None | Some(Value::Null) => {
                errors.push(Error::required(&path, "data is mandatory"));
            }
            Some(Value::Object(_)) => {}
            Some(_) => {
                let why = "data must be a valid JSON object";
                errors.push(Error::required(&path, why));
            }
        }
        validate_revision(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_revision(new, &mut errors);
        validate::immutable(
            &mut errors,
            &Path::new("data"),
            new.get("data"),
            old.get("data"),
        );
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let controller = owner_references(object)
            .find(|owner| owner.controller)
            .map(|owner| {
                let (group, _) = split_api_version(owner.api_version);
                let kind = owner.kind.to_lowercase();
                if group.is_empty() {
                    format!("{kind}/{}", owner.name)
                } else {
                    format!("{kind}.{group}/{}", owner.name)
                }
            });
        vec![
            table::name(object),
            table::or(controller.as_deref().unwrap_or_default(), "<none>"),
            i64_at(object, &["revision"]).unwrap_or_default().into(),
            table::age(object, now),
        ]
    }
}
