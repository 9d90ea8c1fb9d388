//! Events of components that say what they were about to do, written through events.k8s.io/v1: the scheduler's.
//!
//! As client-go's `tools/events`: an event has the time when it happened and an action, and neither a source, nor a count. What
//! is like it but for the note makes it a series, which is written at the first repeat, each [`REFRESH`] while it goes on, and
//! when it has ended: [`FINISH`] after the last one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use lru::LruCache;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Message, QUEUE_EVENTS, WRITE_TIMEOUT, namespace_of};
use crate::errors;

/// How often a series is written that goes on (client-go `refreshTime`).
const REFRESH: Duration = Duration::from_secs(30 * 60);
/// A series without a repeat for so long has ended (client-go `finishTime`).
const FINISH: Duration = Duration::from_secs(6 * 60);
/// Events that repeats are known of; what has not happened for the longest time is forgotten first.
const KNOWN: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Records events of one component. Clones share the queue; the writer ends when the last clone is dropped.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Message>,
}

impl Recorder {
    /// Events name `controller` (`default-scheduler`), and this host with it. Needs a tokio runtime.
    pub fn new(client: kube::Client, controller: &str) -> Self {
        Self::of_host(client, controller, &host_name())
    }

    fn of_host(client: kube::Client, controller: &str, host: &str) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_EVENTS);
        let writer = Writer {
            client,
            controller: controller.into(),
            instance: format!("{controller}-{host}").into(),
            // One of a capacity takes the memory of all its places at once.
            known: LruCache::unbounded(),
        };
        // Ends by itself when every recorder is gone, which a component's shutdown sees to.
        knarr_tasks::spawn("the writer of event series", writer.run(receiver));
        Self { sender }
    }

    /// Queues an event about `regarding`; `type_` is [`super::NORMAL`] or [`super::WARNING`], and none of the texts is empty. Does
    /// not wait.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        type_: &'static str,
        reason: impl Into<String>,
        action: impl Into<String>,
        note: impl Into<String>,
    ) {
        Message::new(regarding, type_, reason, action, note).queue(&self.sender);
    }
}

/// As the kernel knows it; empty where it does not tell.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim_end().to_owned()
}

/// An event that was written, and its repeats.
struct Known {
    event: Event,
    last: Instant,
    written: Instant,
}

struct Writer {
    client: kube::Client,
    controller: Arc<str>,
    instance: Arc<str>,
    known: LruCache<u64, Known>,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut looks = interval(FINISH);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = receiver.recv() => match message {
                    Some(message) => self.record(message).await,
                    None => return,
                },
                _ = looks.tick() => self.look(Instant::now()).await,
            }
        }
    }

    async fn record(&mut self, message: Message) {
        let now = Instant::now();
        let key = key(&message);
        if let Some(known) = self.known.get_mut(&key) {
            known.last = now;
            let first = known.event.series.is_none();
            let series = known.event.series.get_or_insert(EventSeries {
                count: 1,
                last_observed_time: MicroTime(message.at),
            });
            series.count = series.count.saturating_add(1);
            series.last_observed_time = MicroTime(message.at);
            if first {
                known.written = now;
                let event = known.event.clone();
                self.write(&event).await;
            }
            return;
        }
        if self.known.len() >= KNOWN.get() {
            self.known.pop_lru();
        }
        let event = self.compose(message);
        self.write(&event).await;
        let known = Known {
            event,
            last: now,
            written: now,
        };
        self.known.push(key, known);
    }

    /// Writes series that have ended, and forgets them; writes those that were not for long.
    async fn look(&mut self, now: Instant) {
        let mut due = Vec::new();
        let mut ended = Vec::new();
        for (key, known) in &mut self.known {
            let is_over = now.duration_since(known.last) >= FINISH;
            let is_old = now.duration_since(known.written) >= REFRESH;
            if known.event.series.is_some() && (is_over || is_old) {
                known.written = now;
                due.push(known.event.clone());
            }
            if is_over {
                ended.push(*key);
            }
        }
        for key in ended {
            self.known.pop(&key);
        }
        for event in due {
            self.write(&event).await;
        }
    }

    /// Events are best effort.
    async fn write(&self, event: &Event) {
        let reason = event.reason.as_deref().unwrap_or_default();
        match timeout(WRITE_TIMEOUT, self.try_write(event)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(reason, error = errors::message(&error), "event not written")
            }
            Err(_) => tracing::debug!(reason, "timed out writing an event"),
        }
    }

    async fn try_write(&self, event: &Event) -> Result<(), kube::Error> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if let (Some(series), Some(name)) = (&event.series, &event.metadata.name) {
            let patch = Patch::Strategic(serde_json::json!({ "series": series }));
            let patched = api.patch(name, &PatchParams::default(), &patch).await;
            // It may have lived out its time, or was never written.
            if errors::optional(patched)?.is_some() {
                return Ok(());
            }
        }
        api.create(&PostParams::default(), event).await.map(drop)
    }

    fn compose(&self, message: Message) -> Event {
        let object = message.regarding.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{object}.{:x}", message.at.as_nanosecond())),
                namespace: Some(namespace_of(&message.regarding).to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(message.at)),
            reporting_controller: Some(self.controller.to_string()),
            reporting_instance: Some(self.instance.to_string()),
            action: Some(message.action),
            reason: Some(message.reason),
            regarding: Some(message.regarding),
            note: Some(message.note),
            type_: Some(message.type_.to_owned()),
            ..Event::default()
        }
    }
}

/// Of all that repeats have in common. The version of the object is a part of it, so that what is new about it is told.
fn key(message: &Message) -> u64 {
    let about = &message.regarding;
    let about = [
        &about.api_version,
        &about.kind,
        &about.namespace,
        &about.name,
        &about.uid,
        &about.resource_version,
        &about.field_path,
    ];
    let mut hasher = DefaultHasher::new();
    (message.type_, &message.reason, &message.action, about).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
