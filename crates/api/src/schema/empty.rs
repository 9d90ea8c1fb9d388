//! What is empty: lists and maps, which Go tells from those that are not there, and what a scalar is at first.
//!
//! Nothing that is stored has such. In a request they matter to few types: a default that is not filled in, a change that is counted.

use serde_json::Value;

/// Types whose defaults or whose count of changes look.
const TELLING: [&str; 4] = [
    "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
    "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "io.k8s.api.networking.v1.NetworkPolicy",
];

/// Whether objects of a definition keep what is empty until they are written.
pub fn is_told(definition: &str) -> bool {
    TELLING.contains(&definition)
}

/// Whether something is empty in what an object says beside its type, metadata and status.
pub fn is_said(object: &Value) -> bool {
    const ASIDE: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| !ASIDE.contains(&name.as_str()))
        .any(|(_, value)| holds(value))
}

/// An object of nothing is a struct's zero value; a map is none where a type says so, and those of these types are of labels.
fn holds(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty() || list.iter().any(holds),
        Value::Object(map) => map.iter().any(|(name, value)| match value {
            Value::Object(inner) if name == "matchLabels" => inner.is_empty(),
            value => holds(value),
        }),
        _ => false,
    }
}

/// Whether a scalar is what Go has where nobody said anything.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_empty_is_found() {
        for (object, wanted) in [
            (json!({"spec": {"podSelector": {}}}), false),
            (json!({"spec": {"podSelector": {"matchLabels": {}}}}), true),
            (json!({"spec": {"egress": []}}), true),
            (
                json!({"spec": {"ingress": [{"from": [{"namespaceSelector": {}}]}]}}),
                false,
            ),
            (
                json!({"spec": {"ingress": [{"from": [{"namespaceSelector": {"matchExpressions": []}}]}]}}),
                true,
            ),
            (json!({"webhooks": []}), true),
            (
                json!({"metadata": {"finalizers": []}, "status": {"a": []}, "spec": null}),
                false,
            ),
        ] {
            assert_eq!(is_said(&object), wanted, "{object}");
        }
    }
}
