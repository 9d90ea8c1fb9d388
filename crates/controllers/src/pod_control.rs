//! Creating and deleting a controller's pods, with upstream's events about each.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use knarr_client::{Object, errors};
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::deletion;
use crate::events::{NORMAL, Recorder, WARNING};
use crate::owners::Owned;

/// Whose pods, and where.
pub(crate) struct PodControl<'a> {
    pub api: Api<Pod>,
    pub recorder: &'a Recorder,
    /// The object that events are about.
    pub about: ObjectReference,
}

impl PodControl<'_> {
    pub(crate) async fn create(&self, pod: &Pod) -> Result<Pod, kube::Error> {
        let result = self.api.create(&PostParams::default(), pod).await;
        match &result {
            Ok(created) => {
                let name = created.metadata.name.as_deref().unwrap_or_default();
                self.event(NORMAL, "SuccessfulCreate", format!("Created pod: {name}"));
            }
            // Everything fails there until the namespace is gone.
            Err(error) if errors::is_namespace_terminating(error) => {}
            Err(error) => {
                let note = format!("Error creating: {}", errors::message(error));
                self.event(WARNING, "FailedCreate", note);
            }
        }
        result
    }

    /// One that is gone is no error.
    pub(crate) async fn delete(&self, pod: &Pod) -> Result<(), kube::Error> {
        self.delete_named(pod.name(), pod.uid()).await
    }

    /// As [`Self::delete`], the pod of this name and uid.
    pub(crate) async fn delete_named(&self, name: &str, uid: &str) -> Result<(), kube::Error> {
        let result = deletion::delete_named(&self.api, (name, uid), DeleteParams::default()).await;
        match &result {
            Ok(()) => self.event(NORMAL, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Err(error) => {
                let note = format!("Error deleting: {}", errors::message(error));
                self.event(WARNING, "FailedDelete", note);
            }
        }
        result
    }

    fn event(&self, type_: &'static str, reason: &'static str, note: String) {
        self.recorder.event(&self.about, type_, reason, note);
    }
}
