//! The Table view: columns and cells that many kinds share, and ages as people read them.

use knarr_meta::object;
use serde_json::Value;

use crate::column::{Column, text};
use crate::now::Now;

/// The first column of nearly every kind.
pub const NAME: Column = Column {
    name: text("Name"),
    kind: text("string"),
    format: text("name"),
    description: text("Name of the object, unique within its namespace."),
    priority: 0,
};

/// How long the object exists.
pub const AGE: Column = Column {
    name: text("Age"),
    kind: text("string"),
    format: text(""),
    description: text("Time since the object was created."),
    priority: 0,
};

/// Columns of a kind without a printer of its own, as upstream's default convertor.
pub const DEFAULT_COLUMNS: &[Column] = &[
    NAME,
    Column {
        name: text("Created At"),
        kind: text("date"),
        format: text(""),
        description: text("When the object was created, in RFC 3339 form and UTC."),
        priority: 0,
    },
];

/// What the Table of a list shows that one of a single object does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The objects, by where they are in the list, in the order of their rows.
    pub order: Vec<usize>,
    /// Which of them is called the default.
    pub default: Option<usize>,
}

/// Cells of [`DEFAULT_COLUMNS`].
pub fn default_cells(object: &Value, _now: &Now) -> Vec<Value> {
    vec![name(object), object::creation_timestamp(object).into()]
}

/// A column that is always shown.
pub const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column {
        name: text(name),
        kind: text(kind),
        format: text(""),
        description: text(description),
        priority: 0,
    }
}

/// A column that is shown with `-o wide` only.
pub const fn wide(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column {
        name: text(name),
        kind: text(kind),
        format: text(""),
        description: text(description),
        priority: 1,
    }
}

/// The object's name.
pub fn name(object: &Value) -> Value {
    object::name(object).into()
}

/// The object's age.
pub fn age(object: &Value, now: &Now) -> Value {
    now.since(object::creation_timestamp(object)).into()
}

/// The text, or what stands for nothing.
pub fn or(text: &str, nothing: &str) -> Value {
    if text.is_empty() { nothing } else { text }.into()
}

/// Labels as `a=b,c=d`, or `<none>`.
pub fn labels(map: Option<&Value>) -> Value {
    let pairs: Vec<String> = object::strings(map.and_then(Value::as_object))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    or(&pairs.join(","), "<none>")
}

/// At most three of a list: `a,b,c + 2 more...`; `<unset>` when empty.
pub fn first_three(list: &[String], empty: &str) -> Value {
    const MAX: usize = 3;
    if list.is_empty() {
        return empty.into();
    }
    let shown = list[..list.len().min(MAX)].join(",");
    if list.len() > MAX {
        format!("{shown} + {} more...", list.len() - MAX).into()
    } else {
        shown.into()
    }
}

#[cfg(test)]
mod tests;
