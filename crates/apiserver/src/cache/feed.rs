//! The one task that writes the cache: it applies the store's commits, and adds and removes resources between them.

use std::sync::Arc;

use knarr_api::Kind;
use knarr_store::Commit;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    Cache, Error, REGISTRY, entry::Entry, resource::ResourceCache, resources::Resources, ring,
};

/// Changes of the set of resources that wait for their turn.
pub(super) const MAX_CHANGES: usize = 16;

/// A change of the set of resources, and whom to tell that it was made.
pub struct Request {
    change: Change,
    done: oneshot::Sender<Result<(), Error>>,
}

enum Change {
    Add(Arc<Kind>),
    Remove(Arc<Kind>),
}

/// An event of a resource: the short key, and the new state unless it was deleted.
type Decoded<'c> = (
    &'c Arc<ResourceCache>,
    &'c str,
    Result<Option<Arc<Entry>>, Error>,
);

impl Cache {
    /// Applies commits until the store closes or the token is cancelled; adds and removes resources between them.
    pub async fn feed(&self, stop: CancellationToken) -> Result<(), Error> {
        let mut watch = self.store.watch(REGISTRY, self.published.get() + 1).await?;
        let mut requests = self.requests.lock().take().ok_or(Error::Fed)?;
        loop {
            let batch = tokio::select! {
                batch = watch.next_batch() => batch?,
                // Never closed: the sender is in `self`.
                Some(request) = requests.recv() => {
                    let made = self.change(request.change).await;
                    let _ = request.done.send(made);
                    continue;
                }
                () = stop.cancelled() => return Ok(()),
            };
            let resources = self.resources.load_full();
            for commit in &batch.commits {
                for (resource, key, new) in self.decode(&resources, commit) {
                    match new {
                        Ok(new) => resource.apply(key, commit.revision, new),
                        Err(error) => {
                            let name = &*resource.kind.resource;
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

    /// Makes a change at the published revision: what is committed above it is still to come from the stream.
    async fn change(&self, change: Change) -> Result<(), Error> {
        let resources = self.resources.load();
        let next = match change {
            Change::Add(kind) => {
                let at = self.published.get();
                let resource = self.load_resource(&kind, at, ring::RING_EVENTS).await?;
                resources.with(Arc::new(resource))
            }
            Change::Remove(kind) => {
                if let Some(resource) = resources.find(&kind.group, &kind.resource) {
                    resource.ended.cancel();
                }
                resources.without(&kind)
            }
        };
        self.resources.store(Arc::new(next));
        Ok(())
    }

    async fn ask(&self, change: Change) -> Result<(), Error> {
        let (done, made) = oneshot::channel();
        let request = Request { change, done };
        self.changes.send(request).await.map_err(|_| Error::Ended)?;
        made.await.map_err(|_| Error::Ended)?
    }

    /// Begins to hold a kind's objects. Waits for the feed.
    pub(crate) async fn add(&self, kind: Arc<Kind>) -> Result<(), Error> {
        match kind.storage.is_some() {
            true => self.ask(Change::Add(kind)).await,
            false => Ok(()),
        }
    }

    /// Forgets a kind's objects and ends their watches. Waits for the feed.
    pub(crate) async fn remove(&self, kind: Arc<Kind>) -> Result<(), Error> {
        self.ask(Change::Remove(kind)).await
    }

    /// Events of resources this server knows: resource, short key, new state.
    fn decode<'c>(
        &'c self,
        resources: &'c Resources,
        commit: &'c Commit,
    ) -> impl Iterator<Item = Decoded<'c>> {
        commit.events.iter().filter_map(|event| {
            let resource = resources.of_key(&event.key)?;
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
}
