//! Container events for `GetContainerEvents`.

use std::sync::Arc;

use knarr_cri::v1::{
    ContainerEventResponse, ContainerEventType, ContainerStatus, PodSandboxStatus,
};
use tokio::sync::broadcast;

use crate::files;

/// Events a slow subscriber may be behind before it loses some. It then gets an error and lists anew.
const CAPACITY: usize = 4_096;

/// Fan-out to subscribers.
pub struct Hub {
    // The channel has room for all its events at once: pointers are small.
    sender: broadcast::Sender<Arc<ContainerEventResponse>>,
}

impl Hub {
    pub fn new() -> Self {
        Self {
            sender: broadcast::channel(CAPACITY).0,
        }
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Arc<ContainerEventResponse>> {
        self.sender.subscribe()
    }

    /// `id` is the container's or, for a sandbox's own events, the sandbox's.
    pub fn publish(
        &self,
        id: &str,
        kind: ContainerEventType,
        sandbox: Option<PodSandboxStatus>,
        containers: Vec<ContainerStatus>,
    ) {
        // Without subscribers there is nobody to tell.
        let _ = self.sender.send(Arc::new(ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: files::now(),
            pod_sandbox_status: sandbox,
            containers_statuses: containers,
        }));
    }
}
