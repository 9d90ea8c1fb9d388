//! VolumeAttachment.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, at, bool_at, map_at, str_at, struct_at},
};
use serde_json::{Value, json};

use super::bytes;
use crate::{
    core::{
        persistent_volume::{self, Context},
        pod_spec::{validate_csi_driver_name, validate_declared_driver_name},
    },
    kind::{BuiltIn, Column, GET_PATCH_UPDATE, Part, Scope, Strategy, Subresource, Verb, text},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "storage.k8s.io",
    version: "v1",
    kind: "VolumeAttachment",
    resource: "volumeattachments",
    singular: "volumeattachment",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[Subresource {
        name: "status",
        kind: None,
        verbs: GET_PATCH_UPDATE,
        changes: &[&["metadata", "managedFields"], &["status"]],
    }],
    storage: Some("/registry/volumeattachments"),
    definition: "io.k8s.api.storage.v1.VolumeAttachment",
    strategy: &VolumeAttachment,
    aliases: &[],
};

struct VolumeAttachment;

const MAX_METADATA_BYTES: usize = 256 * 1024;
const MAX_MESSAGE_BYTES: usize = 1024;

const COLUMNS: &[Column] = &[
    NAME,
    Column {
        name: text("Attacher"),
        kind: text("string"),
        format: text("name"),
        description: text("The driver that attaches the volume."),
        priority: 0,
    },
    column("PV", "string", "The volume."),
    column("Node", "string", "Where it is attached."),
    column("Attached", "boolean", "Whether it is."),
    AGE,
];

impl Strategy for VolumeAttachment {
    fn default(&self, object: &mut Value) {
        if let Some(status) = object::child_mut(object, "status") {
            tree::default_value(status, "attached", false);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"attached": false}));
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
        validate(object, &mut errors);
        let attacher = str_at(object, &["spec", "attacher"]);
        validate_declared_driver_name(attacher, &attacher_path(), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        validate(new, &mut errors);
        // What is declared is not looked at: all of it is immutable.
        let attacher = str_at(new, &["spec", "attacher"]);
        validate_csi_driver_name(attacher, &attacher_path(), &mut errors);
        let (now, before) = (new.get("spec"), old.get("spec"));
        validate::declared_immutable(&mut errors, &Path::new("spec"), now, before);
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
            str_at(object, &["spec", "attacher"]).into(),
            volume_name(object).unwrap_or_default().into(),
            str_at(object, &["spec", "nodeName"]).into(),
            bool_at(object, &["status", "attached"]).into(),
            table::age(object, now),
        ]
    }
}

fn attacher_path() -> Path {
    Path::new("spec").child("attacher")
}

fn volume_name(object: &Value) -> Option<&str> {
    at(object, &["spec", "source", "persistentVolumeName"])?.as_str()
}

/// All but the attacher, whose rule is told otherwise of a new object.
fn validate(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let source_path = path.child("source");
    let inline = struct_at(spec, &["source", "inlineVolumeSpec"]);
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline, volume_name(object)) {
        (None, None) => errors.push(Error::required(&source_path, ONE)),
        (Some(_), Some(_)) => errors.push(Error::forbidden(&source_path, ONE)),
        (None, Some("")) => errors.push(Error::required(
            &source_path.child("persistentVolumeName"),
            "must specify non empty persistentVolumeName",
        )),
        (None, Some(_)) => {}
        (Some(inline), None) => {
            let path = source_path.child("inlineVolumeSpec");
            persistent_volume::validate_spec(inline, Context::Inline, &path, errors);
        }
    }
    let name_of_volume = names::dns1123_subdomain;
    let source = spec.get("source").unwrap_or(&Value::Null);
    let field = "persistentVolumeName";
    validate::optional_pointer(errors, source, field, &source_path, name_of_volume);
    let node = str_at(spec, &["nodeName"]);
    let messages = names::dns1123_subdomain(node);
    validate::each(errors, &path.child("nodeName"), node, messages);
    let path = Path::new("status");
    if bytes(map_at(object, &["status", "attachmentMetadata"])) > MAX_METADATA_BYTES {
        let path = path.child("attachmentMetadata");
        errors.push(Error::too_long(&path, MAX_METADATA_BYTES));
    }
    for field in ["attachError", "detachError"] {
        if str_at(object, &["status", field, "message"]).len() > MAX_MESSAGE_BYTES {
            let path = path.child(field).child("message");
            errors.push(Error::too_long(&path, MAX_MESSAGE_BYTES));
        }
    }
}
