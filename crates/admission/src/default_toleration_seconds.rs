//! DefaultTolerationSeconds: a pod stays for five minutes on a node that is not ready or out of reach.

use async_trait::async_trait;
use knarr_meta::{object, status::Status};
use serde_json::json;

use super::{is_pod, list, spec};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const TOLERATION_SECONDS: i64 = 300;
const TAINTS: [&str; 2] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];

/// The plugin.
pub struct DefaultTolerationSeconds;

#[async_trait]
impl AdmissionPlugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is_pod(request) && matches!(request.operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(pod) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let missing: Vec<&str> = {
            let tolerations = object::list_at(pod, &["spec", "tolerations"]);
            let tolerated = |taint: &str| {
                tolerations.iter().any(|toleration| {
                    let key = object::str_at(toleration, &["key"]);
                    let effect = object::str_at(toleration, &["effect"]);
                    (key.is_empty() || key == taint) && (effect.is_empty() || effect == "NoExecute")
                })
            };
            TAINTS
                .into_iter()
                .filter(|taint| !tolerated(taint))
                .collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(tolerations) = list(spec(pod)?, "tolerations") {
            tolerations.extend(missing.into_iter().map(|taint| {
                json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS})
            }));
        }
        Ok(())
    }
}
