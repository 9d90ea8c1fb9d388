//! Path items in the two dialects.

use serde_json::{Map, Value, json};

use super::{
    dialect::Dialect,
    item::{Body, Operation, PathItem},
    parameters::{Parameter, Parameters},
    shared::Shared,
};

/// The value of `x-kubernetes-group-version-kind` for one kind.
pub(super) fn gvk((group, version, kind): (&str, &str, &str)) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// A path item of OpenAPI v2; parameters that others have as well are referred to.
pub(super) fn v2(item: &PathItem<'_>, shared: &mut Shared) -> Value {
    let Parameters { common, own } = Parameters::of(item);
    let mut out = Map::new();
    for (operation, own) in item.operations.iter().zip(&own) {
        let of = v2_operation(item, operation, own, shared);
        out.insert(operation.method.to_owned(), of);
    }
    let common = common.iter().map(v2_parameter);
    add_parameters(&mut out, common.map(|of| shared.place(of)));
    out.into()
}

/// A path item of OpenAPI v3.
pub(super) fn v3(item: &PathItem<'_>) -> Value {
    let Parameters { common, own } = Parameters::of(item);
    let mut out = Map::new();
    for (operation, own) in item.operations.iter().zip(&own) {
        let of = v3_operation(item, operation, own);
        out.insert(operation.method.to_owned(), of);
    }
    add_parameters(&mut out, common.iter().map(v3_parameter));
    out.into()
}

fn add_parameters(out: &mut Map<String, Value>, parameters: impl Iterator<Item = Value>) {
    let parameters: Vec<Value> = parameters.collect();
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
}

fn v2_parameter(parameter: &Parameter) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "type": parameter.ty,
        "uniqueItems": true,
    });
    require(&mut out, parameter.place == "path");
    out
}

fn v3_parameter(parameter: &Parameter) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": {"type": parameter.ty, "uniqueItems": true},
    });
    require(&mut out, parameter.place == "path");
    out
}

fn require(out: &mut Value, required: bool) {
    if required {
        out["required"] = true.into();
    }
}

fn v2_operation(
    item: &PathItem<'_>,
    operation: &Operation<'_>,
    own: &[Parameter],
    shared: &mut Shared,
) -> Value {
    let mut out = common(item, operation);
    out.insert("schemes".to_owned(), json!(["https"]));
    for (field, types) in [
        ("consumes", operation.consumes),
        ("produces", operation.produces),
    ] {
        if !types.is_empty() {
            out.insert(field.to_owned(), types.into());
        }
    }
    let body = operation.body.map(|body| {
        let schema = Dialect::V2.reference(body.definition());
        let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
        require(&mut parameter, !matches!(body, Body::Optional(_)));
        parameter
    });
    let all = body.into_iter().chain(own.iter().map(v2_parameter));
    add_parameters(&mut out, all.map(|of| shared.place(of)));
    let responses = responses(operation, |name| match name {
        Some(name) => json!({"schema": Dialect::V2.reference(name)}),
        None => json!({"schema": {"type": "string"}}),
    });
    out.insert("responses".to_owned(), responses);
    out.into()
}

fn v3_operation(item: &PathItem<'_>, operation: &Operation<'_>, own: &[Parameter]) -> Value {
    let mut out = common(item, operation);
    add_parameters(&mut out, own.iter().map(v3_parameter));
    if let Some(body) = operation.body {
        let schema = Dialect::V3.reference(body.definition());
        let mut request = json!({"content": content(operation.consumes, &schema)});
        require(&mut request, !matches!(body, Body::Optional(_)));
        out.insert("requestBody".to_owned(), request);
    }
    let responses = responses(operation, |name| {
        let schema = match name {
            Some(name) => Dialect::V3.reference(name),
            None => json!({"type": "string"}),
        };
        json!({"content": content(operation.produces, &schema)})
    });
    out.insert("responses".to_owned(), responses);
    out.into()
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
    out.insert("tags".to_owned(), json!([item.tag]));
    if let Some(action) = operation.action {
        out.insert("x-kubernetes-action".to_owned(), action.into());
    }
    if let Some(of) = operation.gvk {
        out.insert("x-kubernetes-group-version-kind".to_owned(), gvk(of));
    }
    out
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
