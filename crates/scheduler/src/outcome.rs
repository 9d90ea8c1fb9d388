//! What came of a pod, for those who tell the API server.

use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceClaim;

use crate::{metrics::Timing, plugins::default_preemption::Nomination, pod_info::PodInfo};

/// A pod, and the node chosen for it.
pub struct Chosen {
    pub info: Arc<PodInfo>,
    pub node: String,
    pub timing: Timing,
}

/// What is to be told of a pod that fits nowhere, and done for it.
#[derive(Debug)]
pub struct Failure {
    /// Of the pod's condition.
    pub reason: &'static str,
    pub message: String,
    pub nomination: Nomination,
    /// Pods that have to end for it.
    pub victims: Vec<Arc<PodInfo>>,
    /// Pods of lower priority that are nominated to its node no longer.
    pub displaced: Vec<Arc<PodInfo>>,
    /// A claim that is to be given back for it.
    pub stale: Option<Arc<ResourceClaim>>,
}
