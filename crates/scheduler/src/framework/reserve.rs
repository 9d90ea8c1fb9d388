//! Reserve, PreBind and Unreserve: what a plugin takes for a pod besides room on its node, has made ready before the pod is
//! bound, and gives back where it is not.

use async_trait::async_trait;

use crate::{pod_info::PodInfo, snapshot::NodeInfo};

/// Takes something for a pod on the node that was chosen for it.
pub trait Reserve: Send + Sync {
    fn name(&self) -> &'static str;
    /// `None` where the pod needs nothing of it, or has it.
    ///
    /// # Errors
    /// Why it cannot have it any more.
    fn reserve(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
    ) -> Result<Option<Box<dyn Reservation>>, String>;
    /// Has those look again who wait in [`Reservation::pre_bind`]: what they wait for has changed, or a pod is gone.
    fn wake(&self) {}
}

/// What is taken for a pod. Dropped it is free again, but for what was written.
#[async_trait]
pub trait Reservation: Send {
    /// The plugin that took it.
    fn plugin(&self) -> &'static str;
    /// Has it made ready: written, and waited for.
    ///
    /// # Errors
    /// Why it will not be, in upstream's words. What is written by then stays until [`Reservation::unreserve`].
    async fn pre_bind(&mut self, asked: &PreBind<'_>) -> Result<(), String>;
    /// Takes back what was written; the rest is free with it.
    async fn unreserve(self: Box<Self>, _client: &kube::Client) {}
    /// Keeps what is taken without writing it: for a cluster in memory.
    fn keep(self: Box<Self>) {}
}

/// What is at hand while something is made ready.
pub struct PreBind<'a> {
    pub client: &'a kube::Client,
    /// Whether the pod is still to be bound here.
    pub wanted: &'a (dyn Fn() -> bool + Sync),
    /// Tells the pod's user that others have to do something first.
    pub waits: &'a (dyn Fn(String) + Sync),
}
