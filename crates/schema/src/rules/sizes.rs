//! How large values of a schema may be, and how many of them an object may hold: what rules may cost follows from that.
//!
//! As upstream's `SchemaDeclType` (`apiserver/pkg/cel/common/schemas.go`). What a schema gives no bound to is bounded by the
//! largest request.

use knarr_cel::{Sizes, escape};
use serde_json::Value;

use crate::{Additional, Schema, Type};

/// The largest request that upstream reckons with.
const MAX_REQUEST_BYTES: u64 = 3 << 20;
/// Of JSON: the shortest and longest texts of a format, quotes included.
const DURATION_BYTES: (u64, u64) = (3, 32);
const DATE_BYTES: u64 = 12;
const DATE_TIME_BYTES: (u64, u64) = (21, 32);
const MIN_TEXT_BYTES: u64 = 2;
const MIN_BOOL_BYTES: u64 = 4;
const MIN_NUMBER_BYTES: u64 = 1;
/// A character of a text in bytes, at most.
const CHARACTER_BYTES: u64 = 4;

/// The sizes of a schema's values, and the bytes of the smallest of them; none where rules cannot see them.
pub fn of(schema: &Schema, root: bool) -> Option<(Sizes, u64)> {
    let longest = MAX_REQUEST_BYTES - 2;
    let values = schema.values.as_deref();
    let max_length = values
        .and_then(|values| values.max_length)
        .map(not_negative);
    if schema.int_or_string {
        let max = max_length.map_or(longest, |max| max.saturating_mul(CHARACTER_BYTES));
        return Some((simple(max), MIN_NUMBER_BYTES));
    }
    Some(match schema.ty? {
        Type::Boolean => (simple(0), MIN_BOOL_BYTES),
        Type::Integer | Type::Number => (simple(0), MIN_NUMBER_BYTES),
        Type::String => match values.map_or("", |values| &*values.format) {
            "byte" => (simple(max_length.unwrap_or(longest)), MIN_TEXT_BYTES),
            "duration" => (simple(DURATION_BYTES.1), DURATION_BYTES.0),
            "date" => (simple(DATE_BYTES), DATE_BYTES),
            "date-time" => (simple(DATE_TIME_BYTES.1), DATE_TIME_BYTES.0),
            _ => {
                let named = values.map_or(&[][..], |values| &values.one_of_values);
                let max = match (max_length, named) {
                    (Some(max), _) => max.saturating_mul(CHARACTER_BYTES),
                    (None, []) => longest,
                    (None, named) => {
                        let lengths = named.iter().filter_map(Value::as_str).map(str::len);
                        lengths.max().unwrap_or(0) as u64
                    }
                };
                (simple(max), MIN_TEXT_BYTES)
            }
        },
        Type::Array => {
            let items = schema.items.as_deref()?;
            let (element, bytes) = of(items, items.embedded)?;
            let max = values.and_then(|values| values.max_items);
            let max = max.map_or(longest / (bytes + 1), not_negative);
            (container(max, element, false), 2)
        }
        Type::Object => match &schema.additional {
            Additional::Of(inner) => {
                let (element, bytes) = of(inner, inner.embedded)?;
                let max = values.and_then(|values| values.max_properties);
                // A key, its quotes, a colon and a comma.
                let max = max.map_or(longest / (bytes + 6), not_negative);
                (container(max, element, true), 2)
            }
            _ => object(schema, root),
        },
    })
}

fn object(schema: &Schema, root: bool) -> (Sizes, u64) {
    let required = schema
        .values
        .as_deref()
        .map_or(&[][..], |values| &values.required);
    let mut sizes = Sizes::default();
    let mut bytes = 2_u64;
    for (name, property) in schema.properties() {
        let Some((inner, least)) = of(property, property.embedded) else {
            continue;
        };
        if let Some(escaped) = escape(name) {
            sizes.fields.insert(escaped.into(), inner);
        }
        let is_required = required.iter().any(|required| **required == *name);
        if is_required && property.default.is_none() {
            bytes = bytes
                .saturating_add(least)
                .saturating_add(name.len() as u64 + 4);
        }
    }
    if root {
        let text = || simple(MAX_REQUEST_BYTES - 2);
        for name in ["apiVersion", "kind"] {
            sizes.fields.insert(name.into(), text());
        }
        let metadata = Sizes {
            fields: ["name", "generateName"]
                .map(|name| (name.into(), text()))
                .into(),
            ..Sizes::default()
        };
        sizes.fields.insert("metadata".into(), metadata);
    }
    (sizes, bytes)
}

fn simple(max: u64) -> Sizes {
    Sizes {
        max,
        ..Sizes::default()
    }
}

fn container(max: u64, element: Sizes, is_map: bool) -> Sizes {
    Sizes {
        max,
        element: Some(Box::new(element)),
        is_map,
        ..Sizes::default()
    }
}

fn not_negative(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// How many values of so many bytes a request may hold.
pub fn most_in_a_request(bytes: u64) -> u64 {
    MAX_REQUEST_BYTES / bytes.saturating_add(1)
}

/// By how much a schema multiplies what is inside of it; none: by no number that it gives.
pub fn factor(schema: &Schema) -> Option<u64> {
    let values = schema.values.as_deref();
    match (schema.ty, &schema.additional) {
        (Some(Type::Object), Additional::Unsaid) => Some(1),
        (Some(Type::Object), _) => values?.max_properties.map(not_negative),
        (Some(Type::Array), _) => values?.max_items.map(not_negative),
        _ => Some(1),
    }
}
