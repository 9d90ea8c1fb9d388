//! The one task that writes the cache: it applies the store's commits, and adds and removes resources between them.

use std::{pin::pin, sync::Arc, time::Duration};

use knarr_api::Kind;
use knarr_store::{Commit, KeyValue, Watch};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Cache, Error, REGISTRY, entry::Entry, resource::ResourceCache, resources::Resources, ring,
};

/// Changes of the set of resources that wait for their turn.
pub(super) const MAX_CHANGES: usize = 16;

/// How long a change may take, with the loading of all objects of a kind.
const CHANGE_WAIT: Duration = Duration::from_secs(30);

/// Between attempts to load all resources again.
const LOAD_PAUSE: Duration = Duration::from_secs(1);

/// Between looks at how far back the store's history goes; it is compacted as often.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);

/// A change of the set of resources, and whom to tell that it was made.
pub struct Request {
    change: Change,
    done: oneshot::Sender<Result<(), Error>>,
}

enum Change {
    Add(Arc<Kind>),
    Remove(Arc<Kind>),
}

/// An addition that somebody waits for. Dropped before it is known to be made, it may be made all the same, with its answer on the
/// way to nobody: the feed takes it back.
struct Waiting<'c> {
    cache: &'c Cache,
    kind: Option<Arc<Kind>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.cache.abandoned.lock().extend(self.kind.take());
    }
}

/// An event of a resource: the short key, and the new value unless it was deleted.
type Changed<'c> = (&'c Arc<ResourceCache>, &'c str, Option<&'c KeyValue>);

impl Cache {
    /// Applies commits until the store closes or the token is cancelled; adds and removes resources between them.
    pub async fn feed(&self, stop: CancellationToken) -> Result<(), Error> {
        let mut watch = self.follow().await?;
        let mut requests = self.requests.lock().take().ok_or(Error::Fed)?;
        let mut forgetting = pin!(self.recent.forget_idle());
        let mut trim = pin!(sleep(TRIM_INTERVAL));
        loop {
            let batch = tokio::select! {
                // Never ends.
                () = &mut forgetting => continue,
                () = &mut trim => {
                    self.trim();
                    trim.as_mut().reset(Instant::now() + TRIM_INTERVAL);
                    continue;
                }
                batch = watch.next_batch() => match batch {
                    Err(knarr_store::Error::Compacted { .. }) => {
                        watch = self.load_anew().await?;
                        continue;
                    }
                    batch => batch?,
                },
                // Never closed: the sender is in `self`.
                Some(request) = requests.recv() => {
                    self.serve(request).await;
                    continue;
                }
                () = stop.cancelled() => return Ok(()),
            };
            let resources = self.resources.load_full();
            for commit in &batch.commits {
                for (resource, key, value) in changed(&resources, commit) {
                    match self.decode(resource, commit.revision, value).await {
                        Ok(new) => resource.apply(key, commit.revision, new),
                        Err(error) if error.is_unavailable() => {
                            let name = &*resource.kind.resource;
                            tracing::error!(%error, resource = name, key, "stored object cannot be read now");
                            // It is there. Who watches comes again, and is told to wait, as who lists is.
                            resource.damaged.close(&error);
                            resource.ended.cancel();
                        }
                        Err(error) => {
                            let name = &*resource.kind.resource;
                            tracing::error!(%error, resource = name, key, "stored object cannot be read");
                            // Who watches sees it go, as who lists does not see it any more.
                            resource.apply(key, commit.revision, None);
                            resource.damaged.note(key, commit.revision, &error);
                        }
                    }
                }
            }
            self.published.advance(batch.revision);
        }
    }

    /// The commits after what is published.
    async fn follow(&self) -> Result<Watch, Error> {
        let from = self.published.get().saturating_add(1);
        match self.store.watch(REGISTRY, from).await {
            Err(knarr_store::Error::Compacted { .. }) => self.load_anew().await,
            watch => Ok(watch?),
        }
    }

    /// Loads all resources again, after the store could not be reached for longer than it keeps history. Watches end: who comes
    /// again sees the objects as they are now.
    async fn load_anew(&self) -> Result<Watch, Error> {
        tracing::warn!(
            "the store's history went on without this server; loading all objects again"
        );
        loop {
            match self.try_load_anew().await {
                Err(Error::Store(error @ knarr_store::Error::Unavailable { .. })) => {
                    tracing::warn!(%error, "cannot load all objects again");
                    sleep(LOAD_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn try_load_anew(&self) -> Result<Watch, Error> {
        let revision = self.store.revision().await?;
        let watch = self
            .store
            .watch(REGISTRY, revision.saturating_add(1))
            .await?;
        let before = self.resources.load_full();
        let mut resources = Resources::default();
        for resource in before.iter() {
            let loaded = self.load_resource(&resource.kind, revision, ring::RING_EVENTS);
            resources = resources.with(Arc::new(loaded.await?));
        }
        // In this order a list may have more than its revision says, and no watch can miss a thing.
        self.resources.store(Arc::new(resources));
        self.published.advance(revision);
        for resource in before.iter() {
            resource.ended.cancel();
        }
        Ok(watch)
    }

    /// Gives up what is older than the store's history: that of a flood of writes would be held until the next one.
    fn trim(&self) {
        let compacted = self.store.compacted();
        for resource in self.resources.load().iter() {
            resource.forget(compacted);
        }
    }

    /// Makes a change for whoever waits for it. A kind is added for nobody else: one that its caller gave up on would be held
    /// without being served. Removals are made in any case.
    async fn serve(&self, Request { change, done }: Request) {
        self.take_back();
        match change {
            Change::Add(kind) => {
                if done.is_closed() {
                    return;
                }
                if done.send(self.take_up(&kind).await).is_err() {
                    self.drop_resource(&kind);
                }
            }
            Change::Remove(kind) => {
                self.drop_resource(&kind);
                let _ = done.send(Ok(()));
            }
        }
    }

    /// Loads a kind at the published revision: what is committed above it is still to come from the stream.
    async fn take_up(&self, kind: &Arc<Kind>) -> Result<(), Error> {
        let at = self.published.get();
        let resource = self.load_resource(kind, at, ring::RING_EVENTS).await?;
        let resources = self.resources.load();
        let before = resources.find(&kind.group, &kind.resource).cloned();
        self.resources
            .store(Arc::new(resources.with(Arc::new(resource))));
        // Who watches what was there comes again, and sees the objects as they are now.
        if let Some(before) = before {
            before.ended.cancel();
        }
        Ok(())
    }

    /// Forgets what was added for callers that had given up by the time.
    fn take_back(&self) {
        for kind in std::mem::take(&mut *self.abandoned.lock()) {
            let resources = self.resources.load();
            let held = resources.find(&kind.group, &kind.resource);
            if held.is_some_and(|held| Arc::ptr_eq(&held.kind, &kind)) {
                self.drop_resource(&kind);
            }
        }
    }

    fn drop_resource(&self, kind: &Kind) {
        let resources = self.resources.load();
        if let Some(resource) = resources.find(&kind.group, &kind.resource) {
            resource.ended.cancel();
        }
        self.resources.store(Arc::new(resources.without(kind)));
    }

    async fn ask(&self, change: Change) -> Result<(), Error> {
        let (done, made) = oneshot::channel();
        let request = Request { change, done };
        let asked = async {
            self.changes.send(request).await.map_err(|_| Error::Ended)?;
            made.await.map_err(|_| Error::Ended)?
        };
        timeout(CHANGE_WAIT, asked)
            .await
            .unwrap_or(Err(Error::Late))
    }

    /// Begins to hold a kind's objects. Waits for the feed.
    pub async fn add(&self, kind: Arc<Kind>) -> Result<(), Error> {
        if kind.storage.is_none() {
            return Ok(());
        }
        let mut waiting = Waiting {
            cache: self,
            kind: Some(kind.clone()),
        };
        self.ask(Change::Add(kind)).await?;
        waiting.kind = None;
        Ok(())
    }

    /// Forgets a kind's objects and ends their watches. Waits for the feed.
    pub async fn remove(&self, kind: Arc<Kind>) -> Result<(), Error> {
        self.ask(Change::Remove(kind)).await
    }

    /// The state after an event; none after a deletion.
    async fn decode(
        &self,
        resource: &ResourceCache,
        revision: u64,
        value: Option<&KeyValue>,
    ) -> Result<Option<Arc<Entry>>, Error> {
        let Some(kv) = value else {
            return Ok(None);
        };
        let entry = self.entry(resource, &kv.key, revision, kv.value.clone());
        entry.await.map(Some)
    }
}

/// Events of resources this server knows.
fn changed<'c>(resources: &'c Resources, commit: &'c Commit) -> impl Iterator<Item = Changed<'c>> {
    commit.events.iter().filter_map(|event| {
        let resource = resources.of_key(&event.key)?;
        let short = &event.key[resource.prefix.len()..];
        Some((resource, short, event.value.as_ref()))
    })
}

#[cfg(test)]
mod tests;
