//! Telling users what happened: core/v1 Events written in the background, as client-go's recorder and correlator do.
//!
//! A repeat of an event (same object, type, reason and message) raises `count` and `lastTimestamp` of the one that is
//! there. From the tenth on that is like it but for its message, within ten minutes, they are combined into one. An object may
//! cause 25 events at once and one more each five minutes; what exceeds that is dropped, as is what does not fit into the
//! queue: events are best effort and never hold up their sender.

mod correlator;
pub mod series;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::errors;
use correlator::{Correlator, Observed, Write};

/// Events waiting to be written.
const QUEUE_EVENTS: usize = 1000;
/// Longest wait for one write; a slow server must not keep events from being dropped in order.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Upstream's limit of a note, in bytes.
const NOTE_BYTES: usize = 1024;

struct Message {
    regarding: ObjectReference,
    type_: &'static str,
    reason: String,
    /// Empty where the first events API is written, which knows none.
    action: String,
    note: String,
    at: Timestamp,
}

impl Message {
    /// Something that happens now.
    fn new(
        regarding: &ObjectReference,
        type_: &'static str,
        reason: impl Into<String>,
        action: impl Into<String>,
        note: impl Into<String>,
    ) -> Self {
        Self {
            regarding: regarding.clone(),
            type_,
            reason: reason.into(),
            action: action.into(),
            note: truncate(note.into()),
            at: Timestamp::now(),
        }
    }

    /// Has it written in its turn; one for which there is no room is dropped. Does not wait.
    fn queue(self, sender: &mpsc::Sender<Message>) {
        if let Err(error) = sender.try_send(self) {
            tracing::debug!(%error, "dropping an event");
        }
    }
}

/// Records events of one component. Clones share the queue; the writer ends when the last clone is dropped.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Message>,
}

/// The `type` of an event.
pub const NORMAL: &str = "Normal";
/// The `type` of an event.
pub const WARNING: &str = "Warning";

impl Recorder {
    /// Events name `component` as their source (`kubelet`, `deployment-controller`) and `instance` as its host (the
    /// node's name, or empty). Needs a tokio runtime.
    pub fn new(
        client: kube::Client,
        component: impl Into<Arc<str>>,
        instance: impl Into<Arc<str>>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_EVENTS);
        let writer = Writer {
            client,
            component: component.into(),
            instance: instance.into(),
            correlator: Correlator::default(),
        };
        // Ends by itself when every recorder is gone, which a component's shutdown sees to.
        knarr_tasks::spawn("the event writer", writer.run(receiver));
        Self { sender }
    }

    /// Queues an event about `regarding`; `type_` is [`NORMAL`] or [`WARNING`]. Does not wait.
    ///
    /// Upstream records through the first events API, which has no `action`, but for the scheduler and the proxy ([`series`]): without
    /// the argument nobody can fill it in.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        type_: &'static str,
        reason: impl Into<String>,
        note: impl Into<String>,
    ) {
        Message::new(regarding, type_, reason, "", note).queue(&self.sender);
    }
}

fn truncate(mut note: String) -> String {
    if note.len() > NOTE_BYTES {
        let end = (0..=NOTE_BYTES - 3)
            .rev()
            .find(|i| note.is_char_boundary(*i))
            .unwrap_or(0);
        note.truncate(end);
        note.push_str("...");
    }
    note
}

/// Where events about an object are; `default` for those about objects in no namespace.
fn namespace_of(regarding: &ObjectReference) -> &str {
    match regarding.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => namespace,
        _ => "default",
    }
}

struct Writer {
    client: kube::Client,
    component: Arc<str>,
    instance: Arc<str>,
    correlator: Correlator,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(message) = receiver.recv().await {
            let reason = message.reason.clone();
            match timeout(WRITE_TIMEOUT, self.write(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(reason, error = errors::message(&error), "event not written")
                }
                Err(_) => tracing::debug!(reason, "timed out writing an event"),
            }
        }
    }

    async fn write(&mut self, message: Message) -> Result<(), kube::Error> {
        let Some(write) = self.correlator.correlate(&message, Instant::now()) else {
            return Ok(());
        };
        let namespace = namespace_of(&message.regarding);
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let observed = match write {
            Write::Create(observed) => observed,
            Write::Patch(observed) => {
                let patch = Patch::Strategic(serde_json::json!({
                    "count": observed.count,
                    "message": observed.note,
                    "lastTimestamp": Time(message.at),
                }));
                let patched = api
                    .patch(&observed.name, &PatchParams::default(), &patch)
                    .await;
                // It may have lived out its time, or was never written.
                if errors::optional(patched)?.is_some() {
                    return Ok(());
                }
                observed
            }
        };
        let event = self.compose(&message, namespace, observed);
        api.create(&PostParams::default(), &event).await?;
        Ok(())
    }

    fn compose(&self, message: &Message, namespace: &str, observed: Observed) -> Event {
        // client-go makes what it combines anew, and leaves out who reports it.
        let reporting = |who: &str| match observed.combined {
            true => String::new(),
            false => who.to_owned(),
        };
        Event {
            metadata: ObjectMeta {
                name: Some(observed.name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: message.regarding.clone(),
            type_: Some(message.type_.to_owned()),
            reason: Some(message.reason.clone()),
            message: Some(observed.note),
            count: Some(observed.count),
            first_timestamp: Some(Time(observed.first)),
            last_timestamp: Some(Time(message.at)),
            source: Some(EventSource {
                component: Some(self.component.to_string()),
                host: Some(self.instance.to_string()).filter(|host| !host.is_empty()),
            }),
            reporting_component: Some(reporting(&self.component)),
            reporting_instance: Some(reporting(&self.instance)),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests;
