//! Namespace. It is deleted in two steps: the API server sets `deletionTimestamp` and phase Terminating, the namespace
//! controller empties it and removes its finalizer through `/finalize`.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, list_at, str_at},
};
use serde_json::{Value, json};

use crate::{
    kind::{
        BuiltIn, Column, Part, STATUS, Scope, Strategy, Subresource, Text, Verb,
        WITHOUT_DELETE_COLLECTION, text,
    },
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "Namespace",
    resource: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: WITHOUT_DELETE_COLLECTION,
    subresources: &[
        Subresource {
            name: "finalize",
            kind: None,
            verbs: &[Verb::Update],
            changes: &[
                &["metadata", "annotations"],
                &["metadata", "finalizers"],
                &["metadata", "labels"],
                &["metadata", "ownerReferences"],
                &["spec", "finalizers"],
            ],
        },
        STATUS,
    ],
    storage: Some("/registry/namespaces"),
    definition: "io.k8s.api.core.v1.Namespace",
    strategy: &Namespace,
    aliases: &[],
};

/// The finalizer in `spec.finalizers` that the namespace controller owns.
pub const FINALIZER: &str = "kubernetes";
/// Every namespace carries its name in this label.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

struct Namespace;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Status",
        "string",
        "Active, or Terminating while it is deleted.",
    ),
    AGE,
];

fn label_with_name(object: &mut Value) {
    let name = object::name(object).to_owned();
    if name.is_empty() {
        return;
    }
    if let Some(metadata) = object::metadata_mut(object)
        && let Some(labels) = tree::child(metadata, "labels")
    {
        labels.insert(NAME_LABEL.to_owned(), name.into());
    }
}

/// `indexed`: whether errors name the place in the list, which upstream does for `/finalize` only.
fn validate_finalizers(object: &Value, indexed: bool, errors: &mut ErrorList) {
    let list = Path::new("spec").child("finalizers");
    let finalizers = list_at(object, &["spec", "finalizers"]);
    for (index, finalizer) in finalizers.iter().filter_map(Value::as_str).enumerate() {
        let path = if indexed {
            list.index(index)
        } else {
            list.clone()
        };
        validate::each(errors, &path, finalizer, names::qualified_name(finalizer));
        if !finalizer.contains('/')
            && !matches!(finalizer, FINALIZER | "orphan" | "foregroundDeletion")
        {
            errors.push(Error::invalid(
                &path,
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
}

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        label_with_name(object);
        if let Some(status) = object::child_mut(object, "status") {
            tree::default_str(status, "phase", "Active");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        label_with_name(object);
        tree::set(object, "status", json!({"phase": "Active"}));
        if let Some(spec) = object::child_mut(object, "spec") {
            tree::default_value(spec, "finalizers", Vec::<Value>::new());
            if let Some(finalizers) = spec.get_mut("finalizers").and_then(Value::as_array_mut)
                && !finalizers.iter().any(|f| f.as_str() == Some(FINALIZER))
            {
                finalizers.push(FINALIZER.into());
            }
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        match part {
            Part::Main => {
                tree::keep(new, old, "spec");
                tree::keep(new, old, "status");
            }
            Part::Status => tree::keep(new, old, "spec"),
            Part::Subresource(_) => {}
        }
        label_with_name(new);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_finalizers(object, false, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        match part {
            Part::Main => {}
            Part::Subresource(_) => validate_finalizers(new, true, &mut errors),
            Part::Status => {
                let phase = str_at(new, &["status", "phase"]);
                let path = Path::new("status").child("Phase");
                let deleting = object::deletion_timestamp(new).is_some();
                if !deleting && phase != "Active" {
                    errors.push(Error::invalid(
                        &path,
                        phase,
                        "may only be 'Active' if `deletionTimestamp` is empty",
                    ));
                } else if deleting && phase != "Terminating" {
                    errors.push(Error::invalid(
                        &path,
                        phase,
                        "may only be 'Terminating' if `deletionTimestamp` is not empty",
                    ));
                }
            }
        }
        errors
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::name_or_prefix(name, generate_prefix, names::dns1123_label)
    }

    fn selectable_fields(&self) -> &[Text] {
        const FIELDS: &[Text] = &[text("status.phase"), text("name")];
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        vec![
            str_at(object, &["status", "phase"]).to_owned(),
            object::name(object).to_owned(),
        ]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            str_at(object, &["status", "phase"]).into(),
            table::age(object, now),
        ]
    }
}
