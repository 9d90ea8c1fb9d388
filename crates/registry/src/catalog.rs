//! What is served at this moment: a set of kinds, and the documents that describe it.
//!
//! A request takes the set once, at its door, and sees the same kinds to its end. A change makes the next set and puts it in the
//! place of the last as a whole: discovery, OpenAPI and routing cannot disagree, since they hang on the same value.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use knarr_api::{Kind, Kinds, Taken, apiextensions::custom_resource, openapi};
use tokio::sync::{Mutex, watch};

use crate::{
    cache::{self, Cache},
    discovery::{self, Group},
};

/// A set of kinds with its documents, which are made when they are first asked for.
pub struct Snapshot {
    pub kinds: Kinds,
    pub openapi: openapi::Documents,
    groups: OnceLock<Vec<Group>>,
    pub aggregated: discovery::Aggregated,
}

impl Snapshot {
    /// `before` is what it replaces, whose documents are kept where they still hold.
    pub fn new(kinds: Kinds, before: Option<&Snapshot>) -> Snapshot {
        Snapshot {
            openapi: openapi::Documents::new(&kinds, before.map(|before| &before.openapi)),
            kinds,
            groups: OnceLock::new(),
            aggregated: discovery::Aggregated::default(),
        }
    }

    /// Groups in the order of discovery; the core group (empty name) first.
    pub fn groups(&self) -> &[Group] {
        self.groups.get_or_init(|| discovery::groups(&self.kinds))
    }
}

/// Why the set of kinds cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Taken(#[from] Taken),
    #[error(transparent)]
    Cache(#[from] cache::Error),
}

/// The current set.
pub struct Catalog {
    current: ArcSwap<Snapshot>,
    cache: Arc<Cache>,
    /// Held while a set is replaced: each begins from the last.
    changing: Mutex<()>,
    /// Counts the sets.
    changes: watch::Sender<u64>,
}

impl Catalog {
    /// `kinds` are those that the cache was loaded with.
    pub fn new(kinds: Kinds, cache: Arc<Cache>) -> Catalog {
        Catalog {
            current: ArcSwap::from_pointee(Snapshot::new(kinds, None)),
            cache,
            changing: Mutex::new(()),
            changes: watch::Sender::new(0),
        }
    }

    /// Tells of each change after it happened.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn put(&self, kinds: Kinds) {
        let before = self.current();
        let next = Snapshot::new(kinds, Some(&before));
        self.current.store(Arc::new(next));
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Serves a kind from now on, with what is stored of it.
    ///
    /// # Errors
    /// Where its name or its place is taken, or the store fails: nothing is changed then.
    pub async fn add(&self, kind: Arc<Kind>) -> Result<(), Error> {
        let _turn = self.changing.lock().await;
        let kinds = self.current().kinds.with(kind.clone())?;
        // It is there before anybody can ask for it.
        self.cache.add(kind).await?;
        self.put(kinds);
        Ok(())
    }

    /// Serves the versions of a custom resource from now on, in the place of those that were served of it. `load`: its objects
    /// are read anew, as these versions have them, and watches of the former ones end.
    ///
    /// # Errors
    /// As [`Catalog::add`].
    pub async fn replace(&self, new: &custom_resource::Kinds, load: bool) -> Result<(), Error> {
        let _turn = self.changing.lock().await;
        let (group, resource) = (&new.stored.group, &new.stored.resource);
        let kinds = (self.current().kinds).replaced(group, resource, &new.served)?;
        if load {
            self.cache.add(new.stored.clone()).await?;
        }
        self.put(kinds);
        Ok(())
    }

    /// Serves a custom resource no longer. What is stored stays.
    pub async fn remove_resource(&self, stored: &Arc<Kind>) -> Result<(), Error> {
        let _turn = self.changing.lock().await;
        let kinds = (self.current().kinds).replaced(&stored.group, &stored.resource, &[])?;
        self.put(kinds);
        self.cache.remove(stored.clone()).await?;
        Ok(())
    }

    /// Serves a kind no longer: its watches end, requests that are under way may finish. What is stored stays.
    pub async fn remove(&self, kind: &Arc<Kind>) -> Result<(), Error> {
        let _turn = self.changing.lock().await;
        let kinds = self.current().kinds.without(kind);
        self.put(kinds);
        self.cache.remove(kind.clone()).await?;
        Ok(())
    }
}
