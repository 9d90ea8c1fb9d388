//! Events of controllers, which are of no node.

use k8s_openapi::api::core::v1::ObjectReference;
use knarr_client::events;
pub(crate) use knarr_client::events::{NORMAL, WARNING};

/// Records events of one controller; see [`events::Recorder`].
#[derive(Clone)]
pub(crate) struct Recorder(events::Recorder);

impl Recorder {
    /// Events name `component` as their source. Needs a tokio runtime.
    pub(crate) fn new(client: kube::Client, component: &'static str) -> Self {
        Self(events::Recorder::new(client, component, ""))
    }

    /// Queues an event about `regarding`; `type_` is [`NORMAL`] or [`WARNING`]. Does not wait.
    pub(crate) fn event(
        &self,
        regarding: &ObjectReference,
        type_: &'static str,
        reason: impl Into<String>,
        note: impl Into<String>,
    ) {
        self.0.event(regarding, type_, reason, note);
    }
}

#[cfg(test)]
mod tests {
    use knarr_client::fake;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn events_have_no_action() {
        let (client, mut server) = fake::client();
        let recorder = Recorder::new(client, "job-controller");
        let job = ObjectReference {
            kind: Some("Job".to_owned()),
            name: Some("a".to_owned()),
            namespace: Some("ns".to_owned()),
            ..ObjectReference::default()
        };
        recorder.event(&job, NORMAL, "SuccessfulCreate", "Created pod: a-1");
        let create = server.next().await;
        assert_eq!(create.method, "POST");
        assert_eq!(create.body["reason"], "SuccessfulCreate");
        assert_eq!(
            create.body["source"],
            json!({"component": "job-controller"})
        );
        assert_eq!(create.body.get("action"), None);
    }
}
