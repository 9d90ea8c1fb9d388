//! StorageClass.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, annotation, list_at, str_at},
    time,
};
use serde_json::Value;

use super::{validate_parameters, validate_provisioner};
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, Listing, NAME, column},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "storage.k8s.io",
    version: "v1",
    kind: "StorageClass",
    resource: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/storageclasses"),
    definition: "io.k8s.api.storage.v1.StorageClass",
    strategy: &StorageClass,
    aliases: &[],
};

struct StorageClass;

/// Claims without a class get the class that bears one of these with the value "true".
const DEFAULT_ANNOTATIONS: &[&str] = &[
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// What a class stays as it was made.
const FROZEN: &[&str] = &[
    "parameters",
    "provisioner",
    "reclaimPolicy",
    "volumeBindingMode",
];

const COLUMNS: &[Column] = &[
    NAME,
    column("Provisioner", "string", "Who makes volumes of the class."),
    column(
        "ReclaimPolicy",
        "string",
        "What becomes of a volume once its claim is gone.",
    ),
    column(
        "VolumeBindingMode",
        "string",
        "Whether a claim waits for its first pod.",
    ),
    column(
        "AllowVolumeExpansion",
        "string",
        "Whether claims can be resized.",
    ),
    AGE,
];

impl Strategy for StorageClass {
    fn default(&self, object: &mut Value) {
        if let Some(class) = object.as_object_mut() {
            tree::default_value(class, "reclaimPolicy", "Delete");
            tree::default_value(class, "volumeBindingMode", "Immediate");
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_provisioner(object, "provisioner", &mut errors);
        validate_parameters(object, &mut errors);
        for (field, values, required) in [
            ("reclaimPolicy", &["Delete", "Retain"], false),
            (
                "volumeBindingMode",
                &["Immediate", "WaitForFirstConsumer"],
                true,
            ),
        ] {
            let value = str_at(object, &[field]);
            let path = Path::new(field);
            if value.is_empty() && required {
                errors.push(Error::not_supported(&path, value, values));
            }
            validate::one_of(&mut errors, &path, value, values, false);
        }
        validate_topologies(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        validate::finalizers(&mut errors, new);
        for field in FROZEN {
            let (now, before) = (new.get(field), old.get(field));
            validate::declared_immutable(&mut errors, &Path::new(*field), now, before);
        }
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        for (index, term) in list_at(object, &["allowedTopologies"]).iter().enumerate() {
            let path = Path::new("allowedTopologies")
                .index(index)
                .child("matchLabelExpressions");
            let expressions = list_at(term, &["matchLabelExpressions"]);
            for (index, expression) in expressions.iter().enumerate() {
                if let Some(text) = warnings::node_label(str_at(expression, &["key"])) {
                    out.at(&path.index(index).child("key"), text);
                }
            }
        }
        out.into()
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn listing(&self) -> Option<fn(&[Value]) -> Listing> {
        Some(listing)
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            str_at(object, &["provisioner"]).into(),
            table::or(str_at(object, &["reclaimPolicy"]), "Delete"),
            table::or(str_at(object, &["volumeBindingMode"]), "Immediate"),
            object::bool_at(object, &["allowVolumeExpansion"]).into(),
            table::age(object, now),
        ]
    }
}

/// Of several classes that say so, the youngest is the default, and of those the first by name.
fn listing(classes: &[Value]) -> Listing {
    let marked = classes.iter().enumerate().filter(|(_, o)| is_default(o));
    let youngest = marked.max_by_key(|(_, class)| {
        let made = time::parse_unix_seconds(object::creation_timestamp(class));
        (made, Reverse(object::name(class)))
    });
    Listing {
        order: (0..classes.len()).collect(),
        default: youngest.map(|(index, _)| index),
    }
}

/// Whether claims without a class get this one.
pub fn is_default(class: &Value) -> bool {
    let mut keys = DEFAULT_ANNOTATIONS.iter();
    keys.any(|key| annotation(class, key) == Some("true"))
}

/// Upstream tells of each two terms that are equal. With so many errors nobody misses those that follow, and no long list of one
/// term costs its square.
const MAX_REPEATS: usize = 256;

/// Where volumes of the class can be made: no term twice, no key twice in a term.
fn validate_topologies(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("allowedTopologies");
    let topologies = list_at(object, &["allowedTopologies"]);
    // Upstream's list of what it has read begins with as many empty terms as there are.
    let mut terms: BTreeMap<BTreeMap<&str, BTreeSet<&str>>, usize> =
        BTreeMap::from([(BTreeMap::new(), topologies.len())]);
    for (index, term) in topologies.iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        let mut read = BTreeMap::new();
        for (index, expression) in list_at(term, &["matchLabelExpressions"]).iter().enumerate() {
            let path = path.index(index);
            let values = validate_values(expression, &path.child("values"), errors);
            let key = str_at(expression, &["key"]);
            validate::each(errors, &path.child("key"), key, names::qualified_name(key));
            if read.insert(key, values).is_some() {
                errors.push(Error::duplicate(&path.child("key"), key));
            }
        }
        let equal = terms.entry(read).or_default();
        let room = MAX_REPEATS.saturating_sub(errors.len());
        errors.extend((0..(*equal).min(room)).map(|_| Error::duplicate(&path, "")));
        *equal = equal.saturating_add(1);
    }
}

fn validate_values<'a>(
    expression: &'a Value,
    path: &Path,
    errors: &mut ErrorList,
) -> BTreeSet<&'a str> {
    let values = list_at(expression, &["values"]);
    if values.is_empty() {
        errors.push(Error::required(path, ""));
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        if !seen.insert(value) {
            errors.push(Error::duplicate(&path.index(index), value));
        }
    }
    seen
}
