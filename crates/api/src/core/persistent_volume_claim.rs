//! PersistentVolumeClaim.

mod data_source;
pub(crate) mod spec;
mod update;

use knarr_meta::{
    Quantity,
    field::{ErrorList, Path},
    object::{self, annotation, at, str_at},
};
use serde_json::{Map, Value, json};

pub use super::persistent::class;
use super::{
    amounts::canonicalize_resources,
    persistent::{CLASS_ANNOTATION, quantity, short_modes, volume_mode},
    pod_spec,
};
use crate::{
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "PersistentVolumeClaim",
    resource: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/persistentvolumeclaims"),
    definition: "io.k8s.api.core.v1.PersistentVolumeClaim",
    strategy: &PersistentVolumeClaim,
    aliases: &[],
};

struct PersistentVolumeClaim;

const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "Whether the claim has a volume."),
    column("Volume", "string", "The volume that the claim has."),
    column("Capacity", "string", "How much the volume holds."),
    column("Access Modes", "string", "How the volume can be mounted."),
    column("StorageClass", "string", "The claim's class."),
    column(
        "VolumeAttributesClass",
        "string",
        "The class of the volume's attributes.",
    ),
    AGE,
    wide("VolumeMode", "string", "A file system or a block device."),
];

impl Strategy for PersistentVolumeClaim {
    fn default(&self, object: &mut Value) {
        if let Some(status) = object::child_mut(object, "status") {
            tree::default_str(status, "phase", "Pending");
            for list in ["capacity", "allocatedResources"] {
                if let Some(list) = tree::existing(status, list) {
                    canonicalize_resources(list);
                }
            }
        }
        if let Some(spec) = object::child_mut(object, "spec") {
            default_spec(spec);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"phase": "Pending"}));
        if let Some(spec) = object::child_mut(object, "spec") {
            data_source::normalize(spec, None);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        match part {
            Part::Main => {
                tree::keep(new, old, "status");
                if let Some(spec) = object::child_mut(new, "spec") {
                    data_source::normalize(spec, old.get("spec"));
                }
            }
            Part::Status => tree::keep(new, old, "spec"),
            Part::Subresource(_) => {}
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = object.get("spec").unwrap_or(&Value::Null);
        spec::validate(spec, &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part != Part::Main {
            return update::validate_status(new);
        }
        let mut errors = ErrorList::new();
        let of = |object: &Value| object.get("spec").cloned().unwrap_or_default();
        let groups = spec::Groups::after(&of(old));
        spec::validate_with(&of(new), groups, &Path::new("spec"), &mut errors);
        update::validate(new, old, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, part: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if part != Part::Main {
            return out.into();
        }
        let deprecated = [(
            CLASS_ANNOTATION,
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        )];
        let metadata = object.get("metadata").unwrap_or(&Value::Null);
        warnings::annotations(metadata, &deprecated, &Path::new("metadata"), &mut out);
        if let Some(spec) = object.get("spec") {
            pod_spec::warnings::claim_spec(spec, &Path::new("spec"), &mut out);
        }
        out.into()
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let volume = str_at(object, &["spec", "volumeName"]);
        let (capacity, modes) = if volume.is_empty() {
            (String::new(), String::new())
        } else {
            let capacity = quantity(object, &["status", "capacity", "storage"]);
            let shown = capacity.unwrap_or_default().to_string();
            (shown, short_modes(object, "status"))
        };
        let phase = match object::deletion_timestamp(object) {
            Some(_) => "Terminating",
            None => str_at(object, &["status", "phase"]),
        };
        let attributes = str_at(object, &["spec", "volumeAttributesClassName"]);
        vec![
            table::name(object),
            phase.into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            class(object).into(),
            table::or(attributes, "<unset>"),
            table::age(object, now),
            volume_mode(object),
        ]
    }
}

/// Whether the claim says a class, if only that it is to have none.
pub fn has_class(claim: &Value) -> bool {
    annotation(claim, CLASS_ANNOTATION).is_some()
        || at(claim, &["spec", "storageClassName"]).is_some_and(Value::is_string)
}

/// How much the claim asks for.
pub fn requested(claim: &Value) -> Quantity {
    quantity(claim, &["spec", "resources", "requests", "storage"]).unwrap_or_default()
}

/// Fills a claim's spec, of a claim or of a template of one.
pub(crate) fn default_spec(spec: &mut Map<String, Value>) {
    tree::default_value(spec, "volumeMode", "Filesystem");
    if let Some(resources) = tree::existing(spec, "resources") {
        for list in ["requests", "limits"] {
            if let Some(list) = tree::existing(resources, list) {
                canonicalize_resources(list);
            }
        }
    }
}

#[cfg(test)]
mod tests;
