//! Parts that objects have in common, written once: a map with [`OF`] stands for what another object has at a path
//! (`Pod/base/spec`), with what else the map says merged into it as RFC 7386 has it.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

const OF: &str = "$of";
/// A part of a part of a part; more is a circle.
const DEPTH: usize = 8;

/// The object with all parts in their places.
pub fn filled_in(object: &Value, objects: &[Value]) -> Result<Value> {
    fill(object, objects, DEPTH)
}

fn fill(value: &Value, objects: &[Value], depth: usize) -> Result<Value> {
    match value {
        Value::Array(list) => list
            .iter()
            .map(|value| fill(value, objects, depth))
            .collect(),
        Value::Object(map) => {
            let filled = |(name, value): (&String, &Value)| {
                anyhow::Ok((name.clone(), fill(value, objects, depth)?))
            };
            let own = map.iter().filter(|(name, _)| *name != OF);
            let own = own.map(filled).collect::<Result<Map<_, _>>>()?;
            let Some(path) = map.get(OF) else {
                return Ok(Value::Object(own));
            };
            let path = path.as_str().context("$of is no path")?;
            let depth = depth.checked_sub(1).with_context(|| path.to_owned())?;
            let part = part(path, objects).with_context(|| format!("there is no {path}"))?;
            let mut part = fill(part, objects, depth)?;
            if !own.is_empty() {
                merge(&mut part, Value::Object(own));
            }
            Ok(part)
        }
        other => Ok(other.clone()),
    }
}

fn part<'o>(path: &str, objects: &'o [Value]) -> Option<&'o Value> {
    let mut steps = path.split('/');
    let (kind, name) = (steps.next()?, steps.next()?);
    let of = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    steps.try_fold(objects.iter().find(of)?, |value, field| value.get(field))
}

fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (name, value) in patch {
        let Some(map) = into.as_object_mut() else {
            return;
        };
        match value {
            Value::Null => drop(map.remove(&name)),
            value => merge(map.entry(name).or_insert(Value::Null), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_those_of_other_objects() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"b": {"c": 1}, "d": [1], "e": 2}});
        let other =
            json!({"kind": "Other", "metadata": {"name": "b"}, "list": [{"$of": "Pod/a/spec/d"}]});
        let objects = [pod.clone(), other];
        let cases = [
            (json!({"$of": "Pod/a/spec"}), pod["spec"].clone()),
            (
                json!({"in": {"$of": "Pod/a/spec", "e": null, "b": {"f": 3}, "d": [2]}}),
                json!({"in": {"b": {"c": 1, "f": 3}, "d": [2]}}),
            ),
            (json!({"$of": "Other/b/list"}), json!([[1]])),
            // Without a part a null is one.
            (json!({"a": null}), json!({"a": null})),
        ];
        for (object, wanted) in cases {
            assert_eq!(filled_in(&object, &objects).unwrap(), wanted);
        }
        for path in ["Pod/b/spec", "Pod/a/status", "Pod"] {
            filled_in(&json!({"$of": path}), &objects).unwrap_err();
        }
    }

    #[test]
    fn a_circle_is_told() {
        let circle =
            json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"$of": "Pod/a/spec"}});
        let error = filled_in(&circle, std::slice::from_ref(&circle)).unwrap_err();
        assert_eq!(error.to_string(), "Pod/a/spec");
    }
}
