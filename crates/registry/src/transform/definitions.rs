//! CustomResourceDefinitions as upstream's servers store them: in v1beta1, whatever version they were written in.
//!
//! That version has what is the same of all versions once, beside them. It is read as upstream reads it.

use knarr_api::Kind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

const OLD: &str = "apiextensions.k8s.io/v1beta1";
const NEW: &str = "apiextensions.k8s.io/v1";

/// Fields of all versions, and their names in each.
const COMMON: [(&str, &str); 4] = [
    ("subresources", "subresources"),
    ("validation", "schema"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// In v1, where it is of the version before; `None`: it is none of those.
pub fn renewed(kind: &Kind, json: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        api_version: String,
    }
    if kind.group != "apiextensions.k8s.io" || kind.resource != "customresourcedefinitions" {
        return None;
    }
    let head: Head = serde_json::from_slice(json).ok()?;
    if head.api_version != OLD {
        return None;
    }
    let mut tree: Value = serde_json::from_slice(json).ok()?;
    tree["apiVersion"] = NEW.into();
    if let Some(spec) = tree.get_mut("spec").and_then(Value::as_object_mut) {
        renew(spec);
    }
    serde_json::to_vec(&tree).ok()
}

fn renew(spec: &mut Map<String, Value>) {
    let version = spec.remove("version");
    let versions = spec.entry("versions").or_insert(Value::Null);
    if versions.as_array().is_none_or(Vec::is_empty)
        && let Some(name) = version
    {
        *versions = json!([{"name": name, "served": true, "storage": true}]);
    }
    for (common, own) in COMMON {
        let Some(value) = spec.remove(common).filter(|value| !value.is_null()) else {
            continue;
        };
        let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
        for version in versions.into_iter().flatten() {
            if let Some(version) = version.as_object_mut() {
                version.insert(own.to_owned(), value.clone());
            }
        }
    }
    // Its absence means one thing there, and the other here.
    match spec.get("preserveUnknownFields") {
        Some(Value::Bool(false)) => {
            spec.remove("preserveUnknownFields");
        }
        None => {
            spec.insert("preserveUnknownFields".to_owned(), true.into());
        }
        Some(_) => {}
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        let mut webhook = Map::new();
        if let Some(client) = conversion.remove("webhookClientConfig") {
            webhook.insert("clientConfig".to_owned(), client);
        }
        if let Some(reviews) = conversion.remove("conversionReviewVersions") {
            webhook.insert("conversionReviewVersions".to_owned(), reviews);
        }
        if !webhook.is_empty() {
            conversion.insert("webhook".to_owned(), webhook.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions() -> &'static Kind {
        let found = knarr_api::built_in("apiextensions.k8s.io", "v1", "customresourcedefinitions");
        found.expect("the kind of definitions")
    }

    fn read(stored: &Value) -> Option<Value> {
        let renewed = renewed(definitions(), stored.to_string().as_bytes())?;
        Some(serde_json::from_slice(&renewed).expect("JSON"))
    }

    #[test]
    fn what_versions_share_is_in_each_of_them() {
        let stored = json!({"apiVersion": OLD, "kind": "CustomResourceDefinition", "spec": {
            "group": "x.io", "version": "v1", "preserveUnknownFields": false,
            "validation": {"openAPIV3Schema": {"type": "object"}}, "subresources": {"status": {}},
            "versions": [{"name": "v1", "served": true, "storage": true}, {"name": "v2", "served": true, "storage": false}],
            "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]},
        }});
        let common = json!({"schema": {"openAPIV3Schema": {"type": "object"}}, "subresources": {"status": {}}});
        let version = |name: &str, storage: bool| {
            let mut version = json!({"name": name, "served": true, "storage": storage});
            for (key, value) in common.as_object().into_iter().flatten() {
                version[key] = value.clone();
            }
            version
        };
        let wanted = json!({"apiVersion": NEW, "kind": "CustomResourceDefinition", "spec": {
            "group": "x.io", "versions": [version("v1", true), version("v2", false)],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]},
            },
        }});
        assert_eq!(read(&stored), Some(wanted));
    }

    #[test]
    fn one_version_and_unknown_fields_are_what_they_were_before() {
        let stored = json!({"apiVersion": OLD, "spec": {"version": "v1"}});
        let wanted = json!({"apiVersion": NEW, "spec": {
            "preserveUnknownFields": true, "versions": [{"name": "v1", "served": true, "storage": true}],
        }});
        assert_eq!(read(&stored), Some(wanted));
        assert_eq!(read(&json!({"apiVersion": NEW, "spec": {}})), None);
        assert_eq!(renewed(definitions(), b"{"), None);
    }
}
