//! The round trip of an object: made, read in every form, changed by every verb and by two managers, deleted.

use serde_json::{Value, json};

use super::{
    cases::{APPLY, JSON_PATCH, MERGE, STRATEGIC, TABLE},
    client::{Answer, JSON, PROTOBUF, REVISION, Request},
    objects::Example,
    whole::DRY_DELETE,
};

const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const YAML: &str = "application/yaml";
const VALID: &str = "the valid object";
const VALID_STATUS: &str = "the valid status";
const SCALE: &str = "/scale";
/// What controllers look at, too.
pub const DELETED: &str = "what is deleted";
/// The manager whose fields another takes.
const FIRST: &str = "first";
const SECOND: &str = "second";

pub fn create(example: &Example) -> Vec<Request> {
    if !example.made {
        return Vec::new();
    }
    let request = Request::new("create", "POST", example.collection.clone());
    vec![request.json(&example.object).label(VALID)]
}

/// What upstream has against an object, or a status, that was meant to be valid: nothing can be made from such a one.
pub fn refused(request: &Request, theirs: &Answer) -> Option<String> {
    let meant = [VALID, VALID_STATUS].contains(&request.label.as_str());
    let message = theirs.body["message"].as_str().unwrap_or_default();
    (meant && theirs.code >= 400).then(|| format!("{} is refused: {message}", request.label))
}

/// In every form, alone and in a list.
pub fn read(example: &Example) -> Vec<Request> {
    let Some(path) = &example.path else {
        return Vec::new();
    };
    let get = |path: &str, format: &str| {
        let request = Request::new("get", "GET", path.to_owned());
        request.label(format!("as {format}")).accept(format)
    };
    let mut requests: Vec<Request> = [JSON, TABLE, METADATA]
        .into_iter()
        .map(|format| get(path, format))
        .collect();
    let one = format!(
        "{}?fieldSelector=metadata.name={}",
        example.collection,
        example.name()
    );
    requests.push(get(&one, TABLE));
    requests.push(get(&format!("{one}&includeObject=None"), TABLE));
    requests.push(get(&one, METADATA_LIST));
    requests.push(get(&one, JSON));
    for name in ["status", "scale"] {
        if example.subresources.contains(&name) {
            requests.push(get(&format!("{path}/{name}"), JSON));
            requests.push(get(&format!("{path}/{name}"), TABLE));
        }
    }
    requests
}

/// Every verb that changes the object, and leaves it as it was but for a label.
pub fn write(example: &Example) -> Vec<Request> {
    let Some(path) = &example.path else {
        return strict(example);
    };
    let labels = |value: Value| json!({"metadata": {"labels": {"trip": value}}});
    let patch = |format: &str, body: &Value, query: &str| {
        Request::new("patch", "PATCH", format!("{path}{query}"))
            .body(format, body.to_string())
            .label(format!("{format} {body}"))
    };
    let mut labelled = example.object.clone();
    labelled["metadata"]["labels"] = json!({"trip": "put"});
    let mut at_revision = labelled.clone();
    at_revision["metadata"]["resourceVersion"] = json!(REVISION);
    let put = |body: &Value, query: &str| {
        Request::new("update", "PUT", format!("{path}{query}")).json(body)
    };
    let mut requests = vec![
        put(&labelled, "").label("without a revision"),
        put(&at_revision, "").label("at its revision"),
        put(&at_revision, "").accept(TABLE).label("as Table"),
        patch(MERGE, &labels(json!("merge")), ""),
        patch(MERGE, &labels(Value::Null), "?dryRun=All"),
        patch(STRATEGIC, &labels(json!("strategic")), ""),
        patch(
            JSON_PATCH,
            &json!([{"op": "test", "path": "/metadata/labels/trip", "value": "strategic"}, {"op": "replace", "path": "/metadata/labels/trip", "value": "json"}]),
            "?fieldManager=somebody",
        ),
        patch(
            JSON_PATCH,
            &json!([{"op": "test", "path": "/kind", "value": "None"}]),
            "",
        ),
        patch(
            JSON_PATCH,
            &json!([{"op": "remove", "path": "/nowhere"}]),
            "",
        ),
        patch(YAML, &json!({}), ""),
    ];
    requests.extend(apply(example, path));
    requests.extend(status(example, path));
    requests.extend(strict(example));
    requests
}

/// By two managers that want the same, other things, and what is the other's.
fn apply(example: &Example, path: &str) -> Vec<Request> {
    let apply = |body: &Value, manager: &str, query: &str, label: &str| {
        Request::new(
            "apply",
            "PATCH",
            format!("{path}?fieldManager={manager}{query}"),
        )
        .body(APPLY, body.to_string())
        .label(format!("{manager}: {label}"))
    };
    let identity = json!({
        "apiVersion": example.object["apiVersion"],
        "kind": example.object["kind"],
        "metadata": {"name": example.name()},
    });
    let labelled = |value: &str| {
        let mut object = identity.clone();
        object["metadata"]["labels"] = json!({"applied": value});
        object
    };
    vec![
        apply(&labelled("a"), FIRST, "", "its own label"),
        apply(&labelled("a"), SECOND, "", "the same"),
        apply(&labelled("b"), SECOND, "", "the other's value"),
        apply(&labelled("b"), SECOND, "&force=true", "by force"),
        apply(&identity, FIRST, "", "nothing"),
        apply(&identity, SECOND, "&dryRun=All", "nothing, dry"),
        apply(
            &example.object,
            FIRST,
            "&force=true&dryRun=All",
            "all of it",
        ),
        apply(&identity, "", "", "without a name"),
    ]
}

fn status(example: &Example, path: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    if example.subresources.contains(&"status") && example.object["status"].is_object() {
        let mut object = example.object.clone();
        object["metadata"]["resourceVersion"] = json!(REVISION);
        let put = Request::new("update status", "PUT", format!("{path}/status"));
        requests.push(put.json(&object).label(VALID_STATUS));
        let body = json!({"status": example.object["status"]}).to_string();
        for format in [MERGE, STRATEGIC] {
            let patch = Request::new("patch status", "PATCH", format!("{path}/status"));
            requests.push(patch.body(format, body.clone()).label(format));
        }
        requests.push(Request::new("get", "GET", path.to_owned()).label("with a status"));
        let table = Request::new("get", "GET", path.to_owned()).accept(TABLE);
        requests.push(table.label("with a status, as Table"));
    }
    if example.subresources.contains(&"scale") {
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": example.name(), "namespace": "default"},
            "spec": {"replicas": 4},
        });
        let mut negative = scale.clone();
        negative["spec"]["replicas"] = json!(-1);
        let mut other = scale.clone();
        other["metadata"]["name"] = json!("other");
        for (label, body) in [
            ("to four", &scale),
            ("below zero", &negative),
            ("of another", &other),
        ] {
            for form in [JSON, TABLE] {
                let put = Request::new("update scale", "PUT", format!("{path}/scale?dryRun=All"));
                requests.push(put.json(body).accept(form).label(label));
            }
        }
        let body = json!({"spec": {"replicas": 5}}).to_string();
        for format in [MERGE, STRATEGIC] {
            let patch = Request::new("patch scale", "PATCH", format!("{path}/scale"));
            requests.push(patch.body(format, body.clone()).label(format));
        }
    }
    requests
}

/// Fields that nobody knows, and fields that are there twice, by each way to treat them.
fn strict(example: &Example) -> Vec<Request> {
    let mut unknown = example.object.clone();
    unknown["metadata"]["name"] = json!("made");
    unknown["bogus"] = json!(1);
    unknown["metadata"]["bogus"] = json!({"a": 1});
    if unknown["spec"].is_object() {
        unknown["spec"]["bogus"] = json!([1]);
    }
    // Twice, which no tree can hold.
    let kind = example.object["kind"].to_string();
    let twice = unknown.to_string().replacen(
        &format!("\"kind\":{kind}"),
        &format!("\"kind\":{kind},\"kind\":{kind}"),
        1,
    );
    let mut requests = Vec::new();
    for validation in ["Strict", "Warn", "Ignore", "", "Bogus"] {
        let path = format!(
            "{}?dryRun=All&fieldValidation={validation}",
            example.collection
        );
        for (label, body) in [
            ("unknown fields", unknown.to_string()),
            ("fields twice", twice.clone()),
        ] {
            let post = Request::new("create", "POST", path.clone());
            requests.push(
                post.body(JSON, body)
                    .label(format!("{label}, {validation}")),
            );
        }
    }
    requests
}

/// Asks for the object in protobuf as it would be made; `None` for kinds without protobuf.
pub fn encoded(example: &Example) -> Option<Request> {
    example.schema?;
    let mut object = example.object.clone();
    if example.name().starts_with("base") {
        object["metadata"]["name"] = json!("made");
    }
    let request = Request::new(
        "protobuf",
        "POST",
        format!("{}?dryRun=All", example.collection),
    );
    Some(request.json(&object).accept(PROTOBUF).label("encoded"))
}

/// Watches the object from its state now on, in every form, until the server ends it: what is there, and the bookmark after it.
pub fn watch(example: &Example) -> Vec<Request> {
    let query = "watch=true&timeoutSeconds=1&allowWatchBookmarks=true";
    let initial = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let of_it = format!("&fieldSelector=metadata.name={}", example.name());
    let watch = |query: &str, format: &str| {
        let path = format!("{}?{query}", example.collection);
        let request = Request::new("watch", "GET", path);
        request.label(format!("as {format}")).accept(format)
    };
    let all = format!("{query}{initial}{of_it}");
    let mut formats = vec![JSON, TABLE, METADATA];
    formats.extend(example.schema.map(|_| PROTOBUF));
    let mut requests: Vec<Request> = formats
        .into_iter()
        .map(|format| watch(&all, format))
        .collect();
    requests.extend([
        watch(&format!("{query}{of_it}&resourceVersion=0"), JSON),
        watch(&format!("{query}{of_it}&sendInitialEvents=true"), JSON),
        watch(&format!("{query}&fieldSelector=spec.bogus=a"), JSON),
    ]);
    requests
}

/// Asks for the object, for a list of it and for its scale in protobuf; none for kinds without protobuf.
pub fn read_encoded(example: &Example) -> Vec<Request> {
    let (Some(path), Some(_)) = (&example.path, example.schema) else {
        return Vec::new();
    };
    let one = format!(
        "{}?fieldSelector=metadata.name={}",
        example.collection,
        example.name()
    );
    let has_scale = example.subresources.contains(&"scale");
    let mut paths = vec![path.clone(), one];
    paths.extend(has_scale.then(|| format!("{path}{SCALE}")));
    paths
        .into_iter()
        .map(|path| {
            let request = Request::new("protobuf", "GET", path);
            request.accept(PROTOBUF).label("encoded as it is")
        })
        .collect()
}

/// Puts back what a server has encoded of a path, to the same server, and asks for JSON; an object's status, too.
pub fn put_back(example: &Example, path: &str, bytes: &[u8]) -> Vec<Request> {
    let has_status = example.subresources.contains(&"status") && !path.ends_with(SCALE);
    let mut paths = vec![path.to_owned()];
    paths.extend(has_status.then(|| format!("{path}/status")));
    paths
        .into_iter()
        .map(|path| {
            let request = Request::new("protobuf", "PUT", format!("{path}?dryRun=All"));
            let request = request.body(PROTOBUF, bytes).accept(JSON);
            request.label("put back as it is")
        })
        .collect()
}

/// Sends what a server has encoded, and asks for JSON.
pub fn decoded(example: &Example, bytes: Vec<u8>) -> Request {
    let request = Request::new(
        "protobuf",
        "POST",
        format!("{}?dryRun=All", example.collection),
    );
    request.body(PROTOBUF, bytes).accept(JSON).label("decoded")
}

/// Deletes of the collection what is of a selector, all dry.
pub fn delete_collection(example: &Example) -> Vec<Request> {
    if example.path.is_none() {
        return Vec::new();
    }
    let of_it = format!("fieldSelector=metadata.name={}", example.name());
    let delete = |query: &str, format: &str, body: &Value| {
        let path = format!("{}?{query}", example.collection);
        Request::new("deletecollection", "DELETE", path)
            .json(body)
            .accept(format)
            .label(format!("{query} {body} as {format}"))
    };
    let options = |fields: Value| {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let (Some(all), Some(more)) = (options.as_object_mut(), fields.as_object()) {
            all.extend(more.clone());
        }
        options
    };
    // Beside a body its query says nothing.
    let dry = format!("{}?{of_it}&dryRun=All", example.collection);
    let dry = Request::new("deletecollection", "DELETE", dry).label("without a body");
    let in_protobuf = format!("{}?{of_it}", example.collection);
    let in_protobuf = Request::new("deletecollection", "DELETE", in_protobuf)
        .body(PROTOBUF, DRY_DELETE)
        .accept(PROTOBUF)
        .label("options in protobuf");
    vec![
        dry,
        delete(&of_it, JSON, &options(json!({"dryRun": ["All"]}))),
        delete(&of_it, TABLE, &options(json!({"dryRun": ["All"]}))),
        in_protobuf,
        delete("labelSelector=there=none", JSON, &options(json!({}))),
        delete("fieldSelector=spec.bogus=a", JSON, &options(json!({}))),
        delete("labelSelector=a+b", JSON, &options(json!({}))),
        delete(
            &of_it,
            JSON,
            &options(json!({"dryRun": ["All"], "propagationPolicy": "Bogus"})),
        ),
        delete(
            &of_it,
            JSON,
            &options(json!({"dryRun": ["All"], "preconditions": {"uid": "other"}})),
        ),
    ]
}

pub fn delete(example: &Example) -> Vec<Request> {
    let Some(path) = &example.path else {
        return Vec::new();
    };
    let delete = |query: &str, body: &Value| {
        Request::new("delete", "DELETE", format!("{path}{query}"))
            .json(body)
            .label(format!("{query} {body}"))
    };
    let options = |fields: Value| {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let (Some(all), Some(more)) = (options.as_object_mut(), fields.as_object()) {
            all.extend(more.clone());
        }
        options
    };
    vec![
        delete("", &options(json!({"dryRun": ["All"]}))),
        delete("", &options(json!({"preconditions": {"uid": "other"}}))),
        delete("", &options(json!({"propagationPolicy": "Bogus"}))),
        delete("", &options(json!({"dryRun": ["Some"]}))),
        delete(
            "",
            &options(json!({"gracePeriodSeconds": -1, "dryRun": ["All"]})),
        ),
        delete(
            "",
            &options(json!({"orphanDependents": true, "propagationPolicy": "Orphan"})),
        ),
        delete("", &options(json!({"gracePeriodSeconds": 0}))),
        Request::new("get", "GET", path.clone()).label(DELETED),
    ]
}
