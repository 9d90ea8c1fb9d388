//! Where the replicas of a custom resource are.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, str_at},
    status::Status,
};
use serde_json::{Map, Value};

use crate::kind::UNSET_REPLICAS;

/// Paths of fields, as the definition declares them.
pub(super) struct Scale {
    spec_replicas: String,
    status_replicas: String,
    selector: String,
}

impl Scale {
    pub fn new(declared: &Value) -> Scale {
        let path = |field: &str| str_at(declared, &[field]).to_owned();
        Scale {
            spec_replicas: path("specReplicasPath"),
            status_replicas: path("statusReplicasPath"),
            selector: path("labelSelectorPath"),
        }
    }

    /// Names of the fields that lead to the wanted replicas.
    pub fn replicas(&self) -> Vec<&str> {
        names(&self.spec_replicas).collect()
    }

    /// Wanted and actual replicas, and the selector of their pods.
    pub fn of(&self, object: &Value) -> (i64, i64, String) {
        let number = |path: &str| find(object, path).and_then(Value::as_i64);
        let selector = find(object, &self.selector).and_then(Value::as_str);
        (
            number(&self.spec_replicas).unwrap_or(UNSET_REPLICAS),
            number(&self.status_replicas).unwrap_or_default(),
            selector.unwrap_or_default().to_owned(),
        )
    }

    pub fn set(&self, object: &mut Value, replicas: i64) -> Result<(), Status> {
        let names: Vec<&str> = names(&self.spec_replicas).collect();
        let Some((last, parents)) = names.split_last() else {
            return Err(Status::internal("the definition has no path of replicas"));
        };
        let mut inner = object;
        for name in parents {
            let map = inner.as_object_mut().ok_or_else(|| self.not_a_map())?;
            inner = map.entry(*name).or_insert_with(|| Map::new().into());
        }
        let map = inner.as_object_mut().ok_or_else(|| self.not_a_map())?;
        map.insert((*last).to_owned(), replicas.into());
        Ok(())
    }

    fn not_a_map(&self) -> Status {
        let path = &self.spec_replicas;
        Status::bad_request(format!(
            "value cannot be set because {path} is not a map[string]interface{{}}"
        ))
    }

    pub fn validate_spec(&self, object: &Value, errors: &mut ErrorList) {
        replicas(object, &self.spec_replicas, errors);
    }

    pub fn validate_status(&self, object: &Value, errors: &mut ErrorList) {
        replicas(object, &self.status_replicas, errors);
        let wrong = match reach(object, &self.selector) {
            Ok(None | Some(Value::String(_))) => return,
            Ok(Some(selector)) => of_other_type(&self.selector, selector, "string"),
            Err(wrong) => wrong,
        };
        errors.push(Error::invalid(&Path::new(self.selector.clone()), "", wrong));
    }
}

/// A path is one step: upstream tells it with its leading dot.
fn replicas(object: &Value, path: &str, errors: &mut ErrorList) {
    let at = Path::new(path.to_owned());
    let value = match reach(object, path) {
        Ok(None) => return,
        Ok(Some(value)) => value,
        Err(wrong) => {
            errors.push(Error::invalid(&at, 0, wrong));
            return;
        }
    };
    match value.as_i64() {
        None => errors.push(Error::invalid(&at, 0, of_other_type(path, value, "int64"))),
        Some(number) if number < 0 => errors.push(Error::invalid(
            &at,
            number,
            "should be a non-negative integer",
        )),
        Some(number) if number > i64::from(i32::MAX) => {
            let why = format!("should be less than or equal to {}", i32::MAX);
            errors.push(Error::invalid(&at, number, why));
        }
        Some(_) => {}
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.')
        .split('.')
        .filter(|name| !name.is_empty())
}

fn find<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    let names: Vec<&str> = names(path).collect();
    if names.is_empty() {
        return None;
    }
    at(object, &names)
}

/// What is at a path, with what upstream says where something on the way is no object.
fn reach<'v>(object: &'v Value, path: &str) -> Result<Option<&'v Value>, String> {
    let mut names = names(path).peekable();
    if names.peek().is_none() {
        return Ok(None);
    }
    let mut inner = object;
    let mut passed = String::new();
    for name in names {
        passed.push('.');
        passed.push_str(name);
        inner = match inner {
            Value::Null => return Ok(None),
            Value::Object(map) => match map.get(name) {
                Some(value) => value,
                None => return Ok(None),
            },
            other => return Err(of_other_type(&passed, other, "map[string]interface{}")),
        };
    }
    Ok(Some(inner))
}

fn of_other_type(path: &str, value: &Value, wanted: &str) -> String {
    let (shown, kind) = (go_text(value), go_type(value));
    format!("{path} accessor error: {shown} is of the type {kind}, expected {wanted}")
}

/// As Go prints a value: strings without quotes, lists without commas.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(go_text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
