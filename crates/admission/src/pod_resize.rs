//! PodResizeValidator: a pod on a node is not resized to more than the whole node has. Whether there is room beside its other pods
//! is the node's to say.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::core::{
    amounts::{Amounts, amounts},
    pod,
};
use knarr_auth::objects::Objects;
use knarr_meta::{
    Quantity,
    object::{self, str_at},
    status::Status,
};
use serde_json::Value;

use super::{forbidden, is_resize, read};
use crate::request::{AdmissionPlugin, AdmissionRequest};

const OS_LABEL: &str = "kubernetes.io/os";
/// Reasons of the refusal's cause, for programs.
const NODE_CAPACITY: &str = "NodeCapacity";
const UNSUPPORTED_PLATFORM: &str = "UnsupportedPlatform";

/// The plugin.
pub struct PodResizeValidator {
    objects: Arc<dyn Objects>,
}

impl PodResizeValidator {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        PodResizeValidator { objects }
    }
}

#[async_trait]
impl AdmissionPlugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is_resize(request)
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let (Some(pod), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        let name = str_at(pod, &["spec", "nodeName"]);
        if name.is_empty() || object::generation(pod) == object::generation(old) {
            return Ok(());
        }
        let Some(node) = read(&*self.objects, "", "nodes", "", name) else {
            return Err(forbidden(request, format!("node \"{name}\" not found")));
        };
        let os = object::label(&node, OS_LABEL).unwrap_or("linux");
        if os != "linux" {
            let why =
                format!("pod resize is only supported on linux nodes, node \"{name}\" is \"{os}\"");
            return Err(forbidden(request, why).with_cause(UNSUPPORTED_PLATFORM, "", ""));
        }
        match excess(pod, &amounts(&node, &["status", "allocatable"])) {
            Some(why) => Err(forbidden(request, why).with_cause(NODE_CAPACITY, "", "")),
            None => Ok(()),
        }
    }
}

/// Of what a pod asks for more than there is, in upstream's words.
fn excess(pod: &Value, allocatable: &Amounts) -> Option<String> {
    let mut requests = pod::amounts::requests(pod);
    pod::amounts::add(&mut requests, &amounts(pod, &["spec", "overhead"]));
    let of = |list: &Amounts, name: &str| list.get(name).copied().unwrap_or(Quantity::ZERO);
    let told = ["cpu", "memory"].iter().filter_map(|name| {
        let (request, have) = (of(&requests, name), of(allocatable, name));
        let number = |quantity: Quantity| match *name {
            "cpu" => quantity.milli_value(),
            _ => quantity.value(),
        };
        (request > have).then(|| {
            format!(
                "{name}, requested: {}, allocatable: {}",
                number(request),
                number(have)
            )
        })
    });
    let told: Vec<String> = told.collect();
    let why = "node didn't have enough allocatable resources";
    (!told.is_empty()).then(|| format!("{why}: {}", told.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use knarr_auth::testing::{Fake, kind, user};
    use serde_json::json;

    use super::*;
    use crate::testing::Write;

    fn resize(node: &str, requests: Value) -> Write {
        let pod = |generation: i64, requests: Value| {
            json!({
                "metadata": {"name": "p", "namespace": "ns", "generation": generation},
                "spec": {
                    "nodeName": node,
                    "containers": [{"name": "c", "resources": {"requests": requests}}],
                },
            })
        };
        let (old, new) = (pod(1, json!({"cpu": "1"})), pod(2, requests));
        Write {
            subresource: pod::RESIZE,
            ..Write::update(kind("", "pods", "Pod"), user("ann", &[]), old, new)
        }
    }

    #[tokio::test]
    async fn no_more_than_the_node_has() {
        let fake = Fake::new();
        for (name, os) in [("n", "linux"), ("w", "windows")] {
            let allocatable = json!({"cpu": "2", "memory": "1Gi"});
            fake.put("", "nodes", json!({
                "metadata": {"name": name, "labels": {OS_LABEL: os}}, "status": {"allocatable": allocatable},
            }));
        }
        let plugin = PodResizeValidator::new(fake as Arc<dyn Objects>);
        let short = "node didn't have enough allocatable resources";
        for (node, requests, refusal) in [
            ("n", json!({"cpu": "2", "memory": "1Gi"}), None),
            ("", json!({"cpu": "9"}), None),
            (
                "n",
                json!({"cpu": "3", "memory": "2Gi"}),
                Some((
                    format!(
                        "{short}: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824"
                    ),
                    NODE_CAPACITY,
                )),
            ),
            (
                "w",
                json!({"cpu": "1"}),
                Some((
                    "pod resize is only supported on linux nodes, node \"w\" is \"windows\""
                        .to_owned(),
                    UNSUPPORTED_PLATFORM,
                )),
            ),
            (
                "gone",
                json!({"cpu": "1"}),
                Some(("node \"gone\" not found".to_owned(), "")),
            ),
        ] {
            let status = resize(node, requests.clone()).run(&plugin).await.err();
            let told = status.as_ref().map(|status| status.message.clone());
            let wanted = refusal
                .as_ref()
                .map(|(why, _)| format!("pods \"p\" is forbidden: {why}"));
            assert_eq!(told, wanted, "{node} {requests}");
            if let (Some(status), Some((_, cause))) = (status, refusal) {
                assert!(cause.is_empty() || status.has_cause(cause), "{node}");
            }
        }
    }
}
