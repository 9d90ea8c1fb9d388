//! What the tests of kinds share.

use knarr_meta::field::ErrorList;
use serde::de::DeserializeSeed;
use serde_json::Value;

use crate::{
    core::forgive_kept,
    kind::{BuiltIn, Part},
    now::Now,
    schema::disabled,
};

/// The object as it is stored after a create without admission.
pub(crate) fn created(kind: &BuiltIn, object: Value) -> Value {
    let mut object = prepared(kind, object);
    kind.strategy.settle(&mut object);
    object
}

/// The object as a create validates it.
pub(crate) fn prepared(kind: &BuiltIn, mut object: Value) -> Value {
    kind.strategy.default(&mut object);
    kind.strategy.prepare_create(&mut object);
    disabled::drop(kind.definition, &mut object, None);
    object
}

/// The errors of creating the object, one a line.
pub(crate) fn create_errors(kind: &BuiltIn, object: Value) -> String {
    lines(&kind.strategy.validate_create(&prepared(kind, object)))
}

/// The object as it is stored after an update.
pub(crate) fn updated(kind: &BuiltIn, mut new: Value, old: &Value, part: Part) -> Value {
    kind.strategy.default(&mut new);
    kind.strategy.prepare_update(&mut new, old, part);
    disabled::drop(kind.definition, &mut new, Some(old));
    kind.strategy.settle(&mut new);
    new
}

/// The errors of updating `old` to `new`, one a line.
pub(crate) fn update_errors(kind: &BuiltIn, new: Value, old: &Value, part: Part) -> String {
    let mut new = new;
    kind.strategy.default(&mut new);
    kind.strategy.prepare_update(&mut new, old, part);
    disabled::drop(kind.definition, &mut new, Some(old));
    let mut errors = kind.strategy.validate_update(&new, old, part);
    forgive_kept(old, &mut errors);
    lines(&errors)
}

pub(crate) fn lines(errors: &ErrorList) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The cells in one line, made of what they are said to be made of.
pub(crate) fn row(kind: &BuiltIn, object: &Value, now: i64) -> String {
    let json = object.to_string();
    let mut deserializer = serde_json::Deserializer::from_str(&json);
    let shown = kind.strategy.shown().deserialize(&mut deserializer);
    let shown = shown.expect("JSON");
    let conditions = |object: &Value| kind.strategy.row_conditions(object);
    assert_eq!(conditions(&shown), conditions(object));
    let cells: Vec<String> = kind
        .strategy
        .cells(&shown, &Now::new(now))
        .iter()
        .map(|cell| match cell {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    cells.join(" | ")
}

/// Pretty JSON.
pub(crate) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
