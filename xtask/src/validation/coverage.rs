//! Which fields of the built-in kinds the examples set.
//!
//! A field is one of a type, wherever the type is used: what reads, merges and validates objects goes by types, so that a type
//! whose fields are all set in one place is seen. Fields of features that are switched off are left out, as a server drops them.
//! Kinds of [`WHOLE`] have no field that no example sets, but for those of [`UNSET`]. Of the others those are counted, and the
//! count only falls.

use std::collections::BTreeSet;

use knarr_api::{
    Served, built_in_kinds,
    schema::{self, Definition, Schema, Type},
};
use serde_json::Value;

use super::objects;

/// Kinds all of whose fields are set.
const WHOLE: [&str; 11] = [
    "ConfigMap",
    "Endpoints",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "ResourceQuota",
    "Secret",
    "ServiceAccount",
];
/// How many fields of the others no example sets.
const MISSING: usize = 398;

/// Fields that no example can set, and why.
const UNSET: &[(&str, &[&str], &str)] = &[
    (
        "ObjectMeta",
        &[
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "generateName",
            "generation",
            "managedFields",
            "resourceVersion",
            "selfLink",
            "uid",
        ],
        "what a server makes of them is in special.yaml",
    ),
    (
        "ManagedFieldsEntry",
        &[
            "apiVersion",
            "fieldsType",
            "fieldsV1",
            "manager",
            "operation",
            "subresource",
            "time",
        ],
        "a server's own; the round trips compare them",
    ),
    (
        "PodSpec",
        &["ephemeralContainers"],
        "only the subresource of that name takes them",
    ),
    (
        "ContainerStatus",
        &["stopSignal"],
        "upstream has the feature switched off, and knarr has it",
    ),
    (
        "Lifecycle",
        &["stopSignal"],
        "upstream has the feature switched off, and knarr has it",
    ),
];

/// Types and fields of them.
type Fields = BTreeSet<(&'static str, &'static str)>;

/// Adds the fields of a type, and of all types that it is made of.
fn reachable(
    definition: &'static Definition,
    seen: &mut BTreeSet<&'static str>,
    into: &mut Fields,
) {
    if !seen.insert(definition.name) {
        return;
    }
    for field in definition.fields() {
        if field.schema.gate().is_some() {
            continue;
        }
        into.insert((definition.name, field.name));
        if let Some(inner) = inner(&field.schema) {
            reachable(inner, seen, into);
        }
    }
}

fn inner(schema: &'static Schema) -> Option<&'static Definition> {
    match &schema.ty {
        Type::List(element) | Type::Map(element) => inner(element),
        _ => schema.definition(),
    }
}

/// Adds the fields that an object sets.
fn set(value: &Value, schema: &'static Schema, into: &mut Fields) {
    match (&schema.ty, value) {
        (Type::List(element), Value::Array(list)) => {
            list.iter().for_each(|value| set(value, element, into));
        }
        (Type::Map(element), Value::Object(map)) => {
            map.values().for_each(|value| set(value, element, into));
        }
        (Type::Ref(reference), Value::Object(map)) => {
            let definition = reference.get();
            for (name, value) in map {
                if let Some(field) = definition.field(name) {
                    into.insert((definition.name, field.name));
                    set(value, &field.schema, into);
                }
            }
        }
        _ => {}
    }
}

fn all_set() -> Fields {
    let mut fields = Fields::new();
    for example in objects::all().unwrap() {
        if let Some(schema) = example.schema {
            set(&example.object, schema, &mut fields);
        }
    }
    fields
}

/// The fields of kinds, but for those that cannot be set.
fn fields_of(wanted: impl Fn(&str) -> bool) -> Fields {
    let (mut fields, mut seen) = (Fields::new(), BTreeSet::new());
    for kind in built_in_kinds().iter().filter(|kind| wanted(&kind.kind)) {
        for served in Served::all(kind) {
            let (group, version) = (served.group(), served.version());
            let definition = schema::definition_of_kind(group, version, &kind.kind);
            reachable(definition.unwrap(), &mut seen, &mut fields);
        }
    }
    fields.retain(|(definition, field)| !is_unset(definition, field));
    fields
}

fn is_unset(definition: &str, field: &str) -> bool {
    let name = definition.rsplit('.').next().unwrap();
    UNSET
        .iter()
        .any(|(of, fields, _)| *of == name && fields.contains(&field))
        // Of that subresource alone, with the fields of any container.
        || name == "EphemeralContainer"
}

fn shown<'f>(fields: impl Iterator<Item = &'f (&'static str, &'static str)>) -> String {
    let lines: Vec<String> = fields
        .map(|(definition, field)| format!("{definition}: {field}"))
        .collect();
    lines.join("\n")
}

#[test]
fn whole_kinds_have_all_fields_set() {
    let set = all_set();
    let missing = shown(fields_of(|kind| WHOLE.contains(&kind)).difference(&set));
    assert!(missing.is_empty(), "no example sets\n{missing}");
}

#[test]
fn fields_that_no_example_sets_become_fewer() {
    let set = all_set();
    let fields = fields_of(|_| true);
    let missing: Vec<_> = fields.difference(&set).collect();
    let count = missing.len();
    let list = shown(missing.into_iter());
    assert_eq!(
        count,
        MISSING,
        "of {} fields, no example sets\n{list}",
        fields.len()
    );
}

#[test]
fn fields_that_cannot_be_set_are_not() {
    for (definition, field) in all_set() {
        assert!(!is_unset(definition, field), "{definition}: {field} is set");
    }
}
