//! What a worker is told.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::context;

/// What is said of the pod by where it comes from.
#[derive(Clone)]
pub(crate) struct Update {
    /// As it is wanted.
    pub pod: Arc<Pod>,
    /// What bears its status in the API: of a pod of the API that is itself, of another its mirror, if there is one.
    pub object: Option<Arc<Pod>>,
    /// The object is gone; `pod` is its last version.
    pub gone: bool,
}

impl Update {
    /// Of a pod of the API.
    pub(crate) fn new(pod: Arc<Pod>, gone: bool) -> Self {
        let object = Some(pod.clone());
        Self { pod, object, gone }
    }

    /// Whether the pod and its object go together.
    pub(super) fn is_own(&self) -> bool {
        let object = self.object.as_deref();
        object.is_some_and(|object| context::uid(object) == context::uid(&self.pod))
    }
}
