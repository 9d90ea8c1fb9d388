//! CustomResourceDefinition.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{self, bool_at, list_at, str_at, strings},
};
use serde_json::{Map, Value, json};

use crate::{
    kind::{BuiltIn, Column, GET_PATCH_UPDATE, Part, Scope, Strategy, Subresource, Verb, text},
    now::Now,
    schema,
    table::{self, NAME, column},
    tree,
};

pub mod approval;
mod conversion;
mod names;
mod spec;
mod status;
#[cfg(test)]
mod tests;
mod versions;

pub use status::{Condition, condition, is_true, set_condition};

pub static KIND: BuiltIn = BuiltIn {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    resource: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[Subresource {
        name: "status",
        kind: None,
        verbs: GET_PATCH_UPDATE,
        changes: &[&["metadata"], &["status"]],
    }],
    storage: Some("/registry/apiextensions.k8s.io/customresourcedefinitions"),
    definition: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    strategy: &CustomResourceDefinition,
    aliases: &[],
};

/// Holds a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

struct CustomResourceDefinition;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Scope",
        "string",
        "Whether the objects are in namespaces: Cluster or Namespaced.",
    ),
    column("Versions", "string", "The versions that are served."),
    Column {
        name: text("Created At"),
        kind: text("date"),
        format: text(""),
        description: text("When the object was created, in RFC 3339 form and UTC."),
        priority: 0,
    },
    table::wide("Group", "string", "The group of the API."),
    table::wide("Kind", "string", "The kind of the objects."),
    table::wide("ShortNames", "string", "Other names for the command line."),
    table::wide("Established", "boolean", "Whether the objects are served."),
];

/// The versions of a definition.
pub fn versions(definition: &Value) -> &[Value] {
    list_at(definition, &["spec", "versions"])
}

/// The version that is stored.
pub fn storage_version(definition: &Value) -> &str {
    let mut stored = versions(definition)
        .iter()
        .filter(|version| bool_at(version, &["storage"]));
    stored
        .next()
        .map_or("", |version| str_at(version, &["name"]))
}

impl Strategy for CustomResourceDefinition {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
            return;
        };
        if let Some(names) = tree::child(spec, "names") {
            let kind = tree::text(names, "kind").to_owned();
            tree::default_str(names, "singular", &kind.to_lowercase());
            if !kind.is_empty() {
                tree::default_str(names, "listKind", &format!("{kind}List"));
            }
        }
        tree::default_value(spec, "conversion", json!({"strategy": "None"}));
        if let Some(conversion) = tree::existing(spec, "conversion")
            && let Some(webhook) = tree::existing(conversion, "webhook")
            && let Some(config) = tree::existing(webhook, "clientConfig")
            && let Some(service) = tree::existing(config, "service")
        {
            tree::default_number(service, "port", 443);
        }
        for version in tree::items(spec, "versions") {
            if let Some(schema) = tree::existing(version, "schema")
                && let Some(props) = schema.get_mut("openAPIV3Schema")
            {
                normalize_inside(props);
            }
        }
        default_stored(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        // One without a name is stored all the same, so that nothing but the name is refused.
        let mut all = versions(object).iter();
        let stored = all.find(|version| bool_at(version, &["storage"]));
        let stored: Vec<&str> = stored.iter().map(|one| str_at(one, &["name"])).collect();
        let status = json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": stored});
        tree::set(object, "status", status);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if part != Part::Main {
            return tree::keep(new, old, "spec");
        }
        tree::keep(new, old, "status");
        let stored = storage_version(new).to_owned();
        let known = list_at(new, &["status", "storedVersions"]);
        if !stored.is_empty()
            && !known.iter().any(|name| name == &*stored)
            && let Some(status) = object::child_mut(new, "status")
        {
            tree::default_value(status, "storedVersions", Value::Array(Vec::new()));
            if let Some(list) = status
                .get_mut("storedVersions")
                .and_then(Value::as_array_mut)
            {
                list.push(stored.into());
            }
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = name(object);
        errors.extend(spec::validate(object, None));
        errors.extend(status::validate(object));
        errors.extend(status::validate_stored_versions(object));
        errors.extend(approval::validate(object, None));
        errors.extend(preserve_unknown(object, None));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part != Part::Main {
            return status::validate(new);
        }
        let mut errors = spec::validate(new, Some(old));
        errors.extend(spec::validate_immutable(new, old));
        errors.extend(status::validate(new));
        errors.extend(status::validate_stored_versions(new));
        errors.extend(approval::validate(new, Some(old)));
        errors.extend(preserve_unknown(new, Some(old)));
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        versions::warnings(object)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn begin_deletion(&self, object: &mut Value) {
        let held = object::finalizers(object).any(|finalizer| finalizer == FINALIZER);
        if !held && let Some(metadata) = object::metadata_mut(object) {
            tree::default_value(metadata, "finalizers", Value::Array(Vec::new()));
            if let Some(list) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
                list.push(FINALIZER.into());
            }
        }
        set_condition(
            object,
            Condition::Terminating,
            "True",
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        );
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: &Now) -> Vec<Value> {
        let served = versions(object)
            .iter()
            .filter(|version| bool_at(version, &["served"]));
        let mut names: Vec<String> = served
            .map(|version| {
                let storage = if bool_at(version, &["storage"]) {
                    "(storage)"
                } else {
                    ""
                };
                format!("{}{storage}", str_at(version, &["name"]))
            })
            .collect();
        names.sort();
        let short: Vec<&str> = list_at(object, &["spec", "names", "shortNames"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        vec![
            table::name(object),
            str_at(object, &["spec", "scope"]).into(),
            names.join(",").into(),
            object::creation_timestamp(object).into(),
            str_at(object, &["spec", "group"]).into(),
            str_at(object, &["spec", "names", "kind"]).into(),
            short.join(",").into(),
            is_true(object, Condition::Established).into(),
        ]
    }
}

/// Makes schemas inside a schema what their type makes of them: the table of types has them as any JSON, since they may also be
/// lists or bools. What does not decode stays, for validation to tell.
fn normalize_inside(props: &mut Value) {
    let Some(map) = props.as_object_mut() else {
        return;
    };
    for (field, value) in map.iter_mut() {
        match (field.as_str(), &mut *value) {
            ("items" | "additionalProperties" | "additionalItems", Value::Object(_)) => {
                normalize(value);
            }
            ("not", Value::Object(_)) => normalize_inside(value),
            ("properties" | "patternProperties" | "definitions", Value::Object(map)) => {
                map.values_mut().for_each(normalize_inside);
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(list)) => {
                list.iter_mut().for_each(normalize_inside)
            }
            _ => {}
        }
    }
}

fn normalize(props: &mut Value) {
    if let Some(schema) = schema::definition(PROPS) {
        // Unknown fields go in silence, as upstream's own decoder of these lets them.
        let _ = schema::strict::decode(schema, props);
    }
    normalize_inside(props);
}

/// The name says plural and group.
fn name(object: &Value) -> ErrorList {
    let wanted = format!(
        "{}.{}",
        str_at(object, &["spec", "names", "plural"]),
        str_at(object, &["spec", "group"])
    );
    let name = object::name(object);
    // That there is none is told by the rules of metadata.
    if name == wanted || name.is_empty() {
        return ErrorList::new();
    }
    let path = Path::new("metadata").child("name");
    vec![Error::invalid(
        &path,
        name,
        r#"must be spec.names.plural+"."+spec.group"#,
    )]
}

/// Objects are stored in some version: a status that knows of none gets the one they are stored in now.
fn default_stored(object: &mut Value) {
    let is_stored = |version: &Value| bool_at(version, &["storage"]);
    if !versions(object).iter().any(is_stored) {
        return;
    }
    let stored = storage_version(object).to_owned();
    let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else {
        return;
    };
    let is_empty = |known: &Value| known.as_array().is_none_or(Vec::is_empty);
    if status.get("storedVersions").is_none_or(is_empty) {
        status.insert("storedVersions".to_owned(), json!([stored]));
    }
}

fn preserve_unknown(new: &Value, old: Option<&Value>) -> ErrorList {
    let preserves = |object: &Value| bool_at(object, &["spec", "preserveUnknownFields"]);
    if !preserves(new) || old.is_some_and(preserves) {
        return ErrorList::new();
    }
    vec![Error::invalid(
        &Path::new("spec").child("preserveUnknownFields"),
        true,
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
    )]
}

/// The type of metadata, for embedded resources.
pub struct ObjectMeta;

impl knarr_schema::Metadata for ObjectMeta {
    fn coerce(&self, metadata: &mut Value) -> Result<Vec<String>, String> {
        let Some(definition) =
            schema::definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        else {
            return Ok(Vec::new());
        };
        let unknown =
            schema::strict::decode(definition, metadata).map_err(|error| error.to_string())?;
        let field = |told: String| {
            let name = told
                .strip_prefix("unknown field \"")
                .and_then(|rest| rest.strip_suffix('"'));
            name.unwrap_or(&told).to_owned()
        };
        Ok(unknown.into_iter().map(field).collect())
    }
}

/// The annotations of an object.
fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    object::map_at(object, &["metadata", "annotations"])
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    let mut found = strings(annotations(object)).filter(|(name, _)| *name == key);
    found.next().map_or("", |(_, value)| value)
}
