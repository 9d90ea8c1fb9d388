//! ComponentStatus: the health of the control plane's parts. It is made when it is read and never stored.

use knarr_meta::object::{self, list_at, str_at};
use serde_json::{Value, json};

use crate::{
    kind::{BuiltIn, Column, Scope, Strategy, Verb},
    now::Now,
    table::{NAME, column},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "ComponentStatus",
    resource: "componentstatuses",
    singular: "componentstatus",
    short_names: &["cs"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: &[Verb::Get, Verb::List],
    subresources: &[],
    storage: None,
    definition: "io.k8s.api.core.v1.ComponentStatus",
    strategy: &ComponentStatus,
    aliases: &[],
};

struct ComponentStatus;

const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "Status of the component conditions"),
    column("Message", "string", "Message of the component conditions"),
    column("Error", "string", "Error of the component conditions"),
];

impl Strategy for ComponentStatus {
    fn deprecation(&self) -> Option<&str> {
        Some("v1 ComponentStatus is deprecated in v1.19+")
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: &Now) -> Vec<Value> {
        let conditions = list_at(object, &["conditions"]);
        let healthy = conditions
            .iter()
            .find(|c| str_at(c, &["type"]) == "Healthy");
        let text = |field| healthy.map_or("", |condition| str_at(condition, &[field]));
        let status = match (healthy, text("status")) {
            (None, _) => "Unknown",
            (Some(_), "True") => "Healthy",
            (Some(_), _) => "Unhealthy",
        };
        [object::name(object), status, text("message"), text("error")]
            .map(Value::from)
            .into()
    }
}

/// The object of a component; an error says why it is not healthy.
pub fn of(name: &str, health: &Result<(), String>) -> Value {
    let condition = match health {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(error) => json!({"type": "Healthy", "status": "False", "error": error}),
    };
    json!({
        "apiVersion": "v1",
        "kind": "ComponentStatus",
        "metadata": {"name": name},
        "conditions": [condition],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_why_a_component_is_not_healthy() {
        let cells = |health| ComponentStatus.cells(&of("scheduler", &health), &Now::new(0));
        assert_eq!(cells(Ok(())), ["scheduler", "Healthy", "ok", ""]);
        let gone = cells(Err("gone".to_owned()));
        assert_eq!(gone, ["scheduler", "Unhealthy", "", "gone"]);
    }
}
