//! TaintNodesByCondition: a new Node takes no pods until its conditions have been seen.

use async_trait::async_trait;
use knarr_meta::{object, status::Status};
use serde_json::json;

use super::{is, list, spec};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plugin.
pub struct TaintNodesByCondition;

#[async_trait]
impl AdmissionPlugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, "", "nodes")
            && request.subresource.is_empty()
            && request.operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(node) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let tainted = object::list_at(node, &["spec", "taints"])
            .iter()
            .any(|taint| {
                object::str_at(taint, &["key"]) == NOT_READY
                    && object::str_at(taint, &["effect"]) == "NoSchedule"
            });
        if !tainted && let Some(taints) = list(spec(node)?, "taints") {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
