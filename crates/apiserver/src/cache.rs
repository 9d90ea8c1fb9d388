//! The watch cache: every resource's objects and recent events in memory, fed by the store's commit stream.
//!
//! One task reads the stream in revision order, applies each event to its resource and then advances the published revision.
//! Reads never touch the store but for revisions older than the rings.

pub mod damaged;
pub mod entry;
pub mod filter;
#[cfg(test)]
mod model;
pub mod published;
pub mod resource;
pub mod ring;
pub mod routes;
pub mod watcher;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use knarr_api::Kind;
use knarr_meta::status::Status;
use knarr_store::{Batch, Commit, Store};
use tokio_util::sync::CancellationToken;

use self::{
    entry::Entry,
    filter::Filter,
    published::Published,
    resource::{Page, ResourceCache, Slice},
    ring::{Ring, RingEvent},
};
use crate::{
    request::{Object, Objects},
    rest::ask::object_key,
    transform::Transformer,
};

/// Every key of the server lies below.
pub const REGISTRY: &str = "/registry/";
/// How long a read waits for a revision that is not published yet, as upstream's watch cache.
pub const FRESH_WAIT: Duration = Duration::from_secs(3);

/// All resources.
pub struct Cache {
    store: Arc<dyn Store>,
    transformer: Arc<Transformer>,
    published: Published,
    /// By resource name; few names are in more than one group.
    by_name: HashMap<&'static str, Vec<Arc<ResourceCache>>>,
    by_prefix: HashMap<&'static str, Arc<ResourceCache>>,
    stopped: CancellationToken,
}

/// An event of a resource: the short key, and the new state unless it was deleted.
type Decoded<'c> = (
    &'c Arc<ResourceCache>,
    &'c str,
    Result<Option<Arc<Entry>>, Error>,
);

/// Why the cache cannot be filled or fed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the store")]
    Store(#[from] knarr_store::Error),
    #[error(transparent)]
    Malformed(#[from] entry::Malformed),
    #[error(transparent)]
    Transform(#[from] crate::transform::Error),
}

impl Cache {
    /// Loads every stored kind at the store's revision. The feed begins with [`Cache::feed`].
    pub async fn load(
        store: Arc<dyn Store>,
        transformer: Arc<Transformer>,
        kinds: &'static [&'static Kind],
    ) -> Result<Cache, Error> {
        Cache::load_with(store, transformer, kinds, ring::RING_EVENTS).await
    }

    /// As [`Cache::load`], with rings of so many events.
    async fn load_with(
        store: Arc<dyn Store>,
        transformer: Arc<Transformer>,
        kinds: &'static [&'static Kind],
        ring_events: usize,
    ) -> Result<Cache, Error> {
        let revision = store.revision();
        let published = Published::new(revision);
        let mut by_name: HashMap<&'static str, Vec<Arc<ResourceCache>>> = HashMap::new();
        let mut by_prefix = HashMap::new();
        for &kind in kinds {
            let Some(storage) = kind.storage else {
                continue;
            };
            let prefix = format!("{storage}/");
            let range = store.range(&prefix, None, 0, Some(revision)).await?;
            let mut entries = Vec::with_capacity(range.kvs.len());
            let mut damaged = Vec::new();
            for kv in range.kvs {
                let key: Arc<str> = Arc::from(&kv.key[prefix.len()..]);
                let entry = (transformer.decode(kind, &kv.key, kv.value))
                    .map_err(Error::from)
                    .and_then(|plain| Ok(Entry::new(kind, key.clone(), kv.mod_revision, plain)?));
                match entry {
                    Ok(entry) => entries.push(Arc::new(entry)),
                    Err(error) => damaged.push((key, kv.mod_revision, error)),
                }
            }
            let ring = Ring::new(revision, ring_events);
            let cache = ResourceCache::new(kind, prefix, published.shared(), ring, entries);
            for (key, revision, error) in damaged {
                tracing::error!(%error, resource = kind.resource, %key, "stored object cannot be read");
                cache.damaged.note(&key, revision, error.to_string());
            }
            let cache = Arc::new(cache);
            by_name
                .entry(kind.resource)
                .or_default()
                .push(cache.clone());
            by_prefix.insert(storage, cache);
        }
        Ok(Cache {
            store,
            transformer,
            published,
            by_name,
            by_prefix,
            stopped: CancellationToken::new(),
        })
    }

    /// Applies commits until the store closes or the token is cancelled.
    pub async fn feed(&self, stop: CancellationToken) -> Result<(), Error> {
        let mut watch = self.store.watch(REGISTRY, self.published.get() + 1).await?;
        loop {
            let batch = tokio::select! {
                batch = watch.next_batch() => batch?,
                () = stop.cancelled() => return Ok(()),
            };
            for commit in &batch.commits {
                for (resource, key, new) in self.decode(commit) {
                    match new {
                        Ok(new) => resource.apply(key, commit.revision, new),
                        Err(error) => {
                            let name = resource.kind.resource;
                            tracing::error!(%error, resource = name, key, "stored object cannot be read");
                            // Who watches sees it go, as who lists does not see it any more.
                            resource.apply(key, commit.revision, None);
                            resource
                                .damaged
                                .note(key, commit.revision, error.to_string());
                        }
                    }
                }
            }
            self.published.advance(batch.revision);
        }
    }

    /// Ends every watch.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stopped.clone().cancelled_owned()
    }

    pub fn published(&self) -> u64 {
        self.published.get()
    }

    pub fn resource(&self, group: &str, resource: &str) -> Option<&Arc<ResourceCache>> {
        self.by_name
            .get(resource)?
            .iter()
            .find(|cache| cache.kind.group == group)
    }

    pub fn of(&self, kind: &Kind) -> Result<&Arc<ResourceCache>, Status> {
        self.resource(kind.group, kind.resource)
            .ok_or_else(|| Status::internal(format!("no cache for {}", kind.resource)))
    }

    pub fn resources(&self) -> impl Iterator<Item = &Arc<ResourceCache>> {
        self.by_name.values().flatten()
    }

    /// Waits until reads see every write that was acknowledged before this call.
    pub async fn fresh(&self) -> Result<(), Status> {
        self.at_least(self.store.revision()).await
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

    /// Lists at exactly `revision`, from the ring or from the store's history.
    pub async fn list_at(
        &self,
        resource: &ResourceCache,
        filter: &Filter,
        page: Page<'_>,
        revision: u64,
    ) -> Result<Slice, ListError> {
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
                other => ListError::Status(Box::new(Status::internal(other.to_string()))),
            })?;
        let mut slice = Slice {
            revision,
            ..Slice::default()
        };
        let total = range.kvs.len();
        for (n, kv) in range.kvs.into_iter().enumerate() {
            // What cannot be read is in no list.
            let Ok(entry) = self.entry(resource, &kv.key, kv.mod_revision, kv.value) else {
                continue;
            };
            if !filter.matches(&entry) {
                continue;
            }
            if page.limit > 0 && slice.entries.len() == page.limit {
                slice.more = true;
                slice.remaining = filter.selects_everything().then_some((total - n) as u64);
                break;
            }
            slice.entries.push(entry);
        }
        Ok(slice)
    }

    /// A resource's events above `after` up to `until`, from the store's history.
    pub(crate) fn replay(
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
            Ok(batches.flat_map(move |batch| {
                stream::iter(match batch {
                    Ok(batch) => cache.ring_events(&resource, &batch, until),
                    Err(status) => vec![Err(status)],
                })
            }))
        })
        .flat_map(|made: Result<_, Status>| match made {
            Ok(events) => events.boxed(),
            Err(status) => stream::once(async move { Err(status) }).boxed(),
        })
        .boxed()
    }

    fn ring_events(
        &self,
        resource: &ResourceCache,
        batch: &Batch,
        until: u64,
    ) -> Vec<Result<Arc<RingEvent>, Status>> {
        let commits = batch.commits.iter().filter(|c| c.revision <= until);
        let events = commits.flat_map(|c| c.events.iter().map(|e| (c.revision, e)));
        // What cannot be read is not there, as in lists.
        let state = |kv: &Option<knarr_store::KeyValue>| {
            let kv = kv.as_ref()?;
            let value = kv.value.clone();
            self.entry(resource, &kv.key, kv.mod_revision, value).ok()
        };
        let made = events.filter_map(|(revision, event)| {
            let (new, old) = (state(&event.value), state(&event.previous));
            let seen = new.is_some() || old.is_some();
            seen.then(|| Ok(Arc::new(RingEvent::new(revision, new, old))))
        });
        made.collect()
    }

    fn entry(
        &self,
        resource: &ResourceCache,
        key: &str,
        revision: u64,
        value: Bytes,
    ) -> Result<Arc<Entry>, Error> {
        let plain = self.transformer.decode(resource.kind, key, value)?;
        let short = key.strip_prefix(resource.prefix.as_str()).unwrap_or(key);
        Ok(Arc::new(Entry::new(
            resource.kind,
            Arc::from(short),
            revision,
            plain,
        )?))
    }

    /// Events of resources this server knows: resource, short key, new state.
    fn decode<'c>(&'c self, commit: &'c Commit) -> impl Iterator<Item = Decoded<'c>> {
        commit.events.iter().filter_map(|event| {
            let resource = self.by_key(&event.key)?;
            let short = &event.key[resource.prefix.len()..];
            let new = match &event.value {
                None => Ok(None),
                Some(kv) => self
                    .entry(resource, &event.key, commit.revision, kv.value.clone())
                    .map(Some),
            };
            Some((resource, short, new))
        })
    }

    /// The resource a store key belongs to: `/registry/X/…` or `/registry/X/Y/…`.
    fn by_key(&self, key: &str) -> Option<&Arc<ResourceCache>> {
        let rest = key.strip_prefix(REGISTRY)?;
        let first = REGISTRY.len() + rest.find('/')?;
        if let Some(resource) = self.by_prefix.get(&key[..first]) {
            return Some(resource);
        }
        let second = first + 1 + key[first + 1..].find('/')?;
        self.by_prefix.get(&key[..second])
    }
}

/// Why a list at a past revision failed.
#[derive(Debug)]
pub enum ListError {
    /// The revision is compacted.
    Expired,
    Status(Box<Status>),
}

fn watch_error(error: &knarr_store::Error, after: u64, oldest: u64) -> Status {
    match error {
        knarr_store::Error::Compacted { .. } => {
            Status::expired(format!("too old resource version: {after} ({oldest})"))
        }
        other => Status::internal(other.to_string()),
    }
}

#[async_trait]
impl Objects for Cache {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        let cache = self.resource(group, resource)?;
        let entry = cache.get(&object_key(cache.kind, namespace, name))?;
        Some(object(&entry))
    }

    async fn appears(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        wait: Duration,
    ) -> Option<Object> {
        let cache = self.resource(group, resource)?;
        let key = object_key(cache.kind, namespace, name);
        let entry = cache.appears(&key, wait).await?;
        Some(object(&entry))
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Object> {
        let Some(cache) = self.resource(group, resource) else {
            return Vec::new();
        };
        let filter = Filter::in_namespace(namespace);
        let slice = cache.list(
            &filter,
            Page {
                start: None,
                limit: 0,
            },
        );
        slice.entries.iter().map(object).collect()
    }

    fn list_by_field(
        &self,
        group: &str,
        resource: &str,
        field: &str,
        value: &str,
    ) -> Option<Vec<Object>> {
        if field != filter::INDEXED_FIELD {
            return None;
        }
        let entries = self.resource(group, resource)?.by_field(value)?;
        Some(entries.iter().map(object).collect())
    }

    fn revision_of(&self, group: &str, resource: &str) -> u64 {
        self.resource(group, resource)
            .map_or(0, |c| c.last_change())
    }
}

fn object(entry: &Arc<Entry>) -> Object {
    Object {
        revision: entry.revision,
        json: entry.json.clone(),
    }
}
