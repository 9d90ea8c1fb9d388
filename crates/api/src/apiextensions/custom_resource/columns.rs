//! The Table of custom resources: columns that the definition declares.

use knarr_meta::object::{i64_at, str_at};
use serde_json::Value;

use crate::{
    json_path::JsonPath,
    kind::{Column, text},
    now::Now,
    table::{self, NAME},
};

pub(super) struct Columns {
    pub all: Vec<Column>,
    /// Of all columns but the name.
    paths: Vec<JsonPath>,
}

const AGE_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
     guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in \
     RFC3339 form and is in UTC.";

impl Columns {
    /// Name and age where none are declared, or where one has a path that cannot be parsed.
    pub fn new(declared: &[Value]) -> Columns {
        let parsed: Result<Vec<JsonPath>, _> = declared
            .iter()
            .map(|column| JsonPath::parse(str_at(column, &["jsonPath"])))
            .collect();
        match parsed {
            Ok(paths) if !paths.is_empty() => Columns {
                all: std::iter::once(NAME)
                    .chain(declared.iter().map(column))
                    .collect(),
                paths,
            },
            _ => Columns {
                all: vec![
                    NAME,
                    Column {
                        name: text("Age"),
                        kind: text("date"),
                        format: text(""),
                        description: text(AGE_DESCRIPTION),
                        priority: 0,
                    },
                ],
                paths: JsonPath::parse(".metadata.creationTimestamp")
                    .into_iter()
                    .collect(),
            },
        }
    }

    pub fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let declared = self.all.iter().skip(1).zip(&self.paths);
        let cells = declared.map(|(column, path)| {
            let found = path.find(object);
            // A column has one value, also where its path finds more.
            found
                .first()
                .map_or(Value::Null, |value| cell(&column.kind, value, now))
        });
        std::iter::once(table::name(object)).chain(cells).collect()
    }
}

fn column(declared: &Value) -> Column {
    let word = |field: &str| str_at(declared, &[field]).to_owned();
    let description = match word("description") {
        text if text.is_empty() => {
            format!(
                "Custom resource definition column (in JSONPath format): {}",
                word("jsonPath")
            )
        }
        text => text,
    };
    Column {
        name: word("name").into(),
        kind: word("type").into(),
        format: word("format").into(),
        description: description.into(),
        priority: i64_at(declared, &["priority"])
            .and_then(|priority| i32::try_from(priority).ok())
            .unwrap_or_default(),
    }
}

fn cell(kind: &str, value: &Value, now: &Now) -> Value {
    match (kind, value) {
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", Value::Null) => "<nil>".into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|float| float as i64))
            .into(),
        ("number", Value::Number(number)) => number.as_f64().into(),
        ("boolean", Value::Bool(flag)) => (*flag).into(),
        ("date", Value::String(text)) => match knarr_meta::time::parse_unix_seconds(text) {
            Some(_) => now.since(text).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}
