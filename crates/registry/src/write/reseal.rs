//! Writes anew what is encrypted otherwise than it would be now, as a new key wants it.
//!
//! Nothing else changes about the objects, so that neither admission nor hooks have a say; who watches sees them with a new
//! resourceVersion, as after a migration of stored versions. What another writer was faster with is encrypted by that write. A pass that
//! was cut off leaves nothing behind: the next one finds what is left.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::{StreamExt, stream};
use knarr_meta::status::Status;
use knarr_store::{Change, Expect};
use parking_lot::Mutex;

use super::{ATTEMPTS, Refused};
use crate::{
    Registry,
    cache::{entry::Entry, filter::Filter, resource::Page, resource::ResourceCache},
};

/// Writes at once: enough for commits to be made in groups, and few beside those of clients.
const AT_ONCE: usize = 8;
/// Writes that were under way when a pass began are found by the next one.
const PASSES: usize = 10;

/// How far it is.
#[derive(Debug, Default)]
pub struct Resealing {
    /// Objects that are to be written, as far as is known.
    pub total: AtomicUsize,
    pub done: AtomicUsize,
    pub failed: AtomicUsize,
    /// Why one has failed.
    pub error: Mutex<Option<String>>,
}

impl Resealing {
    fn failed(&self, key: &str, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.error.lock() = Some(format!("{key}: {why}"));
    }
}

/// Something to write.
struct Outdated {
    resource: Arc<ResourceCache>,
    key: Arc<str>,
}

impl Registry {
    /// Writes all of it, and tells how far it is.
    pub async fn reseal(&self, progress: &Resealing) {
        for _ in 0..PASSES {
            if let Err(status) = self.cache.fresh().await {
                progress.failed("the store", &status.message);
                return;
            }
            let outdated = self.outdated();
            let failed = progress.failed.load(Ordering::Relaxed);
            if outdated.is_empty() || failed > 0 {
                return;
            }
            progress.total.fetch_add(outdated.len(), Ordering::Relaxed);
            let written =
                stream::iter(outdated).for_each_concurrent(AT_ONCE, async |one| {
                    match self.reseal_one(&one).await {
                        Ok(()) => {
                            progress.done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(why) => {
                            let key = format!("{}{}", one.resource.prefix, one.key);
                            progress.failed(&key, &why);
                        }
                    }
                });
            written.await;
        }
    }

    /// Objects that cannot be read, of resources that are encrypted: they are left as they are. Of a resource that is closed one at
    /// least cannot be.
    pub fn unreadable(&self) -> usize {
        let damaged = (self.encrypted()).map(|resource| {
            let closed = usize::from(resource.damaged.is_closed());
            resource.damaged.len().saturating_add(closed)
        });
        damaged.sum()
    }

    /// Whether anything is encrypted otherwise than it would be now.
    ///
    /// # Errors
    /// Where the store does not tell.
    pub async fn has_outdated(&self) -> Result<bool, Status> {
        self.cache.fresh().await?;
        Ok(!self.outdated().is_empty())
    }

    fn encrypted(&self) -> impl Iterator<Item = Arc<ResourceCache>> {
        let encryption = self.transformer.encryption().clone();
        let all = self.cache.resources().into_iter();
        all.filter(move |one| encryption.covers(&one.kind.group, &one.kind.resource))
    }

    fn outdated(&self) -> Vec<Outdated> {
        let all = Page {
            start: None,
            limit: 0,
        };
        let mut found = Vec::new();
        for resource in self.encrypted() {
            let slice = resource.list(&Filter::in_namespace(""), all);
            for entry in slice.entries {
                if self.is_outdated(&resource, &entry) {
                    found.push(Outdated {
                        resource: resource.clone(),
                        key: entry.key.clone(),
                    });
                }
            }
        }
        found
    }

    fn is_outdated(&self, resource: &ResourceCache, entry: &Entry) -> bool {
        !self.transformer.is_current(&resource.kind, entry.seal)
    }

    async fn reseal_one(&self, one: &Outdated) -> Result<(), String> {
        let (kind, full) = (
            &one.resource.kind,
            format!("{}{}", one.resource.prefix, one.key),
        );
        for _ in 0..ATTEMPTS {
            // Who serves the kind may be another by now.
            let resource = self.cache.of(kind).map_err(|status| status.message)?;
            let Some(entry) = resource.get(&one.key) else {
                return Ok(());
            };
            if !self.is_outdated(&resource, &entry) {
                return Ok(());
            }
            let sealed = self.transformer.encode(kind, &full, entry.json.clone());
            let sealed = sealed.map_err(|error| error.to_string())?;
            let expect = Expect::Revision(entry.revision);
            match self
                .commit_op(full.clone(), expect, Change::Put(sealed))
                .await
            {
                Ok(_) => return Ok(()),
                Err(Refused::Conflict(revision)) => {
                    let seen = self.cache.at_least(revision).await;
                    seen.map_err(|status| status.message)?;
                }
                Err(Refused::Status(status) | Refused::Unknown(status)) => {
                    return Err(status.message);
                }
            }
        }
        Err("others write it all the time".to_owned())
    }
}
