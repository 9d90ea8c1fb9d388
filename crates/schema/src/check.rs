//! Checks JSONSchemaProps as a definition declares them: what no structural schema may say, and what each extension asks for.
//!
//! The tree is not yet a [`Schema`]: errors name what stands in the definition, which a schema does not keep.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{bool_at, list_at, str_at},
};
use serde_json::{Map, Value};

use crate::{Metadata, Schema, Type, prune::TYPE_AND_METADATA};

mod costs;
mod defaults;
mod expressions;
mod lists;
mod rules;
mod structural;
#[cfg(test)]
mod tests;

/// Deepest schema that is accepted; a body of JSON is no deeper.
const MAX_DEPTH: usize = 128;

/// What is asked of a schema beside being one.
pub struct Options<'a> {
    /// The type of embedded metadata.
    pub metadata: &'a dyn Metadata,
    /// The version has a status subresource: its part of the schema is used alone.
    pub status: bool,
}

/// What is wrong with `openAPIV3Schema`, which is at `path`.
pub fn check(props: &Value, path: &Path, options: &Options<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if options.status {
        status_root(props, path, &mut errors);
    }
    if bool_at(props, &["nullable"]) {
        errors.push(Error::forbidden(
            &path.child("nullable"),
            "nullable cannot be true at the root",
        ));
    }
    let draft = Schema::draft(props);
    let mut sound = None;
    if let Ok(schema) = &draft {
        let mut wrong = structural::check(props, path);
        if wrong.is_empty() {
            wrong = defaults::check(schema, path, options.metadata);
        }
        sound = wrong.is_empty().then_some(schema);
        errors.extend(wrong);
    }
    let walk = Walk {
        no_defaults: None,
        in_metadata: false,
        depth: 0,
    };
    let mut declared = ErrorList::new();
    walk.check(props, path, true, &mut declared);
    let mut rules = ErrorList::new();
    if let Some(schema) = sound {
        expressions::check(schema, props, path, &declared, &mut rules);
    }
    errors.extend(declared);
    errors.extend(rules);
    if let (Err(why), true) = (&draft, errors.is_empty()) {
        errors.push(Error::invalid(path, "", why.to_string()));
    }
    errors
}

/// Fields of JSONSchemaProps that may stand at the root beside a status subresource, as the Go type names them.
const AT_STATUS_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength \
     Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields \
     XValidations]";
/// The others.
const NOT_AT_STATUS_ROOT: [&str; 22] = [
    "id",
    "$schema",
    "$ref",
    "nullable",
    "default",
    "maxProperties",
    "minProperties",
    "enum",
    "allOf",
    "oneOf",
    "anyOf",
    "not",
    "additionalProperties",
    "patternProperties",
    "dependencies",
    "additionalItems",
    "definitions",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
];

fn status_root(props: &Value, path: &Path, errors: &mut ErrorList) {
    let ty = str_at(props, &["type"]);
    if !ty.is_empty() && ty != "object" {
        errors.push(Error::invalid(
            &path.child("type"),
            ty,
            r#"only "object" is allowed as the type at the root of the schema if the status subresource is enabled"#,
        ));
        return;
    }
    if NOT_AT_STATUS_ROOT.iter().any(|field| is_said(props, field)) {
        let why = format!(
            "only {AT_STATUS_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(Error::invalid(path, props.clone(), why));
    }
}

/// Whether a field has another than its zero value.
fn is_said(props: &Value, field: &str) -> bool {
    match props.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => {
            field == "additionalProperties" && props.get(field).is_some()
        }
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    }
}

/// Where in a schema a check is.
#[derive(Clone)]
struct Walk {
    /// Why there may be no defaults here.
    no_defaults: Option<String>,
    in_metadata: bool,
    depth: usize,
}

impl Walk {
    fn check(&self, props: &Value, path: &Path, root: bool, errors: &mut ErrorList) {
        if self.depth > MAX_DEPTH {
            errors.push(Error::forbidden(
                path,
                format!("must not be nested deeper than {MAX_DEPTH} levels"),
            ));
            return;
        }
        self.standard(props, path, errors);
        if bool_at(props, &["uniqueItems"]) {
            errors.push(Error::forbidden(
                &path.child("uniqueItems"),
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ));
        }
        self.additional(props, path, errors);
        self.properties(props, path, root, errors);
        for field in ["allOf", "anyOf", "oneOf"] {
            for (index, schema) in list_at(props, &[field]).iter().enumerate() {
                self.inner()
                    .check(schema, &path.child(field).index(index), false, errors);
            }
        }
        if let Some(not) = schema_at(props, "not") {
            self.inner().check(not, &path.child("not"), false, errors);
        }
        if let Some(items) = schema_at(props, "items") {
            self.inner()
                .check(items, &path.child("items"), false, errors);
        }
        self.unsupported(props, path, errors);
        if props.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            errors.push(Error::invalid(
                &path.child("x-kubernetes-preserve-unknown-fields"),
                false,
                "must be true or undefined",
            ));
        }
        lists::check(props, path, errors);
        rules::check(props, path, errors);
    }

    /// What is in parts that no schema may have is told beside them.
    fn unsupported(&self, props: &Value, path: &Path, errors: &mut ErrorList) {
        for field in ["definitions", "dependencies"] {
            for (name, schema) in map_at(props, field).filter(|(_, schema)| schema.is_object()) {
                let path = path.child(field).key(name.clone());
                self.inner().check(schema, &path, false, errors);
            }
        }
        for (index, schema) in list_at(props, &["items"]).iter().enumerate() {
            let path = path.child("items").index(index);
            self.inner().check(schema, &path, false, errors);
        }
    }

    fn inner(&self) -> Walk {
        Walk {
            depth: self.depth + 1,
            ..self.clone()
        }
    }

    /// What of OpenAPI no schema may say.
    fn standard(&self, props: &Value, path: &Path, errors: &mut ErrorList) {
        let ty = str_at(props, &["type"]);
        if !ty.is_empty() && Type::parse(ty).is_none() {
            let known = Type::ALL.map(Type::as_str);
            errors.push(Error::not_supported(&path.child("type"), ty, &known));
        }
        if let Some(why) = &self.no_defaults
            && props
                .get("default")
                .is_some_and(|default| !default.is_null())
        {
            errors.push(Error::forbidden(
                &path.child("default"),
                format!("must not be set {why}"),
            ));
        }
        for field in [
            "id",
            "additionalItems",
            "patternProperties",
            "definitions",
            "dependencies",
            "$ref",
        ] {
            let is_said = match field {
                // An empty one says something, too.
                "additionalItems" | "$ref" => props.get(field).is_some_and(|said| !said.is_null()),
                field => is_said(props, field),
            };
            if is_said {
                errors.push(Error::forbidden(
                    &path.child(field),
                    format!("{field} is not supported"),
                ));
            }
        }
        if ty == "null" {
            errors.push(Error::forbidden(
                &path.child("type"),
                "type cannot be set to null, use nullable as an alternative",
            ));
        }
        if props.get("items").is_some_and(Value::is_array) {
            errors.push(Error::forbidden(
                &path.child("items"),
                "items must be a schema object and not an array",
            ));
        }
        if self.in_metadata && bool_at(props, &["x-kubernetes-embedded-resource"]) {
            errors.push(Error::forbidden(
                &path.child("x-kubernetes-embedded-resource"),
                "must not be used inside of resource meta",
            ));
        }
    }

    fn additional(&self, props: &Value, path: &Path, errors: &mut ErrorList) {
        let additional = props
            .get("additionalProperties")
            .filter(|value| !value.is_null());
        let Some(additional) = additional else { return };
        let path = path.child("additionalProperties");
        if map_at(props, "properties").next().is_some() && *additional != Value::Bool(true) {
            errors.push(Error::forbidden(
                &path,
                "additionalProperties and properties are mutual exclusive",
            ));
        }
        if additional.is_object() {
            let mut inner = self.inner();
            if self.in_metadata {
                inner.no_defaults =
                    Some("inside additionalProperties applying to object metadata".to_owned());
            }
            inner.check(additional, &path, false, errors);
        }
    }

    fn properties(&self, props: &Value, path: &Path, root: bool, errors: &mut ErrorList) {
        let embedded = bool_at(props, &["x-kubernetes-embedded-resource"]);
        for (name, property) in map_at(props, "properties") {
            let mut inner = self.inner();
            if (root || embedded) && TYPE_AND_METADATA.contains(&name.as_str()) {
                inner.in_metadata = true;
                if root {
                    inner.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            inner.check(
                property,
                &path.child("properties").key(name.clone()),
                false,
                errors,
            );
        }
    }
}

/// A field that is a schema.
fn schema_at<'v>(props: &'v Value, field: &str) -> Option<&'v Value> {
    props.get(field).filter(|value| value.is_object())
}

/// A field that is a map of schemas.
fn map_at<'v>(
    props: &'v Value,
    field: &str,
) -> impl Iterator<Item = (&'v String, &'v Value)> + use<'v> {
    let map: Option<&'v Map<String, Value>> = props.get(field).and_then(Value::as_object);
    map.into_iter().flatten()
}

/// Every schema in a schema, itself too; those that are nested in alternatives as well.
pub fn walk<'v>(props: &'v Value, visit: &mut dyn FnMut(&'v Value)) {
    visit(props);
    for field in ["items", "not", "additionalProperties"] {
        if let Some(schema) = schema_at(props, field) {
            walk(schema, visit);
        }
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        for schema in list_at(props, &[field]) {
            walk(schema, visit);
        }
    }
    for (_, schema) in map_at(props, "properties") {
        walk(schema, visit);
    }
}
