//! Telling users what happened: core/v1 Events written in the background, as client-go's recorder and correlator do.
//!
//! A repeat of an event (same object, type, reason and message) raises `count` and `lastTimestamp` of the one that is
//! there. More than ten like it with other messages within ten minutes are combined. One object may cause 25 events
//! at once and one more each five minutes; what exceeds that is dropped, as is what does not fit into the queue: events
//! are best effort and never hold up their sender.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

/// Events waiting to be written.
const QUEUE_EVENTS: usize = 1000;
/// Kinds of events and objects remembered for combining and limiting (client-go: 4096 each).
const REMEMBERED: usize = 1024;
/// After this many similar events with different messages they are combined.
const COMBINE_AFTER: usize = 10;
/// How long similar events are counted together.
const COMBINE_WINDOW: Duration = Duration::from_secs(600);
/// Events one object may cause at once.
const BURST: f64 = 25.0;
/// Time in which one object earns one more event.
const REFILL: Duration = Duration::from_secs(300);
/// Longest wait for one write; a slow server must not keep events from being dropped in order.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Upstream's limit of a note, in bytes.
const NOTE_BYTES: usize = 1024;

struct Message {
    regarding: ObjectReference,
    type_: &'static str,
    reason: String,
    action: String,
    note: String,
    at: Timestamp,
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
            similar: HashMap::new(),
            written: HashMap::new(),
            tokens: HashMap::new(),
        };
        // Ends by itself when every recorder is gone, which a component's shutdown sees to.
        tokio::spawn(writer.run(receiver));
        Self { sender }
    }

    /// Queues an event about `regarding`; `type_` is [`NORMAL`] or [`WARNING`]. Does not wait. `action` may be empty.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        type_: &'static str,
        reason: impl Into<String>,
        action: impl Into<String>,
        note: impl Into<String>,
    ) {
        let message = Message {
            regarding: regarding.clone(),
            type_,
            reason: reason.into(),
            action: action.into(),
            note: truncate(note.into()),
            at: Timestamp::now(),
        };
        if let Err(error) = self.sender.try_send(message) {
            tracing::debug!(%error, "dropping an event");
        }
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

/// What makes events similar: everything but the message.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Similar {
    object: String,
    type_: &'static str,
    reason: String,
}

struct Similars {
    messages: std::collections::HashSet<String>,
    last: Instant,
}

struct Written {
    name: String,
    count: i32,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

struct Writer {
    client: kube::Client,
    component: Arc<str>,
    instance: Arc<str>,
    similar: HashMap<Similar, Similars>,
    /// By similarity and message: the event object that counts its repeats.
    written: HashMap<(Similar, String), Written>,
    tokens: HashMap<String, Bucket>,
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
        let Some((similar, note)) = self.correlate(&message, Instant::now()) else {
            return Ok(());
        };
        let namespace = match message.regarding.namespace.as_deref() {
            Some(namespace) if !namespace.is_empty() => namespace,
            _ => "default",
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let key = (similar, note);
        if let Some(written) = self.written.get_mut(&key) {
            written.count += 1;
            let patch = serde_json::json!({
                "count": written.count,
                "message": key.1,
                "lastTimestamp": Time(message.at),
            });
            match api
                .patch(
                    &written.name,
                    &PatchParams::default(),
                    &Patch::Strategic(patch),
                )
                .await
            {
                Ok(_) => return Ok(()),
                // It has lived out its time: the next one starts anew.
                Err(error) if errors::is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let event = self.compose(&message, namespace, &key.1);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        if self.written.len() >= REMEMBERED {
            self.written.clear();
        }
        self.written.insert(key, Written { name, count: 1 });
        Ok(())
    }

    fn compose(&self, message: &Message, namespace: &str, note: &str) -> Event {
        let object = message.regarding.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{object}.{:x}", message.at.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: message.regarding.clone(),
            type_: Some(message.type_.to_owned()),
            reason: Some(message.reason.clone()),
            action: Some(message.action.clone()).filter(|action| !action.is_empty()),
            message: Some(note.to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(message.at)),
            last_timestamp: Some(Time(message.at)),
            source: Some(EventSource {
                component: Some(self.component.to_string()),
                host: Some(self.instance.to_string()).filter(|host| !host.is_empty()),
            }),
            reporting_component: Some(self.component.to_string()),
            reporting_instance: Some(self.instance.to_string()),
            ..Event::default()
        }
    }

    /// What to write for `message`: its kind and its (perhaps combined) note; `None` when its object has used up its
    /// share.
    fn correlate(&mut self, message: &Message, now: Instant) -> Option<(Similar, String)> {
        let r = &message.regarding;
        let part = |s: &Option<String>| s.clone().unwrap_or_default();
        let object = [&r.kind, &r.namespace, &r.name, &r.uid, &r.field_path]
            .map(part)
            .join("/");
        if !self.spend(&object, now) {
            return None;
        }
        let similar = Similar {
            object,
            type_: message.type_,
            reason: message.reason.clone(),
        };
        if self.similar.len() >= REMEMBERED {
            self.similar
                .retain(|_, s| now.duration_since(s.last) < COMBINE_WINDOW);
            if self.similar.len() >= REMEMBERED {
                self.similar.clear();
            }
        }
        let seen = match self.similar.entry(similar.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Similars {
                messages: Default::default(),
                last: now,
            }),
        };
        if now.duration_since(seen.last) > COMBINE_WINDOW {
            seen.messages.clear();
        }
        seen.last = now;
        if seen.messages.len() < COMBINE_AFTER {
            seen.messages.insert(message.note.clone());
            return Some((similar, message.note.clone()));
        }
        if seen.messages.contains(&message.note) {
            return Some((similar, message.note.clone()));
        }
        Some((
            similar,
            format!("(combined from similar events): {}", message.note),
        ))
    }

    fn spend(&mut self, object: &str, now: Instant) -> bool {
        if self.tokens.len() >= REMEMBERED && !self.tokens.contains_key(object) {
            self.tokens.retain(|_, b| b.refilled(now) < BURST);
            if self.tokens.len() >= REMEMBERED {
                self.tokens.clear();
            }
        }
        let bucket = self.tokens.entry(object.to_owned()).or_insert(Bucket {
            tokens: BURST,
            at: now,
        });
        bucket.tokens = bucket.refilled(now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

impl Bucket {
    fn refilled(&self, now: Instant) -> f64 {
        let earned = now.duration_since(self.at).as_secs_f64() / REFILL.as_secs_f64();
        (self.tokens + earned).min(BURST)
    }
}

#[cfg(test)]
mod tests;
