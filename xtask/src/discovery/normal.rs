//! One tree of all documents of a server, in which what differs is a difference: lists of named things become objects, parameters
//! that a document writes in one place stand where they count, and what no client reads is gone.

use serde_json::{Map, Value, json};

use super::documents::{AGGREGATED_DISCOVERY, DISCOVERY, Documents, V2, V3};

/// Where the order of named things is kept.
const ORDER: &str = "(order)";
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// The tree of a server's documents.
pub fn of(documents: Documents) -> Value {
    let Documents {
        discovery,
        aggregated,
        v2,
        v3,
    } = documents;
    let plain = |(path, mut document): (String, Value)| {
        // It is the server's own address.
        remove(&mut document, "serverAddressByClientCIDRs");
        (path, by_name(document))
    };
    let schemas = |(path, document)| (path, openapi(document));
    json!({
        DISCOVERY: discovery.into_iter().map(plain).collect::<Map<_, _>>(),
        AGGREGATED_DISCOVERY: aggregated.into_iter().map(plain).collect::<Map<_, _>>(),
        V2: openapi(v2),
        V3: v3.into_iter().map(schemas).collect::<Map<_, _>>(),
    })
}

fn remove(value: &mut Value, field: &str) -> Option<Value> {
    value.as_object_mut()?.remove(field)
}

/// Makes lists of things with names objects, that tell the order in a field of their own.
fn by_name(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(field, value)| (field, by_name(value)))
            .collect(),
        Value::Array(list) => match list.iter().map(name_of).collect::<Option<Vec<String>>>() {
            Some(names) if !list.is_empty() => {
                let mut out: Map<String, Value> = names
                    .iter()
                    .cloned()
                    .zip(list.into_iter().map(by_name))
                    .collect();
                out.insert(ORDER.to_owned(), names.into());
                out.into()
            }
            _ => Value::Array(list.into_iter().map(by_name).collect()),
        },
        other => other,
    }
}

fn name_of(thing: &Value) -> Option<String> {
    let names = [
        "/name",
        "/resource",
        "/subresource",
        "/groupVersion",
        "/version",
    ];
    let mut found = names.iter().filter_map(|pointer| thing.pointer(pointer));
    let name = found.next().or_else(|| {
        // A group; the core's has no name.
        let metadata = thing.get("metadata")?;
        Some(metadata.get("name").unwrap_or(&Value::Null))
    })?;
    Some(name.as_str().unwrap_or_default().to_owned())
}

fn openapi(mut document: Value) -> Value {
    let shared = remove(&mut document, "parameters").unwrap_or_default();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for item in paths.into_iter().flat_map(Map::values_mut) {
        path_item(item, &shared);
    }
    sets(&mut document);
    document
}

fn path_item(item: &mut Value, shared: &Value) {
    let common = remove(item, "parameters").unwrap_or_default();
    for method in METHODS {
        let Some(operation) = item.get_mut(method) else {
            continue;
        };
        // Words that no client shows.
        remove(operation, "description");
        let own = remove(operation, "parameters").unwrap_or_default();
        let mut all = Map::new();
        for parameter in [&common, &own]
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
        {
            let (name, parameter) = resolved(parameter, shared);
            all.insert(name, parameter);
        }
        operation["parameters"] = all.into();
    }
}

/// A parameter without its words, and what it is called by: its name and place.
fn resolved(parameter: &Value, shared: &Value) -> (String, Value) {
    let reference = parameter["$ref"].as_str().unwrap_or_default();
    let name = reference.trim_start_matches("#/parameters/");
    let mut parameter = shared.get(name).unwrap_or(parameter).clone();
    remove(&mut parameter, "description");
    let part = |field: &str| parameter[field].as_str().unwrap_or_default();
    (format!("{} {}", part("in"), part("name")), parameter)
}

/// Sorts lists whose order means nothing.
fn sets(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (field, value) in map {
                let is_set = matches!(
                    field.as_str(),
                    "required" | "x-kubernetes-group-version-kind"
                );
                match value {
                    Value::Array(list) if is_set => list.sort_by_key(Value::to_string),
                    _ => sets(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(sets),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn documents(v2: Value, apis: Value) -> Documents {
        Documents {
            discovery: BTreeMap::from([("/apis".to_owned(), apis)]),
            aggregated: BTreeMap::new(),
            v2,
            v3: BTreeMap::new(),
        }
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let limit =
            json!({"name": "limit", "in": "query", "description": "how many", "type": "integer"});
        let theirs = json!({
            "paths": {"/p": {
                "get": {"description": "list", "parameters": [{"$ref": "#/parameters/limit-1"}]},
                "parameters": [{"name": "name", "in": "path"}],
            }},
            "parameters": {"limit-1": limit},
            "definitions": {"d": {"required": ["b", "a"]}},
        });
        let ours = json!({
            "paths": {"/p": {"get": {
                "description": "another",
                "parameters": [{"name": "name", "in": "path", "description": "its name"}, limit],
            }}},
            "definitions": {"d": {"required": ["a", "b"]}},
        });
        let groups = json!({"groups": [], "serverAddressByClientCIDRs": [1]});
        let theirs = of(documents(theirs, groups));
        assert_eq!(theirs, of(documents(ours, json!({"groups": []}))));
        let parameters = theirs.pointer("/openapi~1v2/paths/~1p/get/parameters");
        assert_eq!(parameters.unwrap()["query limit"]["type"], "integer");
    }

    #[test]
    fn things_with_names_are_found_by_them() {
        let groups = json!({"items": [
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [{"resource": "deployments"}]}]},
            {"metadata": {}},
        ], "verbs": ["get"]});
        let all = of(documents(json!({}), groups));
        let items = &all["discovery"]["/apis"]["items"];
        assert_eq!(items[ORDER], json!(["apps", ""]));
        assert!(items["apps"]["versions"]["v1"]["resources"]["deployments"].is_object());
        assert_eq!(all["discovery"]["/apis"]["verbs"], json!(["get"]));
    }
}
