//! A watch: a stream over all keys that is opened again where it broke.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use knarr_store::{Batch, Commit, Error, Event, KeyValue, Result, WatchSource};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::{
    Shared,
    api::{self, WatchCreateRequest, WatchResponse, event::EventType, watch_request::RequestUnion},
    errors, messages,
};

/// Between attempts to open a stream.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a watch reads from.
pub(crate) struct Source {
    shared: Arc<Shared>,
    prefix: String,
    /// The first revision that is still to come.
    next: u64,
    /// With the endpoint that it comes from.
    stream: Option<(usize, Streaming<WatchResponse>)>,
    /// Events of an answer whose rest is still to come.
    fragment: Vec<api::Event>,
    pause: Duration,
    /// The store is closed.
    stop: CancellationToken,
}

impl Source {
    pub(crate) fn new(
        shared: Arc<Shared>,
        prefix: &str,
        from: u64,
        stop: CancellationToken,
    ) -> Source {
        Source {
            shared,
            prefix: prefix.to_owned(),
            next: from,
            stream: None,
            fragment: Vec::new(),
            pause: PAUSE_MIN,
            stop,
        }
    }

    /// Opens a stream; `None` where that has to be tried again.
    async fn open(&mut self) -> Result<Option<()>> {
        self.fragment.clear();
        let create = WatchCreateRequest {
            key: messages::ALL.to_vec(),
            range_end: messages::ALL.to_vec(),
            start_revision: messages::signed(self.next),
            prev_kv: true,
            fragment: true,
        };
        let request = api::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        match self.shared.calls.watch(request).await {
            (at, Ok(stream)) => {
                self.stream = Some((at, stream));
                Ok(Some(()))
            }
            (at, Err(error @ Error::Unavailable { .. })) => {
                self.broken(at, error).await;
                Ok(None)
            }
            (_, Err(error)) => Err(error),
        }
    }

    /// Leaves an endpoint, and waits before the next is tried.
    async fn broken(&mut self, at: usize, error: impl std::fmt::Display + Send) {
        self.stream = None;
        tracing::debug!(%error, prefix = self.prefix, "a watch of etcd broke");
        self.shared.calls.leave(at);
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        sleep(pause).await;
    }

    /// The next answer with everything that belongs to it; `None` where the stream has to be opened anew.
    async fn answer(&mut self) -> Result<Option<Batch>> {
        let Some((at, stream)) = &mut self.stream else {
            return self.open().await.map(|_| None);
        };
        let at = *at;
        let response = match stream.message().await {
            Ok(Some(response)) => response,
            Ok(None) => {
                self.broken(at, "it ended").await;
                return Ok(None);
            }
            Err(status) if errors::is_unreachable(&status) => {
                self.broken(at, status).await;
                return Ok(None);
            }
            Err(status) => return Err(self.shared.calls.error(at, &status)),
        };
        if response.canceled {
            return self.canceled(at, &response).await.map(|()| None);
        }
        self.pause = PAUSE_MIN;
        self.fragment.extend(response.events);
        if response.fragment || self.fragment.is_empty() {
            return Ok(None);
        }
        let events = std::mem::take(&mut self.fragment);
        self.batch(events)
    }

    /// etcd ends the watch: for good where history is gone, or we may not read it.
    async fn canceled(&mut self, at: usize, response: &WatchResponse) -> Result<()> {
        self.stream = None;
        let compacted = messages::unsigned(response.compact_revision);
        if compacted > 0 {
            self.shared.note_compaction(compacted);
            return Err(Error::Compacted { compacted });
        }
        if response.cancel_reason.contains("permission denied") {
            return Err(Error::Refused {
                reason: response.cancel_reason.clone(),
            });
        }
        self.broken(at, &response.cancel_reason).await;
        Ok(())
    }

    fn batch(&mut self, events: Vec<api::Event>) -> Result<Option<Batch>> {
        let mut commits: Vec<Commit> = Vec::new();
        let mut reached = 0;
        for event in events {
            let Some(kv) = event.kv else { continue };
            let revision = messages::unsigned(kv.mod_revision);
            reached = revision.max(reached);
            // What was seen before the stream broke.
            if revision < self.next || !kv.key.starts_with(self.prefix.as_bytes()) {
                continue;
            }
            let previous = event.prev_kv.map(messages::key_value).transpose()?;
            let event = change(kv, event.r#type, previous)?;
            match commits.last_mut() {
                Some(last) if last.revision == revision => last.events.push(event),
                _ => commits.push(Commit {
                    revision,
                    events: vec![event],
                }),
            }
        }
        if reached < self.next {
            return Ok(None);
        }
        self.next = reached.saturating_add(1);
        Ok(Some(Batch {
            commits,
            revision: reached,
        }))
    }
}

fn change(kv: api::KeyValue, kind: i32, previous: Option<KeyValue>) -> Result<Event> {
    let kv = messages::key_value(kv)?;
    let key = kv.key.clone();
    let value = match EventType::try_from(kind) {
        Ok(EventType::Put) => Some(kv),
        Ok(EventType::Delete) => None,
        Err(_) => return Err(Error::Corrupt(format!("etcd sent an event of type {kind}"))),
    };
    Ok(Event {
        key,
        value,
        previous,
    })
}

#[async_trait]
impl WatchSource for Source {
    async fn next_batch(&mut self) -> Result<Batch> {
        let stop = self.stop.clone();
        let next = async {
            loop {
                if let Some(batch) = self.answer().await? {
                    return Ok(batch);
                }
            }
        };
        stop.run_until_cancelled(next)
            .await
            .unwrap_or(Err(Error::Closed))
    }
}
