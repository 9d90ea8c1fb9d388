//! Strict decoding with the path of what is wrong: a field that nobody knows may have been meant to change something.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Decodes a tree. Fields of null are absent, as Go has it.
///
/// `T` has to serialize every field that it knows, at least where the field is set.
///
/// # Errors
/// The paths of unknown fields (upstream's `unknown field "a.b[0].c"`), or of the value of a wrong type.
pub fn decode<T: DeserializeOwned + Serialize>(tree: &Value) -> Result<T, Vec<String>> {
    let tree = without_nulls(tree);
    let decoded: T = match serde_json::from_value(tree.clone()) {
        Ok(decoded) => decoded,
        Err(error) => {
            let path = culprit::<T>(&tree);
            return Err(vec![format!("cannot decode field \"{path}\": {error}")]);
        }
    };
    let known = serde_json::to_value(&decoded).map_err(|error| vec![error.to_string()])?;
    let mut unknown = Vec::new();
    compare(&tree, &known, "", &mut unknown);
    match unknown.is_empty() {
        true => Ok(decoded),
        false => Err(unknown),
    }
}

fn without_nulls(tree: &Value) -> Value {
    match tree {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields = fields.map(|(name, value)| (name.clone(), without_nulls(value)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// Notes each field of `given` that `known` has not.
fn compare(given: &Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                let path = child(path, name);
                match known.get(name) {
                    Some(known) => compare(value, known, &path, unknown),
                    None => unknown.push(format!("unknown field \"{path}\"")),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn child(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// The path of the value that keeps a tree from being decoded: without it another one does, or none.
fn culprit<T: DeserializeOwned>(tree: &Value) -> String {
    let error = |tree: &Value| {
        let decoded: Result<T, _> = serde_json::from_value(tree.clone());
        decoded.err().map(|error| error.to_string())
    };
    let whole = error(tree);
    let (mut pointer, mut path) = (String::new(), String::new());
    while let Some(here) = tree.pointer(&pointer) {
        let found = steps(here).into_iter().find(|(step, _)| {
            let mut without = tree.clone();
            remove(&mut without, &pointer, step);
            error(&without) != whole
        });
        let Some((step, shown)) = found else { break };
        pointer = format!("{pointer}/{}", escape(&step));
        path = match shown.starts_with('[') {
            true => format!("{path}{shown}"),
            false => child(&path, &shown),
        };
    }
    path
}

/// What is one below: the name, and how a path shows it.
fn steps(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(fields) => fields.keys().map(|n| (n.clone(), n.clone())).collect(),
        Value::Array(items) => (0..items.len())
            .map(|at| (at.to_string(), format!("[{at}]")))
            .collect(),
        _ => Vec::new(),
    }
}

fn remove(tree: &mut Value, pointer: &str, step: &str) {
    match tree.pointer_mut(pointer) {
        Some(Value::Object(fields)) => {
            fields.remove(step);
        }
        Some(Value::Array(items)) => {
            if let Ok(at) = step.parse::<usize>()
                && at < items.len()
            {
                items.remove(at);
            }
        }
        _ => {}
    }
}

fn escape(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
    #[serde(default)]
    struct Tree {
        number: Option<i32>,
        list: Vec<Tree>,
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let cases = [
            (json!({"list": [{"number": 1}], "number": null}), Ok(())),
            (
                json!({"list": [{}, {"other": 1}], "more": {}}),
                Err(vec![
                    "unknown field \"list[1].other\"",
                    "unknown field \"more\"",
                ]),
            ),
            (
                json!({"list": [{}, {"list": [{"number": "1"}]}]}),
                Err(vec![
                    "cannot decode field \"list[1].list[0].number\": invalid type: string \"1\", expected i32",
                ]),
            ),
        ];
        for (tree, wanted) in cases {
            let found = decode::<Tree>(&tree).map(drop);
            let wanted = wanted.map_err(|w| w.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found, wanted, "{tree}");
        }
    }
}
