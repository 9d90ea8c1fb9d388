//! Values of the wrong type, in the words of Go's decoders.

use std::fmt;

use serde_json::Value;

use super::Source;
use crate::schema::{Shape, Type, path::Path};

/// What a value is wanted as.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub ty: &'a Type,
    /// The type's name, where it is not that of [`GoType`].
    pub name: Option<&'static str>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(ty: &'a Type) -> Wanted<'a> {
        Wanted { ty, name: None }
    }

    /// What the elements of a list, or the values of a map, are wanted as.
    pub(super) fn element(self, ty: &'a Type) -> Wanted<'a> {
        let name = self.name.and_then(|name| match name.strip_prefix("[]") {
            Some(element) => Some(element),
            None => Some(name.strip_prefix("map[")?.split_once(']')?.1),
        });
        Wanted { ty, name }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name),
            None => fmt::Display::fmt(&GoType(self.ty), f),
        }
    }
}

/// Says what is wrong with a value.
pub(super) fn explain(
    source: Source,
    wanted: Wanted<'_>,
    value: &Value,
    path: &Path<'_>,
) -> String {
    match source {
        Source::Document => of_document(wanted, value, path),
        Source::Unstructured => of_unstructured(wanted, value),
    }
}

/// As of `encoding/json`.
pub(super) fn of_document(wanted: Wanted<'_>, value: &Value, path: &Path<'_>) -> String {
    let got = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if matches!(wanted.ty, Type::Int32 | Type::Int64) => {
            format!("number {number}")
        }
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    match path.go_field() {
        Some((of, field)) => {
            format!(
                "json: cannot unmarshal {got} into Go struct field {of}.{field} of type {wanted}"
            )
        }
        None => format!("json: cannot unmarshal {got} into Go value of type {wanted}"),
    }
}

/// As of `runtime.DefaultUnstructuredConverter`, by which upstream decodes the results of strategic patches and applies.
fn of_unstructured(wanted: Wanted<'_>, value: &Value) -> String {
    let is_integer = value.is_i64();
    let got = match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(_) if is_integer => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    };
    match wanted.ty {
        Type::List(_) | Type::Bytes => format!("cannot restore slice from {got}"),
        Type::Map(_) => format!("cannot restore map from {got}"),
        Type::Ref(_) => format!("cannot restore struct from: {got}"),
        // What Go could convert, but JSON does not.
        Type::String if is_integer => format!("cannot convert {got} to {wanted}"),
        Type::Int32 | Type::Int64 if value.is_number() => {
            format!("cannot convert {got} to {wanted}")
        }
        scalar => format!("unrecognized type: {}", GoType(scalar)),
    }
}

/// A type as Go names it: `[]v1.Container`, `map[string]string`.
struct GoType<'a>(&'a Type);

impl fmt::Display for GoType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("[]uint8"),
            Type::Int32 => f.write_str("int32"),
            Type::Int64 => f.write_str("int64"),
            Type::Double => f.write_str("float64"),
            Type::Bool => f.write_str("bool"),
            Type::List(element) => write!(f, "[]{}", GoType(&element.ty)),
            Type::Map(element) => write!(f, "map[string]{}", GoType(&element.ty)),
            Type::Ref(reference) => {
                let definition = reference.get();
                // These read themselves, of a string.
                if matches!(definition.shape, Shape::Time | Shape::MicroTime) {
                    return f.write_str("string");
                }
                let start = definition
                    .name
                    .rmatch_indices('.')
                    .nth(1)
                    .map_or(0, |(dot, _)| dot + 1);
                f.write_str(&definition.name[start..])
            }
        }
    }
}
