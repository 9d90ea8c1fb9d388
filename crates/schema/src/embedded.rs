//! Type and metadata of objects inside of objects (`x-kubernetes-embedded-resource`).

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names, object, object_meta,
};
use serde_json::{Map, Value};

use crate::Schema;

/// The type of `metadata`, which is the API's own and no schema's.
pub trait Metadata {
    /// Makes metadata what its type makes of it, and returns the paths of unknown fields that went.
    ///
    /// # Errors
    /// Why it cannot be decoded.
    fn coerce(&self, metadata: &mut Value) -> Result<Vec<String>, String>;
}

/// Decodes type and metadata of resources that are embedded in a value. Returns the paths of unknown fields that went, sorted.
/// `root`: the value is an object itself, whose own type and metadata are not looked at.
///
/// # Errors
/// The first that cannot be decoded.
pub fn coerce(
    object: &mut Value,
    schema: &Schema,
    metadata: &dyn Metadata,
    root: bool,
) -> Result<Vec<String>, Error> {
    let mut unknown = Vec::new();
    let path = Path::root();
    if !root
        && schema.embedded
        && let Some(map) = object.as_object_mut()
    {
        coerce_type(map, metadata, &path, &mut unknown)?;
    }
    coerce_inside(object, schema, metadata, &path, &mut unknown)?;
    unknown.sort();
    Ok(unknown)
}

fn coerce_value(
    value: &mut Value,
    schema: &Schema,
    metadata: &dyn Metadata,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    if schema.embedded
        && let Some(map) = value.as_object_mut()
    {
        coerce_type(map, metadata, path, unknown)?;
    }
    coerce_inside(value, schema, metadata, path, unknown)
}

fn coerce_inside(
    value: &mut Value,
    schema: &Schema,
    metadata: &dyn Metadata,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if let Some(property) = schema.property(key) {
                    coerce_value(inner, property, metadata, &path.child(key.clone()), unknown)?;
                } else if let Some(additional) = schema.field(key) {
                    coerce_value(inner, additional, metadata, &path.key(key.clone()), unknown)?;
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for (index, item) in list.iter_mut().enumerate() {
                    coerce_value(item, items, metadata, &path.index(index), unknown)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn coerce_type(
    map: &mut Map<String, Value>,
    metadata: &dyn Metadata,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    for field in ["apiVersion", "kind"] {
        if let Some(value) = map.get(field).filter(|value| !value.is_string()) {
            return Err(Error::invalid(
                &path.child(field),
                value.clone(),
                "must be a string",
            ));
        }
    }
    if let Some(inner) = map.get_mut("metadata") {
        let path = path.child("metadata");
        let given = inner.clone();
        let gone = metadata
            .coerce(inner)
            .map_err(|why| Error::invalid(&path, given, why))?;
        unknown.extend(gone.into_iter().map(|field| format!("{path}.{field}")));
    }
    Ok(())
}

/// What is wrong with type and metadata of embedded resources. The root's are validated as those of every object.
pub fn validate(object: &Value, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    validate_inside(object, schema, &Path::root(), &mut errors);
    errors
}

pub(crate) fn validate_value(value: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList) {
    if schema.embedded
        && let Some(map) = value.as_object()
    {
        validate_type(map, path, errors);
    }
    validate_inside(value, schema, path, errors);
}

fn validate_inside(value: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if let Some(property) = schema.property(key) {
                    validate_value(inner, property, &path.child(key.clone()), errors);
                } else if let Some(additional) = schema.field(key) {
                    validate_value(inner, additional, &path.key(key.clone()), errors);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for (index, item) in list.iter().enumerate() {
                    validate_value(item, items, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn validate_type(map: &Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    let (version, kind) = (path.child("apiVersion"), path.child("kind"));
    match map.get("apiVersion") {
        None => errors.push(Error::required(&version, "")),
        Some(Value::String(text)) if text.is_empty() => {
            errors.push(Error::invalid(&version, "", "must not be empty"));
        }
        Some(Value::String(text)) if text.matches('/').count() > 1 => {
            let why = format!("unexpected GroupVersion string: {text}");
            errors.push(Error::invalid(&version, text.as_str(), why));
        }
        Some(Value::String(_)) => {}
        Some(other) => errors.push(Error::invalid(&version, other.clone(), "must be a string")),
    }
    match map.get("kind") {
        None => errors.push(Error::required(&kind, "")),
        Some(Value::String(text)) if text.is_empty() => {
            errors.push(Error::invalid(&kind, "", "must not be empty"));
        }
        Some(Value::String(text)) => {
            let wrong = names::dns1035_label(&text.to_lowercase());
            if !wrong.is_empty() {
                let why = format!(
                    "may have mixed case, but should otherwise match: {}",
                    wrong.join(",")
                );
                errors.push(Error::invalid(&kind, text.as_str(), why));
            }
        }
        Some(other) => errors.push(Error::invalid(&kind, other.clone(), "must be a string")),
    }
    if let Some(metadata) = map.get("metadata").filter(|metadata| metadata.is_object()) {
        errors.extend(validate_metadata(metadata, &path.child("metadata")));
    }
}

fn validate_metadata(metadata: &Value, path: &Path) -> ErrorList {
    let mut metadata = metadata.clone();
    if object::str_at(&metadata, &["name"]).is_empty()
        && let Some(map) = metadata.as_object_mut()
    {
        // An embedded resource need not have a name.
        map.insert("name".to_owned(), Value::from("fakename"));
    }
    let namespaced = !object::str_at(&metadata, &["namespace"]).is_empty();
    object_meta::validate_with(&metadata, namespaced, names::path_segment, path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Names;

    impl Metadata for Names {
        fn coerce(&self, metadata: &mut Value) -> Result<Vec<String>, String> {
            let map = metadata.as_object_mut().ok_or("json: cannot unmarshal")?;
            let odd: Vec<String> = map.keys().filter(|key| *key != "name").cloned().collect();
            map.retain(|key, _| key == "name");
            Ok(odd)
        }
    }

    fn schema() -> Schema {
        Schema::parse(&json!({"type": "object", "properties": {"pods": {"type": "array", "items": {
            "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
        }}}}))
        .expect("a schema")
    }

    #[test]
    fn unknown_metadata_goes() {
        let mut object = json!({"pods": [{"metadata": {"name": "a", "odd": 1}}]});
        assert_eq!(
            coerce(&mut object, &schema(), &Names, true),
            Ok(vec!["pods[0].metadata.odd".to_owned()])
        );
        assert_eq!(object, json!({"pods": [{"metadata": {"name": "a"}}]}));
        let mut wrong = json!({"pods": [{"kind": 5}]});
        let error = coerce(&mut wrong, &schema(), &Names, true).expect_err("no string");
        assert_eq!(
            error.to_string(),
            "pods[0].kind: Invalid value: 5: must be a string"
        );
    }

    #[test]
    fn types_are_needed_and_names_are_valid() {
        let object = json!({"pods": [
            {"kind": "Pod!", "apiVersion": "a/b/c", "metadata": {"name": "a/b"}},
            {},
            {"kind": "Pod", "apiVersion": "v1", "metadata": {}},
        ]});
        let lines: Vec<String> = validate(&object, &schema())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(
            lines[0].starts_with(
                "pods[0].apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion"
            )
        );
        assert!(lines[2].starts_with("pods[0].metadata.name: Invalid value: \"a/b\""));
        assert_eq!(lines[3], "pods[1].apiVersion: Required value");
    }
}
