//! Valid objects of each kind, which all requests are made from: together they set every field (`coverage`).

use anyhow::{Context, Result, bail};
use knarr_api::{
    built_in_kinds,
    kind::Verb,
    schema::{self, Schema},
};
use serde::Deserialize;
use serde_json::Value;

use super::parts;

const TEXTS: [&str; 9] = [
    include_str!("objects/core.yaml"),
    include_str!("objects/volumes.yaml"),
    include_str!("objects/workloads.yaml"),
    include_str!("objects/templates.yaml"),
    include_str!("objects/network.yaml"),
    include_str!("objects/access.yaml"),
    include_str!("objects/extension.yaml"),
    include_str!("objects/devices.yaml"),
    include_str!("objects/admission.yaml"),
];

/// What has to be there before: a path, and an object to be made there.
pub const FOUNDATION: [(&str, &str); 7] = [
    (
        "/api/v1/namespaces",
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}"#,
    ),
    (
        "/api/v1/namespaces",
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "limits"}}"#,
    ),
    // Claims have devices for administrators where it is allowed.
    (
        "/api/v1/namespaces",
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "administrators", "labels": {"resource.kubernetes.io/admin-access": "true"}}}"#,
    ),
    (
        "/api/v1/namespaces/default/serviceaccounts",
        r#"{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}"#,
    ),
    // The class that claims of no class get, which knarr has from the start.
    (
        "/apis/storage.k8s.io/v1/storageclasses",
        r#"{"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local-path", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "rancher.io/local-path", "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer"}"#,
    ),
    // Admission looks for the class of a pod.
    (
        "/apis/node.k8s.io/v1/runtimeclasses",
        r#"{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "sandbox"}, "handler": "sandbox", "overhead": {"podFixed": {"cpu": "10m"}}}"#,
    ),
    (
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        include_str!("objects/gizmo.json"),
    ),
];

/// What the last of them serves.
pub const CUSTOM: &str = "/apis/example.com/v1/namespaces/default/gizmos";

/// A valid object and where it lives.
pub struct Example {
    pub kind: String,
    pub object: Value,
    /// Where objects of its kind are made.
    pub collection: String,
    /// Where it is; `None` for kinds that are only asked.
    pub path: Option<String>,
    pub subresources: Vec<&'static str>,
    /// Whether somebody makes such objects.
    pub made: bool,
    /// The type of its kind, where that is one of the program's own.
    pub schema: Option<&'static Schema>,
}

impl Example {
    /// Its name, empty for what has none.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// All, in the order in which they can be made.
pub fn all() -> Result<Vec<Example>> {
    let mut objects = Vec::new();
    for text in TEXTS {
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            objects.push(Value::deserialize(document).context("an object is no YAML")?);
        }
    }
    let whole = |object: &Value| {
        let shown = format!("{} {}", object["kind"], object["metadata"]["name"]);
        parts::filled_in(object, &objects)
            .and_then(example)
            .context(shown)
    };
    objects.iter().map(whole).collect()
}

fn example(object: Value) -> Result<Example> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let base = match group {
        "" => format!("/api/{version}"),
        _ => format!("/apis/{group}/{version}"),
    };
    let serves = |known: &&std::sync::Arc<knarr_api::Kind>| {
        known.kind == kind
            && knarr_api::Served::all(known).any(|s| s.group() == group && s.version() == version)
    };
    let (resource, namespaced, stored, subresources, made) =
        match built_in_kinds().iter().find(serves) {
            Some(known) => (
                known.resource.to_string(),
                known.namespaced(),
                known.verbs.contains(&Verb::Get),
                known.subresources.iter().map(|s| s.name).collect(),
                known.verbs.contains(&Verb::Create),
            ),
            None if group == "example.com" => (
                format!("{}s", kind.to_lowercase()),
                true,
                true,
                vec!["status", "scale"],
                true,
            ),
            None => bail!("knarr has no {kind} of {api_version}"),
        };
    let collection = match (namespaced, object["metadata"]["namespace"].as_str()) {
        (false, _) => format!("{base}/{resource}"),
        (true, namespace) => {
            format!(
                "{base}/namespaces/{}/{resource}",
                namespace.unwrap_or("default")
            )
        }
    };
    let name = text(&object["metadata"]["name"]);
    let path = stored.then(|| format!("{collection}/{name}"));
    let definition = schema::definition_of_kind(group, version, &kind);
    Ok(Example {
        kind,
        object,
        collection,
        path,
        subresources,
        made,
        schema: definition.map(|definition| definition.schema()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_an_object() {
        let examples = all().unwrap();
        let have: BTreeSet<&str> = examples.iter().map(|e| e.kind.as_str()).collect();
        for kind in built_in_kinds() {
            let name: &str = &kind.kind;
            assert!(have.contains(name), "{name}");
        }
    }

    #[test]
    fn objects_are_where_their_kinds_are() {
        let examples = all().unwrap();
        let path = |kind: &str| {
            let example = examples
                .iter()
                .find(|example| example.kind == kind)
                .unwrap();
            example.path.clone()
        };
        let wanted = [
            ("Pod", Some("/api/v1/namespaces/default/pods/base")),
            (
                "ClusterRole",
                Some("/apis/rbac.authorization.k8s.io/v1/clusterroles/base"),
            ),
            (
                "LimitRange",
                Some("/api/v1/namespaces/limits/limitranges/base"),
            ),
            (
                "Gizmo",
                Some("/apis/example.com/v1/namespaces/default/gizmos/base"),
            ),
            ("TokenReview", None),
        ];
        for (kind, wanted) in wanted {
            assert_eq!(path(kind).as_deref(), wanted, "{kind}");
        }
    }
}
