//! Strategic patches with a directive in one place: `$patch`, `$retainKeys`, `$setElementOrder`, `$deleteFromPrimitiveList`.

use fastrand::Rng;
use knarr_api::schema::Schema;
use serde_json::{Map, Value, json};

use super::mutate::{Step, element_schema, field_schema, places, pointer};

/// A patch to `object`, and what it tries.
pub fn patch(
    rng: &mut Rng,
    object: &Value,
    schema: Option<&'static Schema>,
) -> Option<(Value, String)> {
    let mut paths: Vec<Vec<Step>> = places(object, schema, None)?
        .into_iter()
        .map(|place| place.path)
        .filter(|path| matches!(path.last(), Some(Step::Field(_))))
        .filter(|path| {
            let value = object.pointer(&pointer(path));
            value.is_some_and(|value| value.is_object() || value.is_array())
        })
        .collect();
    if paths.is_empty() {
        return None;
    }
    let path = paths.swap_remove(rng.usize(..paths.len()));
    let (last, before) = path.split_last()?;
    let Step::Field(name) = last else {
        return None;
    };
    let inner = match object.pointer(&pointer(&path))? {
        Value::Array(list) => of_list(rng, name, list, key_of(&path, schema)),
        Value::Object(map) => json!({name: of_map(rng, map)}),
        _ => return None,
    };
    let label = format!("{} in {}", inner, pointer(before));
    Some((around(inner, before, object, schema), label))
}

/// What a strategic patch finds the elements of a list by.
fn key_of(path: &[Step], schema: Option<&'static Schema>) -> Option<&'static str> {
    let schema = path.iter().fold(schema, |schema, step| match step {
        Step::Field(name) => field_schema(schema, name),
        Step::Item(_) => element_schema(schema),
    });
    schema?.list_map_keys().first().copied()
}

fn of_map(rng: &mut Rng, map: &Map<String, Value>) -> Value {
    let first = map.iter().next();
    let kept: Map<String, Value> = first
        .into_iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let keys: Vec<&String> = map.keys().take(1).collect();
    let (directive, value) = match rng.u8(..5) {
        0 => return json!({"$patch": "delete"}),
        1 => ("$patch", json!("replace")),
        2 => ("$patch", json!("merge")),
        3 => ("$retainKeys", json!(keys)),
        _ => return json!({"$retainKeys": keys}),
    };
    let mut patch = kept;
    patch.insert(directive.to_owned(), value);
    Value::Object(patch)
}

/// The fields of the object that the list is in.
fn of_list(rng: &mut Rng, name: &str, list: &[Value], key: Option<&str>) -> Value {
    let first = list.first().cloned().unwrap_or_default();
    let of_objects = first.is_object();
    let short = |element: &Value| match key {
        Some(key) if of_objects => json!({key: element[key]}),
        _ => element.clone(),
    };
    let backwards: Vec<Value> = list.iter().rev().map(short).collect();
    let order = format!("$setElementOrder/{name}");
    let with_directive = |element: &Value, directive: &str| {
        let mut element = short(element);
        if let Some(map) = element.as_object_mut() {
            map.insert("$patch".to_owned(), json!(directive));
        }
        element
    };
    match rng.u8(..6) {
        0 if of_objects => json!({name: [with_directive(&first, "delete")]}),
        1 if of_objects => json!({name: [{"$patch": "replace"}, first]}),
        2 if of_objects => json!({name: [with_directive(&first, "replace")]}),
        0..3 => json!({format!("$deleteFromPrimitiveList/{name}"): [first]}),
        3 => json!({order: backwards}),
        4 => json!({order: backwards, name: [first]}),
        // Elements that the order does not have.
        _ => json!({order: [], name: [first]}),
    }
}

/// The patch to the whole of `object` in which `inner` stands at a path.
fn around(inner: Value, path: &[Step], object: &Value, schema: Option<&'static Schema>) -> Value {
    let mut patch = inner;
    for (index, step) in path.iter().enumerate().rev() {
        patch = match step {
            Step::Field(name) => json!({name: patch}),
            Step::Item(_) => {
                let element = object.pointer(&pointer(&path[..=index]));
                let key = key_of(&path[..index], schema);
                if let (Some(key), Some(element), Some(map)) = (key, element, patch.as_object_mut())
                {
                    map.entry(key).or_insert_with(|| element[key].clone());
                }
                json!([patch])
            }
        };
    }
    patch
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn directives_stand_where_the_object_has_something() {
        let schema = knarr_api::schema::definition("io.k8s.api.core.v1.Pod");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "finalizers": ["b/c"]},
            "spec": {"containers": [{"name": "main", "env": [{"name": "a", "value": "b"}]}]},
        });
        let mut rng = Rng::with_seed(1);
        let patches: BTreeSet<String> = (0..500)
            .filter_map(|_| patch(&mut rng, &pod, schema))
            .map(|(patch, _)| patch.to_string())
            .collect();
        for wanted in [
            json!({"spec": {"containers": [{"name": "main", "$patch": "delete"}]}}),
            json!({"spec": {"containers": [{"name": "main", "env": [{"name": "a", "$patch": "delete"}]}]}}),
            json!({"spec": {"containers": [{"name": "main", "$setElementOrder/env": [{"name": "a"}]}]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b/c"]}}),
            json!({"spec": {"$patch": "delete"}}),
            json!({"metadata": {"$retainKeys": ["finalizers"]}}),
        ] {
            assert!(
                patches.contains(&wanted.to_string()),
                "{wanted}: {patches:#?}"
            );
        }
    }
}
