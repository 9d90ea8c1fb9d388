//! The OpenAPI v3 document: what `kubectl explain` reads.

use serde_json::{Value, json};

use crate::{GROUP, Resource, VERSION};

const PREFIX: &str = "io.k8s.metrics.pkg.apis.metrics.v1beta1";

/// The document of the group-version.
pub(crate) fn document() -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths(),
        "components": {"schemas": schemas()},
    })
}

fn schemas() -> Value {
    let quantities = json!({
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "The CPU usage is in billionths of a core or more, the memory usage in bytes: the working set.",
    });
    let container = json!({
        "type": "object",
        "description": "ContainerMetrics is what is used by a container.",
        "properties": {"name": text("The container's name."), "usage": quantities},
        "required": ["name", "usage"],
    });
    let containers = json!({
        "type": "array",
        "description": "Metrics of all containers, of the same time.",
        "items": {"$ref": format!("#/components/schemas/{PREFIX}.ContainerMetrics")},
    });
    let mut schemas = json!({});
    for (resource, own) in [
        (Resource::Nodes, ("usage", quantities.clone())),
        (Resource::Pods, ("containers", containers)),
    ] {
        let kind = resource.kind();
        schemas[format!("{PREFIX}.{kind}")] = metrics(resource, own);
        schemas[format!("{PREFIX}.{kind}List")] = list(kind);
    }
    schemas[format!("{PREFIX}.ContainerMetrics")] = container;
    schemas
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// What one node or pod uses. `own`: the property that only this kind has.
fn metrics(resource: Resource, own: (&str, Value)) -> Value {
    let kind = resource.kind();
    let whose = match resource {
        Resource::Nodes => "a node",
        Resource::Pods => "a pod",
    };
    let mut properties = json!({
        "apiVersion": text("The version of the representation."),
        "kind": text("The kind of the object."),
        "metadata": {"type": "object", "description": "Standard object's metadata."},
        "timestamp": {
            "type": "string",
            "format": "date-time",
            "description": "The end of the time in which usage was measured.",
        },
        "window": text("The length of that time."),
    });
    properties[own.0] = own.1;
    json!({
        "type": "object",
        "description": format!("{kind} is what is used by {whose}."),
        "properties": properties,
        "required": ["timestamp", "window", own.0],
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": kind}],
    })
}

fn list(kind: &str) -> Value {
    json!({
        "type": "object",
        "description": format!("{kind}List is a list of {kind}."),
        "properties": {
            "apiVersion": text("The version of the representation."),
            "kind": text("The kind of the object."),
            "metadata": {"type": "object", "description": "Standard list metadata."},
            "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{PREFIX}.{kind}")}},
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": format!("{kind}List")}],
    })
}

/// The operations; clients find the kind of a path in them.
fn paths() -> Value {
    let operation = |action: &str, resource: Resource, list: bool| {
        let kind = resource.kind();
        let returned = if list {
            format!("{kind}List")
        } else {
            kind.to_owned()
        };
        json!({"get": {
            "responses": {"200": {"description": "OK", "content": {"application/json": {
                "schema": {"$ref": format!("#/components/schemas/{PREFIX}.{returned}")},
            }}}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": kind},
        }})
    };
    let root = format!("/apis/{GROUP}/{VERSION}");
    let (nodes, pods) = (Resource::Nodes, Resource::Pods);
    json!({
        format!("{root}/nodes"): operation("list", nodes, true),
        format!("{root}/nodes/{{name}}"): operation("get", nodes, false),
        format!("{root}/pods"): operation("list", pods, true),
        format!("{root}/namespaces/{{namespace}}/pods"): operation("list", pods, true),
        format!("{root}/namespaces/{{namespace}}/pods/{{name}}"): operation("get", pods, false),
    })
}
