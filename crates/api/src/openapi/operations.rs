//! Path items in the two dialects.

use serde_json::{Map, Value, json};

use super::{
    definitions::Dialect,
    paths::{Body, Operation, PathItem},
};

/// What the server answers in.
const PRODUCES: &[&str] = &["application/json", "application/yaml"];
const PRODUCES_WATCH: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/json;stream=watch",
];
const PRODUCES_TEXT: &[&str] = &["text/plain"];
/// What it takes; the media type of a patch says which kind of patch it is.
const CONSUMES: &[&str] = &["*/*"];
const CONSUMES_PATCH: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const CONSUMES_PATCH_OF_CUSTOM: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
];

/// A query parameter: name, type, meaning.
type Parameter = (&'static str, &'static str, &'static str);

const PARAMETERS: &[Parameter] = &[
    (
        "allowWatchBookmarks",
        "boolean",
        "Ask a watch to send bookmarks: events that carry nothing but a resource version.",
    ),
    (
        "container",
        "string",
        "The container; may be left out where there is only one.",
    ),
    (
        "continue",
        "string",
        "The token of the previous page of a list that was read with a limit.",
    ),
    (
        "dryRun",
        "string",
        "When present, nothing is persisted. Valid values are: - All: every stage of the request is processed but the last.",
    ),
    (
        "fieldManager",
        "string",
        "The name of whoever makes this change: at most 128 printable characters.",
    ),
    (
        "fieldValidation",
        "string",
        "What happens to unknown and duplicate fields. Valid values are: - Ignore: they are dropped, and the last duplicate \
         wins. - Warn: so too, with a warning for each. This is the default. - Strict: the request fails and names them all.",
    ),
    (
        "fieldSelector",
        "string",
        "Only objects whose fields match this selector.",
    ),
    ("follow", "boolean", "Send what is logged from now on, too."),
    (
        "force",
        "boolean",
        "Take over fields that others own; for apply patches only.",
    ),
    (
        "gracePeriodSeconds",
        "integer",
        "Seconds before the object is deleted; zero means at once.",
    ),
    (
        "labelSelector",
        "string",
        "Only objects whose labels match this selector.",
    ),
    (
        "limit",
        "integer",
        "The most objects in one answer; more are had with its continue token.",
    ),
    ("limitBytes", "integer", "The most bytes of log to send."),
    (
        "orphanDependents",
        "boolean",
        "Deprecated: use propagationPolicy. Whether dependents are orphaned.",
    ),
    (
        "previous",
        "boolean",
        "The log of the container's previous run.",
    ),
    (
        "propagationPolicy",
        "string",
        "What happens to dependents: 'Orphan', 'Background' (deleted after the object) or 'Foreground' (before it).",
    ),
    (
        "resourceVersion",
        "string",
        "Which state may be answered with; see resourceVersionMatch.",
    ),
    (
        "resourceVersionMatch",
        "string",
        "How resourceVersion is applied to lists: Exact or NotOlderThan.",
    ),
    (
        "sendInitialEvents",
        "boolean",
        "Begin a watch with the state as synthetic events, ended by a bookmark.",
    ),
    (
        "sinceSeconds",
        "integer",
        "Only what was logged in the last so many seconds.",
    ),
    (
        "tailLines",
        "integer",
        "Only so many lines from the end of the log.",
    ),
    (
        "timeoutSeconds",
        "integer",
        "Ends a list or watch after so many seconds.",
    ),
    ("timestamps", "boolean", "Begin each line with its time."),
    (
        "watch",
        "boolean",
        "Answer with a stream of changes instead of a list.",
    ),
];

/// The value of `x-kubernetes-group-version-kind` for one kind.
pub(super) fn gvk((group, version, kind): (&str, &str, &str)) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// A path item of OpenAPI v2.
pub(super) fn v2(item: &PathItem<'_>) -> Value {
    path_item(item, v2_operation, v2_parameter)
}

/// A path item of OpenAPI v3.
pub(super) fn v3(item: &PathItem<'_>) -> Value {
    path_item(item, v3_operation, v3_parameter)
}

fn path_item(
    item: &PathItem<'_>,
    of_operation: fn(&PathItem<'_>, &Operation<'_>) -> Value,
    of_parameter: fn(&str, Parameter) -> Value,
) -> Value {
    let mut out = Map::new();
    for operation in &item.operations {
        out.insert(operation.method.to_owned(), of_operation(item, operation));
    }
    let parameters: Vec<Value> = path_parameters(item)
        .into_iter()
        .map(|(place, parameter)| {
            let mut out = of_parameter(place, parameter);
            if place == "path" {
                out["required"] = true.into();
            }
            out
        })
        .collect();
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    out.into()
}

fn v2_parameter(place: &str, (name, ty, description): Parameter) -> Value {
    json!({"name": name, "in": place, "description": description, "type": ty, "uniqueItems": true})
}

fn v2_operation(item: &PathItem<'_>, operation: &Operation<'_>) -> Value {
    let mut out = common(item, operation);
    out.insert("schemes".to_owned(), json!(["https"]));
    out.insert("produces".to_owned(), produces(operation).into());
    out.insert("consumes".to_owned(), consumes(operation.body).into());
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(body) = operation.body {
        let mut parameter = json!({"name": "body", "in": "body", "schema": Dialect::V2.reference(body.definition())});
        if !matches!(body, Body::Optional(_)) {
            parameter["required"] = true.into();
        }
        parameters.push(parameter);
    }
    parameters.extend(query(operation).map(|parameter| v2_parameter("query", *parameter)));
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    let responses = responses(operation, |name| match name {
        Some(name) => json!({"schema": Dialect::V2.reference(name)}),
        None => json!({"schema": {"type": "string"}}),
    });
    out.insert("responses".to_owned(), responses);
    out.into()
}

fn v3_operation(item: &PathItem<'_>, operation: &Operation<'_>) -> Value {
    let mut out = common(item, operation);
    let parameters: Vec<Value> = query(operation)
        .map(|parameter| v3_parameter("query", *parameter))
        .collect();
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(body) = operation.body {
        let schema = Dialect::V3.reference(body.definition());
        let mut request = json!({"content": content(consumes(Some(body)), &schema)});
        if !matches!(body, Body::Optional(_)) {
            request["required"] = true.into();
        }
        out.insert("requestBody".to_owned(), request);
    }
    let responses = responses(operation, |name| {
        let schema = match name {
            Some(name) => Dialect::V3.reference(name),
            None => json!({"type": "string"}),
        };
        json!({"content": content(produces(operation), &schema)})
    });
    out.insert("responses".to_owned(), responses);
    out.into()
}

fn v3_parameter(place: &str, (name, ty, description): Parameter) -> Value {
    json!({"name": name, "in": place, "description": description, "schema": {"type": ty, "uniqueItems": true}})
}

fn content(types: &[&str], schema: &Value) -> Value {
    types
        .iter()
        .map(|media| ((*media).to_owned(), json!({"schema": schema})))
        .collect::<Map<_, _>>()
        .into()
}

/// What both dialects have.
fn common(item: &PathItem<'_>, operation: &Operation<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert(
        "description".to_owned(),
        operation.description.as_str().into(),
    );
    out.insert("operationId".to_owned(), operation.id.as_str().into());
    out.insert("tags".to_owned(), json!([tag(item)]));
    if let Some(action) = operation.action {
        out.insert("x-kubernetes-action".to_owned(), action.into());
    }
    if let Some(of) = operation.gvk {
        out.insert("x-kubernetes-group-version-kind".to_owned(), gvk(of));
    }
    out
}

/// `core_v1`, `rbacAuthorization_v1`.
fn tag(item: &PathItem<'_>) -> String {
    let group = item.group.strip_suffix(".k8s.io").unwrap_or(item.group);
    let mut words = group.split('.');
    let first = match words.next() {
        None | Some("") => "core",
        Some(word) => word,
    };
    let rest: String = words
        .map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..]))
        .collect();
    format!("{first}{rest}_{}", item.version)
}

fn consumes(body: Option<Body<'_>>) -> &'static [&'static str] {
    match body {
        Some(Body::Patch { strategic: true }) => CONSUMES_PATCH,
        Some(Body::Patch { strategic: false }) => CONSUMES_PATCH_OF_CUSTOM,
        _ => CONSUMES,
    }
}

fn produces(operation: &Operation<'_>) -> &'static [&'static str] {
    match operation.action {
        Some("list") => PRODUCES_WATCH,
        Some("connect") => CONSUMES,
        _ if operation.response.is_none() => PRODUCES_TEXT,
        _ => PRODUCES,
    }
}

fn query(operation: &Operation<'_>) -> impl Iterator<Item = &'static Parameter> {
    PARAMETERS
        .iter()
        .filter(|(name, ..)| operation.query.contains(name))
}

/// Parameters of every operation at a path, with where they stand.
fn path_parameters(item: &PathItem<'_>) -> Vec<(&'static str, Parameter)> {
    let mut all: Vec<(&'static str, Parameter)> = Vec::new();
    if item.path.contains("{name}") {
        all.push(("path", ("name", "string", "name of the object")));
    }
    if item.path.contains("{namespace}") {
        all.push((
            "path",
            ("namespace", "string", "the namespace of the object"),
        ));
    }
    if !item.kind.is_empty() {
        all.push((
            "query",
            (
                "pretty",
                "string",
                "If 'true', then the output is pretty printed.",
            ),
        ));
    }
    all
}

fn responses(operation: &Operation<'_>, success: impl Fn(Option<&str>) -> Value) -> Value {
    let mut out = Map::new();
    for code in operation.codes {
        let mut response = success(operation.response);
        response["description"] = match code {
            200 => "OK",
            201 => "Created",
            _ => "Accepted",
        }
        .into();
        out.insert(code.to_string(), response);
    }
    out.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    out.into()
}
