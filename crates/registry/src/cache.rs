//! The watch cache: every resource's objects and recent events in memory, fed by the store's commit stream.
//!
//! One task reads the stream in revision order, applies each event to its resource and then advances the published revision.
//! Reads never touch the store but for revisions older than the rings.

pub mod cells;
pub mod damaged;
mod drafts;
pub mod entry;
mod feed;
pub mod filter;
pub mod kept;
mod layout;
pub mod message;
#[cfg(test)]
mod model;
mod objects;
pub mod output;
pub mod published;
pub mod resource;
mod resources;
pub mod ring;
pub mod routes;
pub mod sharing;
pub mod watcher;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use knarr_api::{Kind, Kinds};
use knarr_meta::status::Status;
use knarr_states::Recent;
use knarr_store::{Batch, Store};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    cells::Cells,
    drafts::Drafts,
    entry::Entry,
    feed::{MAX_CHANGES, Request},
    filter::Filter,
    kept::Kept,
    message::Message,
    published::Published,
    resource::{Page, ResourceCache, Slice},
    resources::Resources,
    ring::{Ring, RingEvent},
};
use crate::transform::Transformer;

/// Every key of the server lies below.
pub const REGISTRY: &str = "/registry/";
/// How long a read waits for a revision that is not published yet, as upstream's watch cache.
pub const FRESH_WAIT: Duration = Duration::from_secs(3);
/// When a client may try again what the store did not answer.
const RETRY_SECONDS: u32 = 1;

/// All resources.
pub struct Cache {
    store: Arc<dyn Store>,
    transformer: Arc<Transformer>,
    published: Published,
    resources: ArcSwap<Resources>,
    /// The way to the feed, which alone knows at which revision a resource can join.
    changes: mpsc::Sender<Request>,
    requests: Mutex<Option<mpsc::Receiver<Request>>>,
    /// Kinds whose additions nobody waits for any more.
    abandoned: Mutex<Vec<Arc<Kind>>>,
    /// Objects in protobuf.
    pub messages: Kept<Message>,
    /// Cells of rows of Tables.
    pub cells: Arc<Kept<Cells>>,
    /// States on their way into the store, where it hands back their bytes.
    drafts: Option<Drafts>,
    /// Objects that informers of this process have decoded.
    pub recent: Arc<Recent>,
    stopped: CancellationToken,
}

/// Why the cache cannot be filled or fed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the store")]
    Store(#[from] knarr_store::Error),
    #[error("the watch cache is fed already")]
    Fed,
    #[error("the watch cache has ended")]
    Ended,
    #[error("the watch cache did not change the set of its resources in time")]
    Late,
    #[error(transparent)]
    Malformed(#[from] entry::Malformed),
    #[error(transparent)]
    Transform(#[from] crate::transform::Error),
}

impl Error {
    /// Whether who has the key to a value does not answer now.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Transform(error) if error.is_unavailable())
    }
}

impl Cache {
    /// Loads every stored kind at the store's revision. The feed begins with [`Cache::feed`].
    pub async fn load(
        store: Arc<dyn Store>,
        transformer: Arc<Transformer>,
        kinds: &Kinds,
    ) -> Result<Cache, Error> {
        Cache::load_with(store, transformer, kinds, ring::RING_EVENTS).await
    }

    /// As [`Cache::load`], with rings of so many events.
    async fn load_with(
        store: Arc<dyn Store>,
        transformer: Arc<Transformer>,
        kinds: &Kinds,
        ring_events: usize,
    ) -> Result<Cache, Error> {
        let revision = store.revision().await?;
        let (changes, requests) = mpsc::channel(MAX_CHANGES);
        let cache = Cache {
            drafts: store.hands_back_bytes().then(Drafts::default),
            store,
            transformer,
            published: Published::new(revision),
            resources: ArcSwap::default(),
            changes,
            requests: Mutex::new(Some(requests)),
            abandoned: Mutex::default(),
            messages: Kept::default(),
            cells: Arc::default(),
            recent: Arc::default(),
            stopped: CancellationToken::new(),
        };
        let mut resources = Resources::default();
        for kind in kinds.iter().filter(|kind| kind.storage.is_some()) {
            let resource = cache.load_resource(kind, revision, ring_events).await?;
            resources = resources.with(Arc::new(resource));
        }
        cache.resources.store(Arc::new(resources));
        Ok(cache)
    }

    /// A resource as it is stored at `revision`.
    async fn load_resource(
        &self,
        kind: &Arc<Kind>,
        revision: u64,
        ring_events: usize,
    ) -> Result<ResourceCache, Error> {
        let prefix = format!("{}/", kind.storage.as_deref().unwrap_or_default());
        let range = self.store.range(&prefix, None, 0, Some(revision)).await?;
        let mut entries = Vec::with_capacity(range.kvs.len());
        let mut damaged = Vec::new();
        for kv in range.kvs {
            let key: Arc<str> = Arc::from(&kv.key[prefix.len()..]);
            let read = self.read(kind, &kv.key, key.clone(), kv.mod_revision, kv.value);
            match read.await {
                Ok(entry) => entries.push(Arc::new(entry)),
                Err(error) => damaged.push((key, kv.mod_revision, error)),
            }
        }
        let ring = Ring::new(revision, ring_events);
        let ended = self.stopped.child_token();
        let published = self.published.shared();
        let resource = ResourceCache::new(kind.clone(), prefix, published, ring, entries, ended);
        for (key, revision, error) in damaged {
            tracing::error!(%error, resource = &*kind.resource, %key, "stored object cannot be read");
            resource.damaged.note(&key, revision, &error);
        }
        Ok(resource)
    }

    /// Ends every watch.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    pub fn published(&self) -> u64 {
        self.published.get()
    }

    pub fn resource(&self, group: &str, resource: &str) -> Option<Arc<ResourceCache>> {
        self.resources.load().find(group, resource).cloned()
    }

    /// 404 for a kind that was removed meanwhile; 503 while some of its objects cannot be read because who has the key does not
    /// answer: nobody may take them for deleted.
    pub fn of(&self, kind: &Kind) -> Result<Arc<ResourceCache>, Status> {
        let resource = self.resource(&kind.group, &kind.resource);
        let resource = resource.ok_or_else(Status::path_not_found)?;
        match resource.damaged.waits() {
            None => Ok(resource),
            Some(why) => Err(unavailable(&why)),
        }
    }

    /// Reads again what could not be read, after something has changed about that. Waits for the feed.
    pub async fn read_again(&self) -> Result<(), Error> {
        for resource in self.resources() {
            if resource.damaged.is_to_be_read() {
                self.add(resource.kind.clone()).await?;
            }
        }
        Ok(())
    }

    /// All of them, in no order.
    pub fn resources(&self) -> Vec<Arc<ResourceCache>> {
        self.resources.load().iter().cloned().collect()
    }

    /// Waits until reads see every write that was acknowledged before this call, by this server or another. 503 where the store
    /// does not answer.
    pub async fn fresh(&self) -> Result<(), Status> {
        let revision = self.store.revision().await;
        self.at_least(revision.map_err(|e| store_error(&e))?).await
    }

    /// Waits until `revision` is published; upstream's 504 where that takes too long.
    pub async fn at_least(&self, revision: u64) -> Result<(), Status> {
        if self.published.get() >= revision || self.published.reached(revision, FRESH_WAIT).await {
            return Ok(());
        }
        Err(Status::too_large_resource_version(
            revision,
            self.published.get(),
            1,
        ))
    }

    /// Lists at exactly `revision`, from the ring or from the store's history. What is compacted is gone for all resources alike,
    /// also for those that have not changed since: clients count on tokens to expire.
    pub async fn list_at(
        &self,
        resource: &ResourceCache,
        filter: &Filter,
        page: Page<'_>,
        revision: u64,
    ) -> Result<Slice, ListError> {
        if revision < self.store.compacted() {
            return Err(ListError::Expired);
        }
        if let Some(slice) = resource.list_at(filter, page, revision) {
            return Ok(slice);
        }
        let mut prefix = resource.prefix.clone();
        if !filter.namespace().is_empty() {
            prefix.push_str(filter.namespace());
            prefix.push('/');
        }
        let start = page
            .start
            .map(|start| format!("{}{start}", resource.prefix));
        let start = start.as_deref().filter(|s| *s > prefix.as_str());
        let range = self
            .store
            .range(&prefix, start, 0, Some(revision))
            .await
            .map_err(|e| match e {
                knarr_store::Error::Compacted { .. } => ListError::Expired,
                other => ListError::Status(Box::new(store_error(&other))),
            })?;
        let mut slice = Slice {
            revision,
            ..Slice::default()
        };
        let total = range.kvs.len();
        for (n, kv) in range.kvs.into_iter().enumerate() {
            // What cannot be read is in no list.
            let entry = self.entry(resource, &kv.key, kv.mod_revision, kv.value);
            let entry = match entry.await {
                Ok(entry) => entry,
                Err(error) if error.is_unavailable() => {
                    return Err(ListError::Status(Box::new(unavailable(&error))));
                }
                Err(_) => continue,
            };
            if !filter.matches(&entry) {
                continue;
            }
            slice.entries.push(entry);
            if page.limit > 0 && slice.entries.len() == page.limit {
                let remaining = total - n - 1;
                slice.more = remaining > 0;
                let counted = slice.more && filter.selects_everything();
                slice.remaining = counted.then_some(remaining as u64);
                break;
            }
        }
        Ok(slice)
    }

    /// A resource's events above `after` up to `until`, from the store's history.
    pub fn replay(
        self: &Arc<Self>,
        resource: Arc<ResourceCache>,
        after: u64,
        until: u64,
    ) -> BoxStream<'static, Result<Arc<RingEvent>, Status>> {
        let cache = self.clone();
        stream::once(async move {
            let watch = cache.store.watch(&resource.prefix, after + 1).await;
            let watch = watch.map_err(|e| watch_error(&e, after, until))?;
            let batches = stream::unfold(Some(watch), move |watch| async move {
                let mut watch = watch?;
                Some(match watch.next_batch().await {
                    Ok(batch) => {
                        let more = batch.revision < until;
                        (Ok(batch), more.then_some(watch))
                    }
                    Err(error) => (Err(watch_error(&error, after, until)), None),
                })
            });
            let events = batches.then(move |batch| {
                let (cache, resource) = (cache.clone(), resource.clone());
                async move {
                    stream::iter(match batch {
                        Ok(batch) => cache.ring_events(&resource, &batch, until).await,
                        Err(status) => vec![Err(status)],
                    })
                }
            });
            Ok(events.flatten())
        })
        .flat_map(|made: Result<_, Status>| match made {
            Ok(events) => events.boxed(),
            Err(status) => stream::once(async move { Err(status) }).boxed(),
        })
        .boxed()
    }

    async fn ring_events(
        &self,
        resource: &ResourceCache,
        batch: &Batch,
        until: u64,
    ) -> Vec<Result<Arc<RingEvent>, Status>> {
        // What cannot be read is not there, as in lists; what cannot be read now is.
        let state = async |kv: &Option<knarr_store::KeyValue>| {
            let Some(kv) = kv else { return Ok(None) };
            let entry = self.entry(resource, &kv.key, kv.mod_revision, kv.value.clone());
            match entry.await {
                Ok(entry) => Ok(Some(entry)),
                Err(error) if error.is_unavailable() => Err(unavailable(&error)),
                Err(_) => Ok(None),
            }
        };
        let mut made = Vec::new();
        for commit in batch.commits.iter().filter(|c| c.revision <= until) {
            for event in &commit.events {
                let (new, old) = match (state(&event.value).await, state(&event.previous).await) {
                    (Ok(new), Ok(old)) => (new, old),
                    (Err(status), _) | (_, Err(status)) => {
                        made.push(Err(status));
                        return made;
                    }
                };
                if new.is_some() || old.is_some() {
                    made.push(Ok(Arc::new(RingEvent::new(commit.revision, new, old))));
                }
            }
        }
        made
    }

    async fn entry(
        &self,
        resource: &ResourceCache,
        key: &str,
        revision: u64,
        value: Bytes,
    ) -> Result<Arc<Entry>, Error> {
        let short = key.strip_prefix(resource.prefix.as_str()).unwrap_or(key);
        let entry = self.read(&resource.kind, key, Arc::from(short), revision, value);
        Ok(Arc::new(entry.await?))
    }

    /// Tells the feed beforehand what is about to be stored as `value`. It has to be told, too, if it is not: [`Cache::forget_draft`].
    pub(crate) fn draft(&self, kind: &Kind, key: &str, value: &Bytes, tree: &Value) {
        let Some(drafts) = &self.drafts else {
            return;
        };
        // Who follows the kind by another definition reads the bytes.
        let resource = self.resource(&kind.group, &kind.resource);
        if let Some(resource) = resource.filter(|of| std::ptr::eq(&*of.kind, kind))
            && let Some(draft) = Entry::of_tree(kind, key.to_owned(), value.clone(), tree)
        {
            drafts.put(resource.kind.clone(), draft);
        }
    }

    pub(crate) fn forget_draft(&self, value: &Bytes) {
        if let Some(drafts) = &self.drafts {
            drafts.forget(value);
        }
    }

    /// An object from what is stored at `key`, which is `short` within its resource.
    async fn read(
        &self,
        kind: &Kind,
        key: &str,
        short: Arc<str>,
        revision: u64,
        value: Bytes,
    ) -> Result<Entry, Error> {
        let draft = self
            .drafts
            .as_ref()
            .and_then(|drafts| drafts.take(kind, &value));
        if let Some(mut draft) = draft {
            (draft.key, draft.revision) = (short, revision);
            return Ok(draft);
        }
        let decoded = self.transformer.decode(kind, key, value).await?;
        let mut entry = Entry::new(kind, short, revision, decoded.json)?;
        entry.stale |= decoded.stale;
        entry.seal = decoded.seal;
        Ok(entry)
    }
}

/// Why a list at a past revision failed.
#[derive(Debug)]
pub enum ListError {
    /// The revision is compacted.
    Expired,
    Status(Box<Status>),
}

/// What a client is told while who has the key to a value does not answer.
fn unavailable(why: &dyn std::fmt::Display) -> Status {
    Status::service_unavailable(why.to_string()).with_retry_after(RETRY_SECONDS)
}

fn watch_error(error: &knarr_store::Error, after: u64, oldest: u64) -> Status {
    match error {
        knarr_store::Error::Compacted { .. } => {
            Status::expired(format!("too old resource version: {after} ({oldest})"))
        }
        other => store_error(other),
    }
}

/// What a client is told of a read that the store did not answer: 503 where a later try may succeed.
pub(crate) fn store_error(error: &knarr_store::Error) -> Status {
    match error {
        knarr_store::Error::Unavailable { .. } => {
            Status::service_unavailable(error.to_string()).with_retry_after(RETRY_SECONDS)
        }
        other => Status::internal(other),
    }
}
