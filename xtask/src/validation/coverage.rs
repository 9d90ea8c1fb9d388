//! Which fields of the built-in kinds the examples set.
//!
//! Each kind is looked at alone, as what it makes of a type that others have too may be its own: a pod's spec in a Job is validated
//! as a Job's. Of a kind, a field is one of a type, wherever in the kind the type stands. Fields of features that are switched off
//! are left out, as a server drops them. There is none that no example sets, but for those of [`UNSET`].

use std::{collections::BTreeSet, sync::Arc};

use knarr_api::{
    Kind, Served, built_in_kinds,
    schema::{self, Definition, Schema, Type},
};
use serde_json::Value;

use super::objects::{self, Example};

/// Fields that no example can set: kinds (all, where there are none), type, fields, and why.
const UNSET: &[(&[&str], &str, &[&str], &str)] = &[
    (
        &[],
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
        TEMPLATES,
        "PodSpec",
        &["activeDeadlineSeconds"],
        "only a pod that ends by itself may have one",
    ),
    (
        &[],
        "PodSpec",
        &["ephemeralContainers"],
        "only the subresource of that name takes them",
    ),
    (
        &[],
        "ContainerStatus",
        &["stopSignal"],
        "upstream has the feature switched off, and knarr has it",
    ),
    (
        &[],
        "Lifecycle",
        &["stopSignal"],
        "upstream has the feature switched off, and knarr has it",
    ),
    (
        &["SubjectAccessReview"],
        "SubjectAccessReview",
        &["metadata"],
        "it has to be empty",
    ),
    (
        &["SelfSubjectAccessReview"],
        "SelfSubjectAccessReview",
        &["metadata"],
        "it has to be empty",
    ),
    (
        &["LocalSubjectAccessReview"],
        "ObjectMeta",
        &[
            "annotations",
            "finalizers",
            "labels",
            "name",
            "ownerReferences",
        ],
        "it has to be empty but for the namespace",
    ),
    (
        &["LocalSubjectAccessReview"],
        "SubjectAccessReviewSpec",
        &["nonResourceAttributes"],
        "what is no resource is in no namespace",
    ),
    (
        &["Role"],
        "PolicyRule",
        &["nonResourceURLs"],
        "what is no resource is in no namespace",
    ),
    (
        &["CronJob"],
        "JobSpec",
        &["manualSelector", "selector"],
        "each job gets a selector of its own",
    ),
    (
        &["Event"],
        "Event",
        &[
            "deprecatedCount",
            "deprecatedFirstTimestamp",
            "deprecatedLastTimestamp",
            "deprecatedSource",
        ],
        "what is written by that version may have none, and the other version has them by their names",
    ),
    (
        &["VolumeAttachment"],
        "PersistentVolumeSpec",
        &[
            "awsElasticBlockStore",
            "azureDisk",
            "azureFile",
            "capacity",
            "cephfs",
            "cinder",
            "claimRef",
            "fc",
            "flexVolume",
            "flocker",
            "gcePersistentDisk",
            "glusterfs",
            "hostPath",
            "iscsi",
            "local",
            "nfs",
            "nodeAffinity",
            "photonPersistentDisk",
            "portworxVolume",
            "quobyte",
            "rbd",
            "scaleIO",
            "storageClassName",
            "storageos",
            "vsphereVolume",
        ],
        "a volume inline is a driver's",
    ),
    (
        &["CustomResourceDefinition"],
        "JSONSchemaProps",
        &[
            "$ref",
            "$schema",
            "additionalItems",
            "definitions",
            "dependencies",
            "id",
            "patternProperties",
        ],
        "no schema of a definition may have them",
    ),
    (
        &["PriorityLevelConfiguration"],
        "PriorityLevelConfigurationSpec",
        &["exempt"],
        "of the one level that is there from the start; special.yaml changes it",
    ),
    (
        &["PodCertificateRequest"],
        "PodCertificateRequestStatus",
        &[
            "beginRefreshAt",
            "certificateChain",
            "notAfter",
            "notBefore",
        ],
        "the certificate has to be of the last five minutes",
    ),
];
const TEMPLATES: &[&str] = &[
    "DaemonSet",
    "Deployment",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
];

/// Types and fields of them.
type Fields = BTreeSet<(&'static str, &'static str)>;

/// Adds the fields of a type of a kind, and of all types that it is made of.
fn reachable(
    kind: &Kind,
    definition: &'static Definition,
    seen: &mut BTreeSet<&'static str>,
    into: &mut Fields,
) {
    if !seen.insert(definition.name) {
        return;
    }
    for field in definition.fields() {
        if field.schema.gate().is_some() || is_unset(kind, definition.name, field.name) {
            continue;
        }
        into.insert((definition.name, field.name));
        if let Some(inner) = inner(&field.schema) {
            reachable(kind, inner, seen, into);
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

/// The types of a kind, one a version.
fn definitions(kind: &Arc<Kind>) -> impl Iterator<Item = &'static Definition> {
    Served::all(kind).map(|served| {
        schema::definition_of_kind(served.group(), served.version(), &kind.kind).unwrap()
    })
}

fn is_unset(kind: &Kind, definition: &str, field: &str) -> bool {
    let name = definition.rsplit('.').next().unwrap();
    if (name, field) == ("ObjectMeta", "namespace") {
        return !kind.namespaced();
    }
    UNSET.iter().any(|(kinds, of, fields, _)| {
        *of == name && fields.contains(&field) && (kinds.is_empty() || kinds.contains(&&*kind.kind))
    })
}

/// What the examples of a kind set.
fn set_of(kind: &Arc<Kind>, examples: &[Example]) -> Fields {
    let mut fields = Fields::new();
    for definition in definitions(kind) {
        for example in examples {
            let schema = example.schema.filter(|schema| {
                schema
                    .definition()
                    .is_some_and(|of| of.name == definition.name)
            });
            if let Some(schema) = schema {
                set(&example.object, schema, &mut fields);
            }
        }
    }
    fields
}

#[test]
fn examples_set_all_fields() {
    let examples = objects::all().unwrap();
    let mut missing = Vec::new();
    for kind in built_in_kinds() {
        let (mut fields, mut seen) = (Fields::new(), BTreeSet::new());
        for definition in definitions(kind) {
            reachable(kind, definition, &mut seen, &mut fields);
        }
        let set = set_of(kind, &examples);
        let unset = fields.difference(&set);
        missing.extend(unset.map(|(of, field)| format!("{}: {of}: {field}", kind.kind)));
    }
    assert!(
        missing.is_empty(),
        "no example sets {} fields:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn fields_that_cannot_be_set_are_not() {
    let examples = objects::all().unwrap();
    for kind in built_in_kinds() {
        for (definition, field) in set_of(kind, &examples) {
            let unset = is_unset(kind, definition, field);
            assert!(!unset, "{}: {definition}: {field} is set", kind.kind);
        }
    }
}
