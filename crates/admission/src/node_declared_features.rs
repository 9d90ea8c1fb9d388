//! NodeDeclaredFeatureValidator: a pod on a node is not changed to what its kubelet cannot do, by what the node declares (upstream
//! `nodedeclaredfeatures`; what a change asks for is inferred as in `component-helpers/nodedeclaredfeatures/features`).

use std::sync::Arc;

use async_trait::async_trait;
use knarr_auth::objects::Objects;
use knarr_meta::{
    object::{list_at, str_at},
    status::Status,
};
use serde_json::Value;

use super::{forbidden, is, is_resize, read};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const POD_LEVEL_RESOURCES: &str = "InPlacePodLevelResourcesVerticalScaling";
const INIT_CONTAINERS: &str = "InPlacePodVerticalScalingInitContainers";

/// The plugin.
pub struct NodeDeclaredFeatureValidator {
    objects: Arc<dyn Objects>,
}

impl NodeDeclaredFeatureValidator {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        NodeDeclaredFeatureValidator { objects }
    }
}

#[async_trait]
impl AdmissionPlugin for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        let of_spec = is(request, "", "pods")
            && request.subresource.is_empty()
            && request.operation == Operation::Update;
        of_spec || is_resize(request)
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let (Some(pod), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        let name = str_at(pod, &["spec", "nodeName"]);
        let mut missing = required(old, pod);
        if name.is_empty() || missing.is_empty() {
            return Ok(());
        }
        let Some(node) = read(&*self.objects, "", "nodes", "", name) else {
            return Err(forbidden(request, format!("node \"{name}\" not found")));
        };
        let declared = list_at(&node, &["status", "declaredFeatures"]);
        missing.retain(|feature| !declared.iter().any(|one| one == feature));
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        let why = format!(
            "pod update requires features {missing} which are not available on node \"{name}\""
        );
        Err(forbidden(request, why))
    }
}

/// The features that a change of a pod asks of its node; without those that no default cluster of this release has.
fn required(old: &Value, new: &Value) -> Vec<&'static str> {
    let mut required = Vec::new();
    if differ(&old["spec"]["resources"], &new["spec"]["resources"]) {
        required.push(POD_LEVEL_RESOURCES);
    }
    let after = list_at(new, &["spec", "initContainers"]);
    let mut pairs = list_at(old, &["spec", "initContainers"]).iter().zip(after);
    if pairs.any(|(old, new)| {
        let is_sidecar = str_at(old, &["restartPolicy"]) == "Always";
        !is_sidecar && differ(&old["resources"], &new["resources"])
    }) {
        required.push(INIT_CONTAINERS);
    }
    required
}

/// Whether two resources differ; such as ask for nothing are as none.
fn differ(old: &Value, new: &Value) -> bool {
    let is_none = |resources: &Value| resources.as_object().is_none_or(serde_json::Map::is_empty);
    old != new && !(is_none(old) && is_none(new))
}

#[cfg(test)]
mod tests {
    use knarr_api::core::pod;
    use knarr_auth::testing::{Fake, kind, user};
    use serde_json::json;

    use super::*;
    use crate::testing::Write;

    /// A pod whose own, whose step's and whose sidecar's processors are these.
    fn pod_of(node: &str, [own, step, sidecar]: [&str; 3]) -> Value {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {
                "nodeName": node,
                "resources": cpu(own),
                "initContainers": [
                    {"name": "step", "resources": cpu(step)},
                    {"name": "sidecar", "restartPolicy": "Always", "resources": cpu(sidecar)},
                ],
                "containers": [{"name": "c", "resources": cpu(sidecar)}],
            },
        })
    }

    #[tokio::test]
    async fn a_pod_is_changed_only_to_what_its_node_can_do() {
        let fake = Fake::new();
        for (name, declared) in [
            ("old", json!(null)),
            ("half", json!([INIT_CONTAINERS, "Other"])),
            ("new", json!([INIT_CONTAINERS, POD_LEVEL_RESOURCES])),
        ] {
            let status = json!({"declaredFeatures": declared});
            let node = json!({"metadata": {"name": name}, "status": status});
            fake.put("", "nodes", node);
        }
        let plugin = NodeDeclaredFeatureValidator::new(fake as Arc<dyn Objects>);
        let lacks = |features: &str, node: &str| {
            Some(format!(
                "pods \"p\" is forbidden: pod update requires features {features} which are not available on node \"{node}\""
            ))
        };
        let before = ["2", "1", "1"];
        for (node, after, refusal) in [
            ("old", before, None),
            ("old", ["2", "1", "2"], None),
            (
                "old",
                ["3", "1", "1"],
                lacks("InPlacePodLevelResourcesVerticalScaling", "old"),
            ),
            (
                "old",
                ["3", "2", "1"],
                lacks(
                    "InPlacePodLevelResourcesVerticalScaling, InPlacePodVerticalScalingInitContainers",
                    "old",
                ),
            ),
            ("half", ["2", "2", "1"], None),
            (
                "half",
                ["3", "2", "1"],
                lacks("InPlacePodLevelResourcesVerticalScaling", "half"),
            ),
            ("new", ["3", "2", "2"], None),
            ("", ["3", "2", "2"], None),
            ("gone", ["2", "1", "2"], None),
            (
                "gone",
                ["2", "2", "1"],
                Some("pods \"p\" is forbidden: node \"gone\" not found".to_owned()),
            ),
        ] {
            for subresource in ["", pod::RESIZE, "status"] {
                let (old, new) = (pod_of(node, before), pod_of(node, after));
                let write = Write {
                    subresource,
                    ..Write::update(kind("", "pods", "Pod"), user("ann", &[]), old, new)
                };
                let told = write.run(&plugin).await.err().map(|status| status.message);
                let wanted = refusal.clone().filter(|_| subresource != "status");
                assert_eq!(told, wanted, "{node} {after:?} {subresource}");
            }
        }
    }

    #[test]
    fn resources_of_nothing_are_none() {
        let pod = |resources: Value| json!({"spec": {"resources": resources}});
        for (old, new, wanted) in [
            (json!(null), json!({}), false),
            (json!(null), json!({"requests": {"cpu": "1"}}), true),
            (json!({"requests": {"cpu": "1"}}), json!({}), true),
        ] {
            assert_eq!(required(&pod(old), &pod(new)).len(), usize::from(wanted));
        }
    }
}
