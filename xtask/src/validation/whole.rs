//! The whole object in every verb and format, where a round trip has no more than a label: each answer is a Table, JSON and protobuf.
//! All are dry runs but for what managers own.

use knarr_api::schema::{Schema, Shape, Type};
use serde_json::{Map, Value, json};

use super::{
    cases::{APPLY, JSON_PATCH, MERGE, STRATEGIC, TABLE},
    client::{JSON, PROTOBUF, REVISION, Request},
    mutate::{element_schema, field_schema},
    objects::Example,
};

const FORMS: [&str; 3] = [JSON, TABLE, PROTOBUF];
const FIRST: &str = "owner";
const SECOND: &str = "rival";
const DRY: &str = "dryRun=All";
/// `DeleteOptions` of a dry run in protobuf: the envelope with the type, and the field of that name.
pub const DRY_DELETE: &[u8] = b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x05\x2a\x03All";

/// Those that change nothing, or only who owns what.
pub fn requests(example: &Example) -> Vec<Request> {
    let mut requests = create(example);
    if let Some(path) = &example.path {
        requests.extend(update(example, path));
        requests.extend(patch(example, path));
        requests.extend(owners(example, path));
        requests.extend(status(example, path));
        requests.extend(delete(path));
    }
    requests.extend(strict(example));
    requests
}

/// A request once in every form of answer.
fn in_every_form(example: &Example, request: &Request) -> Vec<Request> {
    let has_protobuf = example.schema.is_some();
    FORMS
        .into_iter()
        .filter(|form| *form != PROTOBUF || has_protobuf)
        .map(|form| {
            let label = format!("{}, as {form}", request.label);
            request.clone().accept(form).label(label)
        })
        .collect()
}

fn made(example: &Example) -> Value {
    let mut object = example.object.clone();
    if example.name().starts_with("base") {
        object["metadata"]["name"] = json!("made");
    }
    object
}

fn create(example: &Example) -> Vec<Request> {
    let path = format!("{}?{DRY}", example.collection);
    let request = Request::new("create", "POST", path).json(&made(example));
    in_every_form(example, &request.label("all of it"))
}

fn update(example: &Example, path: &str) -> Vec<Request> {
    let mut object = example.object.clone();
    object["metadata"]["resourceVersion"] = json!(REVISION);
    let request = Request::new("update", "PUT", format!("{path}?{DRY}")).json(&object);
    in_every_form(example, &request.label("all of it"))
}

fn patch(example: &Example, path: &str) -> Vec<Request> {
    let patches = [
        (MERGE, example.object.clone()),
        (STRATEGIC, example.object.clone()),
        (JSON_PATCH, json_patch(&example.object)),
    ];
    let mut requests = Vec::new();
    for (format, body) in patches {
        let request = Request::new("patch", "PATCH", format!("{path}?{DRY}"));
        let request = request.body(format, body.to_string());
        requests.extend(in_every_form(
            example,
            &request.label(format!("{format} of all")),
        ));
    }
    let each = example.object.as_object().into_iter().flatten();
    for (name, value) in each.filter(|(name, _)| is_content(name)) {
        let fields = value.as_object().into_iter().flatten();
        for (field, _) in fields {
            for format in [MERGE, STRATEGIC] {
                let request = Request::new("patch", "PATCH", format!("{path}?{DRY}"));
                let body = json!({name: {field: null}}).to_string();
                requests.push(
                    request
                        .body(format, body)
                        .label(format!("{name}.{field} goes")),
                );
            }
        }
    }
    requests
}

/// Each operation there is, which put everything in its place again.
fn json_patch(object: &Value) -> Value {
    let mut patch = vec![
        json!({"op": "test", "path": "/kind", "value": object["kind"]}),
        json!({"op": "add", "path": "/metadata/annotations", "value": {"a~/b": "c"}}),
        json!({"op": "copy", "from": "/metadata/annotations/a~0~1b", "path": "/metadata/annotations/d"}),
        json!({"op": "move", "from": "/metadata/annotations/a~0~1b", "path": "/metadata/annotations/e"}),
    ];
    let each = object.as_object().into_iter().flatten();
    for (name, value) in each.filter(|(name, _)| is_content(name)) {
        patch.push(json!({"op": "remove", "path": format!("/{name}")}));
        patch.push(json!({"op": "add", "path": format!("/{name}"), "value": value}));
    }
    Value::from(patch)
}

fn is_content(name: &str) -> bool {
    !matches!(name, "apiVersion" | "kind" | "metadata" | "status")
}

/// Two managers that want all of it, and other values of all of it.
fn owners(example: &Example, path: &str) -> Vec<Request> {
    let mut object = example.object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    let mut other = object.clone();
    for (name, value) in other.as_object_mut().into_iter().flatten() {
        if is_content(name) {
            *value = changed(value);
        }
    }
    let none = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": example.name()},
    });
    let apply = |body: &Value, manager: &str, query: &str, label: &str| {
        let path = format!("{path}?fieldManager={manager}{query}");
        let request = Request::new("apply", "PATCH", path).body(APPLY, body.to_string());
        request.label(format!("{manager}: {label}"))
    };
    let dry = format!("&{DRY}");
    let forced = format!("&{DRY}&force=true");
    let mut requests = vec![
        apply(&object, FIRST, "&force=true", "all of it"),
        apply(&other, SECOND, "", "others of all"),
        apply(&other, SECOND, &forced, "others of all by force"),
        apply(&object, SECOND, "", "the same"),
        apply(&other, FIRST, "", "others of what two own"),
        apply(&none, FIRST, &dry, "nothing, dry"),
        apply(&none, FIRST, "", "nothing"),
        apply(&none, SECOND, &dry, "nothing of all"),
    ];
    requests.extend(in_every_form(
        example,
        &apply(&object, FIRST, &dry, "all again"),
    ));
    // Who applied wrote it, too.
    let update = Request::new(
        "update",
        "PUT",
        format!("{path}?{DRY}&fieldManager={SECOND}"),
    );
    requests.push(update.json(&example.object).label("what it has applied"));
    requests
}

/// Other values of the same types.
fn changed(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(format!("{text}0")),
        Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
        Value::Bool(set) => json!(!set),
        Value::Array(list) => list.iter().map(changed).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(name, value)| (name.clone(), changed(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Null => Value::Null,
    }
}

fn status(example: &Example, path: &str) -> Vec<Request> {
    if !example.subresources.contains(&"status") || !example.object["status"].is_object() {
        return Vec::new();
    }
    let mut object = example.object.clone();
    object["metadata"]["resourceVersion"] = json!(REVISION);
    let path = format!("{path}/status");
    let put = Request::new("update status", "PUT", format!("{path}?{DRY}")).json(&object);
    let mut requests = in_every_form(example, &put.label("all of it"));
    let body = json!({"status": example.object["status"]});
    let whole = json!([{"op": "add", "path": "/status", "value": example.object["status"]}]);
    for (format, body) in [(MERGE, &body), (STRATEGIC, &body), (JSON_PATCH, &whole)] {
        let request = Request::new("patch status", "PATCH", format!("{path}?{DRY}"));
        let request = request.body(format, body.to_string());
        requests.extend(in_every_form(
            example,
            &request.label(format!("{format} of all")),
        ));
    }
    let mut applied = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": example.name()},
    });
    applied["status"] = example.object["status"].clone();
    let mut other = applied.clone();
    other["status"] = changed(&other["status"]);
    for (body, manager, query) in [
        (&applied, FIRST, "&force=true".to_owned()),
        (&other, SECOND, String::new()),
        (&applied, SECOND, format!("&{DRY}")),
    ] {
        let path = format!("{path}?fieldManager={manager}{query}");
        let request = Request::new("apply status", "PATCH", path);
        requests.push(request.body(APPLY, body.to_string()).label(manager));
    }
    for field in example.object["status"].as_object().into_iter().flatten() {
        let request = Request::new("patch status", "PATCH", format!("{path}?{DRY}"));
        let body = json!({"status": {field.0: null}}).to_string();
        requests.push(request.body(MERGE, body).label(format!("{} goes", field.0)));
    }
    requests
}

fn delete(path: &str) -> Vec<Request> {
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]});
    let mut requests = Vec::new();
    for form in FORMS {
        let delete = |label: &str| {
            Request::new("delete", "DELETE", path.to_owned())
                .accept(form)
                .label(format!("{label}, as {form}"))
        };
        requests.push(delete("options in JSON").json(&options));
        requests.push(delete("options in protobuf").body(PROTOBUF, DRY_DELETE));
    }
    requests
}

/// Fields that nobody knows, in every place that has a type, by every verb.
fn strict(example: &Example) -> Vec<Request> {
    let mut unknown = example.object.clone();
    bogus(&mut unknown, example.schema);
    let mut to_make = made(example);
    bogus(&mut to_make, example.schema);
    let mut requests = Vec::new();
    for validation in ["Strict", "Warn", "Ignore"] {
        let query = format!("{DRY}&fieldValidation={validation}");
        let label = format!("unknown fields everywhere, {validation}");
        let create = Request::new("create", "POST", format!("{}?{query}", example.collection));
        requests.push(create.json(&to_make).label(label.clone()));
        let Some(path) = &example.path else {
            continue;
        };
        let update = Request::new("update", "PUT", format!("{path}?{query}"));
        requests.push(update.json(&unknown).label(label.clone()));
        let whole: Vec<Value> = unknown
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| is_content(name))
            .map(|(name, value)| json!({"op": "add", "path": format!("/{name}"), "value": value}))
            .collect();
        let patches = [
            (MERGE, unknown.clone()),
            (STRATEGIC, unknown.clone()),
            (JSON_PATCH, Value::from(whole)),
        ];
        for (format, body) in patches {
            let patch = Request::new("patch", "PATCH", format!("{path}?{query}"));
            requests.push(patch.body(format, body.to_string()).label(label.clone()));
        }
        // What upstream tells of several depends on the order of a Go map.
        let mut one = example.object.clone();
        one["bogus"] = json!(1);
        let path = format!("{path}?{query}&fieldManager={FIRST}&force=true");
        let apply = Request::new("apply", "PATCH", path).body(APPLY, one.to_string());
        requests.push(apply.label(format!("an unknown field, {validation}")));
    }
    requests
}

/// Adds a field to each object whose type has no such field.
fn bogus(value: &mut Value, schema: Option<&'static Schema>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map.iter_mut() {
                bogus(inner, field_schema(schema, name));
            }
            let is_struct = schema.is_some_and(|schema| match &schema.ty {
                Type::Ref(reference) => matches!(reference.get().shape, Shape::Struct(_)),
                _ => false,
            });
            if is_struct {
                map.insert("bogus".to_owned(), json!(1));
            }
        }
        Value::Array(list) => {
            for inner in list {
                bogus(inner, element_schema(schema));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::validation::objects;

    #[test]
    fn every_kind_is_asked_for_in_every_verb_and_format() {
        for example in objects::all().unwrap() {
            let requests = requests(&example);
            let verbs: BTreeSet<&str> = requests.iter().map(|request| request.verb).collect();
            let wanted: &[&str] = match &example.path {
                Some(_) => &["apply", "create", "delete", "patch", "update"],
                None => &["create"],
            };
            for verb in wanted {
                assert!(verbs.contains(verb), "{}: {verb}", example.kind);
            }
        }
    }

    #[test]
    fn unknown_fields_are_where_types_are() {
        let schema = knarr_api::schema::definition("io.k8s.api.core.v1.Pod");
        let mut pod =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a"}]}});
        bogus(&mut pod, schema);
        let wanted = json!({
            "metadata": {"labels": {"a": "b"}, "bogus": 1},
            "spec": {"containers": [{"name": "a", "bogus": 1}], "bogus": 1},
            "bogus": 1,
        });
        assert_eq!(pod, wanted);
    }
}
