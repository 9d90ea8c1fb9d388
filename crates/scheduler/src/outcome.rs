//! What came of a pod, for those who tell the API server.

use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceClaim;

use crate::{
    metrics::Timing,
    plugins::{default_preemption::Nomination, dynamic_resources, volume_binding},
    pod_info::PodInfo,
};

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

/// What is taken for a pod besides room on its node.
#[derive(Default)]
pub struct Reserved {
    pub volumes: Option<volume_binding::Reservation>,
    pub devices: Option<dynamic_resources::Reservation>,
}

impl Reserved {
    pub fn is_empty(&self) -> bool {
        self.volumes.is_none() && self.devices.is_none()
    }
}
