//! Whether a schema is structural: every value has a type at its own place, and alternatives only restrict values.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{bool_at, list_at, str_at},
    pattern,
};
use serde_json::{Value, json};

use super::{is_said, map_at, schema_at};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

const ALTERNATIVES: [&str; 3] = ["anyOf", "allOf", "oneOf"];

/// What keeps a schema from being structural, in the order of the messages.
pub(super) fn check(props: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    invariants(props, Level::Root, path, &mut errors);
    complete(props, Some(props), path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn invariants(props: &Value, level: Level, path: &Path, errors: &mut ErrorList) {
    let ty = str_at(props, &["type"]);
    match schema_at(props, "items") {
        Some(items) => invariants(items, Level::Item, &path.child("items"), errors),
        None if ty == "array" => {
            errors.push(Error::required(&path.child("items"), "must be specified"))
        }
        None => {}
    }
    for (name, property) in map_at(props, "properties") {
        let path = path.child("properties").key(name.clone());
        invariants(property, Level::Field, &path, errors);
    }
    let has_additional = props
        .get("additionalProperties")
        .is_some_and(|value| !value.is_null());
    if has_additional && level == Level::Root {
        let path = path.child("additionalProperties");
        errors.push(Error::forbidden(&path, "must not be used at the root"));
    }
    if let Some(schema) = schema_at(props, "additionalProperties") {
        invariants(
            schema,
            Level::Field,
            &path.child("additionalProperties"),
            errors,
        );
    }
    extensions(props, path, errors);
    let (skip_any, skip_first_all) = int_or_string(props);
    values(props, skip_any, skip_first_all, path, errors);
    types(props, level, has_additional, path, errors);
    metadata(props, level, path, errors);
}

fn extensions(props: &Value, path: &Path, errors: &mut ErrorList) {
    if !bool_at(props, &["x-kubernetes-int-or-string"]) {
        return;
    }
    for field in [
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
    ] {
        if bool_at(props, &[field]) {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.push(Error::invalid(&path.child(field), true, why));
        }
    }
}

/// The two ways in which generators say int-or-string beside its mark: as `anyOf`, and in the first of `allOf`.
fn int_or_string(props: &Value) -> (bool, bool) {
    let both = json!([{"type": "integer"}, {"type": "string"}]);
    let any = props.get("anyOf") == Some(&both);
    let first = list_at(props, &["allOf"]).first();
    (
        any,
        first.is_some_and(|first| first.get("anyOf") == Some(&both)),
    )
}

fn types(props: &Value, level: Level, has_additional: bool, path: &Path, errors: &mut ErrorList) {
    let ty = str_at(props, &["type"]);
    let embedded = bool_at(props, &["x-kubernetes-embedded-resource"]);
    let preserves = bool_at(props, &["x-kubernetes-preserve-unknown-fields"]);
    let type_path = path.child("type");
    if embedded && ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match ty {
            "" => Error::required(&type_path, why),
            ty => Error::invalid(&type_path, ty, why),
        });
    } else if ty.is_empty() && !bool_at(props, &["x-kubernetes-int-or-string"]) && !preserves {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(&type_path, why));
    }
    if embedded && has_additional {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&path.child("additionalProperties"), why));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.push(Error::invalid(&type_path, ty, "must be object at the root"));
    }
    if embedded && !preserves && map_at(props, "properties").next().is_none() {
        errors.push(Error::required(
            &path.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

/// Type and metadata have their own schema, of which little can be said again.
fn metadata(props: &Value, level: Level, path: &Path, errors: &mut ErrorList) {
    if level != Level::Root && !bool_at(props, &["x-kubernetes-embedded-resource"]) {
        return;
    }
    let property = |name: &str| {
        props
            .get("properties")
            .and_then(|properties| properties.get(name))
    };
    let path_of = |name: &str| path.child("properties").key(name);
    for name in ["kind", "apiVersion"] {
        if let Some(property) = property(name)
            && str_at(property, &["type"]) != "string"
        {
            let ty = str_at(property, &["type"]);
            errors.push(Error::invalid(
                &path_of(name).child("type"),
                ty,
                "must be string",
            ));
        }
    }
    let Some(metadata) = property("metadata") else {
        return;
    };
    let ty = str_at(metadata, &["type"]);
    if ty != "object" {
        errors.push(Error::invalid(
            &path_of("metadata").child("type"),
            ty,
            "must be object",
        ));
    }
    let only_names =
        map_at(metadata, "properties").all(|(name, _)| name == "name" || name == "generateName");
    let says_more = metadata
        .as_object()
        .into_iter()
        .flatten()
        .any(|(field, _)| {
            !matches!(field.as_str(), "type" | "properties" | "default") && is_said(metadata, field)
        });
    if level == Level::Root && (!only_names || says_more) {
        errors.push(Error::forbidden(
            &path_of("metadata"),
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        ));
    }
}

/// Restrictions of a value, and the alternatives in them.
fn values(
    props: &Value,
    skip_any: bool,
    skip_first_all: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    for field in ALTERNATIVES {
        if field == "anyOf" && skip_any {
            continue;
        }
        for (index, schema) in list_at(props, &[field]).iter().enumerate() {
            let skip_any = field == "allOf" && skip_first_all && index == 0;
            nested(schema, skip_any, &path.child(field).index(index), errors);
        }
    }
    if let Some(not) = schema_at(props, "not") {
        nested(not, false, &path.child("not"), errors);
    }
    let text = str_at(props, &["pattern"]);
    if !text.is_empty()
        && let Err(why) = pattern::compile(text)
    {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(Error::invalid(&path.child("pattern"), text, why));
    }
}

/// What an alternative may not say, and why.
const NOT_NESTED: [(&str, &str); 12] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (
        "x-kubernetes-preserve-unknown-fields",
        "must be false to be structural",
    ),
    (
        "x-kubernetes-embedded-resource",
        "must be false to be structural",
    ),
    (
        "x-kubernetes-int-or-string",
        "must be false to be structural",
    ),
    (
        "x-kubernetes-list-map-keys",
        "must be empty to be structural",
    ),
    (
        "x-kubernetes-list-type",
        "must be undefined to be structural",
    ),
    (
        "x-kubernetes-map-type",
        "must be undefined to be structural",
    ),
];

fn nested(props: &Value, skip_any: bool, path: &Path, errors: &mut ErrorList) {
    values(props, skip_any, false, path, errors);
    if let Some(items) = schema_at(props, "items") {
        nested(items, false, &path.child("items"), errors);
    }
    for (name, property) in map_at(props, "properties") {
        let path = path.child("properties").key(name.clone());
        nested(property, false, &path, errors);
        if name == "metadata" {
            errors.push(Error::forbidden(
                &path,
                "must not be specified in a nested context",
            ));
        }
    }
    for (field, why) in NOT_NESTED {
        let said = match field {
            // `false` says nothing here.
            "additionalProperties" => props
                .get(field)
                .is_some_and(|value| *value == true || value.is_object()),
            field => is_said(props, field),
        };
        if said {
            errors.push(Error::forbidden(&path.child(field), why));
        }
    }
    if !list_at(props, &["x-kubernetes-validations"]).is_empty() {
        let path = path.child("x-kubernetes-validations");
        errors.push(Error::forbidden(&path, "must be empty to be structural"));
    }
}

/// Every value that an alternative restricts is declared outside of it.
fn complete(
    props: &Value,
    declared: Option<&Value>,
    declared_at: &Path,
    path: &Path,
    errors: &mut ErrorList,
) {
    for field in ALTERNATIVES {
        for (index, schema) in list_at(props, &[field]).iter().enumerate() {
            complete_nested(
                schema,
                declared,
                declared_at,
                &path.child(field).index(index),
                errors,
            );
        }
    }
    if let Some(not) = schema_at(props, "not") {
        complete_nested(not, declared, declared_at, &path.child("not"), errors);
    }
}

fn complete_nested(
    props: &Value,
    declared: Option<&Value>,
    declared_at: &Path,
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(declared) = declared else {
        errors.push(Error::required(
            declared_at,
            format!("because it is defined in {path}"),
        ));
        return;
    };
    complete(props, Some(declared), declared_at, path, errors);
    if let Some(items) = schema_at(props, "items") {
        let below = schema_at(declared, "items");
        complete_nested(
            items,
            below,
            &declared_at.child("items"),
            &path.child("items"),
            errors,
        );
    }
    for (name, property) in map_at(props, "properties") {
        let below = declared
            .get("properties")
            .and_then(|properties| properties.get(name));
        let declared_at = declared_at.child("properties").key(name.clone());
        let path = path.child("properties").key(name.clone());
        complete_nested(property, below, &declared_at, &path, errors);
    }
}
