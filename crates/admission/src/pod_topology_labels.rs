//! PodTopologyLabels: a pod that gets a node gets its zone and region as labels, for the downward API to tell its containers.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use knarr_auth::objects::Objects;
use knarr_meta::{object::str_at, status::Status};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::is;
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

/// The plugin.
pub struct PodTopologyLabels {
    objects: Arc<dyn Objects>,
}

/// What is read of a node: there is one for each pod that is bound.
#[derive(Deserialize)]
struct Node {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl PodTopologyLabels {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        PodTopologyLabels { objects }
    }

    /// None of a node that nobody knows.
    fn labels(&self, node: &str) -> Vec<(&'static str, String)> {
        let node = self.objects.get("", "nodes", "", node);
        let node: Option<Node> = node.and_then(|node| serde_json::from_slice(&node.json).ok());
        let Some(mut node) = node else {
            return Vec::new();
        };
        let labels = LABELS.into_iter();
        labels
            .filter_map(|key| Some((key, node.metadata.labels.remove(key)?)))
            .collect()
    }
}

#[async_trait]
impl AdmissionPlugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, "", "pods")
            && matches!(request.subresource, "" | "binding")
            && request.operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let is_binding = request.subresource == "binding";
        // What a binding is labelled with, its pod is.
        let Some(object) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let node = match is_binding {
            true if str_at(object, &["target", "kind"]) != "Node" => "",
            true => str_at(object, &["target", "name"]),
            false => str_at(object, &["spec", "nodeName"]),
        };
        if node.is_empty() {
            return Ok(());
        }
        let found = self.labels(node);
        if found.is_empty() {
            return Ok(());
        }
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            let labels = meta.entry("labels").or_insert(Value::Null);
            if labels.is_null() {
                *labels = Map::new().into();
            }
            for (key, value) in found {
                labels[key] = value.into();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use knarr_auth::testing::{Fake, kind, user};
    use serde_json::json;

    use super::*;
    use crate::testing::Write;

    #[tokio::test]
    async fn zone_and_region_replace_what_a_pod_says() {
        let fake = Fake::new();
        let labels = json!({
            "topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1", "kubernetes.io/arch": "amd64",
        });
        fake.put(
            "",
            "nodes",
            json!({"metadata": {"name": "one", "labels": labels}}),
        );
        let plugin = PodTopologyLabels::new(fake);
        let pods = kind("", "pods", "Pod");
        let run = async |node: &str| {
            let pod = json!({
                "metadata": {"name": "p", "labels": {"a": "b", "topology.kubernetes.io/zone": "mine"}},
                "spec": {"nodeName": node},
            });
            let write = Write::create(pods, user("ann", &[]), pod);
            let admitted = write.run(&plugin).await.expect("it is let in");
            admitted["metadata"]["labels"].clone()
        };
        assert_eq!(
            run("one").await,
            json!({"a": "b", "topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1"})
        );
        let own = json!({"a": "b", "topology.kubernetes.io/zone": "mine"});
        assert_eq!(run("two").await, own);
        assert_eq!(run("").await, own);
    }

    #[tokio::test]
    async fn a_binding_carries_them() {
        let fake = Fake::new();
        let labels = json!({"topology.kubernetes.io/zone": "z1"});
        fake.put(
            "",
            "nodes",
            json!({"metadata": {"name": "one", "labels": labels}}),
        );
        let plugin = PodTopologyLabels::new(fake);
        let pods = kind("", "pods", "Pod");
        let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "one"}});
        let write = Write {
            subresource: "binding",
            ..Write::create(pods, user("ann", &[]), binding)
        };
        let admitted = write.run(&plugin).await.expect("it is let in");
        assert_eq!(admitted["metadata"]["labels"], labels);
    }
}
