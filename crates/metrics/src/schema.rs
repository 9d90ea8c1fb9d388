//! The OpenAPI documents: what `kubectl explain` reads, v3 since 1.27 and v2 before.

use serde_json::{Value, json};

use crate::{GROUP, Resource, VERSION};

const JSON: &str = "application/json";
const PREFIX: &str = "io.k8s.metrics.pkg.apis.metrics.v1beta1";

/// Version of OpenAPI.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    /// A reference to the definition of a kind.
    fn reference(self, kind: &str) -> Value {
        let place = match self {
            Dialect::V2 => "definitions",
            Dialect::V3 => "components/schemas",
        };
        json!({"$ref": format!("#/{place}/{PREFIX}.{kind}")})
    }

    /// A successful answer.
    fn response(self, kind: &str) -> Value {
        let schema = self.reference(kind);
        match self {
            Dialect::V2 => json!({"description": "OK", "schema": schema}),
            Dialect::V3 => {
                json!({"description": "OK", "content": {JSON: {"schema": schema}}})
            }
        }
    }
}

/// The document of the group-version.
pub(crate) fn document() -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths(Dialect::V3),
        "components": {"schemas": schemas(Dialect::V3)},
    })
}

/// The same as OpenAPI v2.
pub(crate) fn document_v2() -> Value {
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths(Dialect::V2),
        "definitions": schemas(Dialect::V2),
    })
}

fn schemas(dialect: Dialect) -> Value {
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
        "items": dialect.reference("ContainerMetrics"),
    });
    let mut schemas = json!({});
    for (resource, own) in [
        (Resource::Nodes, ("usage", quantities.clone())),
        (Resource::Pods, ("containers", containers)),
    ] {
        let kind = resource.kind();
        schemas[format!("{PREFIX}.{kind}")] = metrics(resource, own);
        schemas[format!("{PREFIX}.{kind}List")] = list(kind, dialect);
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

fn list(kind: &str, dialect: Dialect) -> Value {
    json!({
        "type": "object",
        "description": format!("{kind}List is a list of {kind}."),
        "properties": {
            "apiVersion": text("The version of the representation."),
            "kind": text("The kind of the object."),
            "metadata": {"type": "object", "description": "Standard list metadata."},
            "items": {"type": "array", "items": dialect.reference(kind)},
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": format!("{kind}List")}],
    })
}

/// The operations; clients find the kind of a path in them.
fn paths(dialect: Dialect) -> Value {
    let operation = |action: &str, resource: Resource, list: bool| {
        let kind = resource.kind();
        let returned = if list {
            format!("{kind}List")
        } else {
            kind.to_owned()
        };
        let mut operation = json!({
            "responses": {"200": dialect.response(&returned)},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": kind},
        });
        if let Dialect::V2 = dialect {
            operation["produces"] = json!([JSON]);
        }
        json!({"get": operation})
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
