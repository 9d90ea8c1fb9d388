//! One resource's cache: objects shared as `Arc`, indexes kept incrementally, handlers called in order.
//!
//! In a server's process it holds the server's own states, and decodes what is read.

mod cache;
mod held;
mod index;

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use cache::Cache;
pub(crate) use cache::Reader;
pub(crate) use held::Held;
pub use index::IndexKey;

/// What an informer can hold. Every typed Kubernetes object is one; slimmer types implement it by hand.
pub trait Object: Send + Sync + Sized + 'static {
    /// Empty for cluster-scoped objects.
    fn namespace(&self) -> &str;
    fn name(&self) -> &str;
    fn resource_version(&self) -> &str;
    /// Whether an object is decoded once, when it comes, and kept so, also in the server's process: for types that are small beside
    /// what they are read from, and of which many are read at once.
    const IS_KEPT: bool = false;
    /// Decodes one object; may drop what readers do not need.
    ///
    /// # Errors
    /// When the JSON is not this type.
    fn decode(json: &str) -> Result<Self, serde_json::Error>;
    /// For logs.
    fn kind_name() -> &'static str {
        std::any::type_name::<Self>()
    }
}

impl<K> Object for K
where
    K: kube::Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
{
    fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    fn resource_version(&self) -> &str {
        self.meta().resource_version.as_deref().unwrap_or_default()
    }

    fn decode(json: &str) -> Result<Self, serde_json::Error> {
        let mut object: K = serde_json::from_str(json)?;
        // Often half of the object, and nothing that reads an informer looks at them.
        let meta: &mut ObjectMeta = object.meta_mut();
        meta.managed_fields = None;
        Ok(object)
    }
}

/// A change of the cache, as handlers see it.
#[derive(Debug)]
pub enum Event<K> {
    Added(Arc<K>),
    Updated {
        old: Arc<K>,
        new: Arc<K>,
    },
    /// Carries the last state that was seen; what came between may have been missed.
    Deleted(Arc<K>),
}

impl<K> Event<K> {
    /// The object as it is now (or was last).
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Updated { new: object, .. } | Self::Deleted(object) => {
                object
            }
        }
    }
}

impl<K> Clone for Event<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(object.clone()),
            Self::Updated { old, new } => Self::Updated {
                old: old.clone(),
                new: new.clone(),
            },
            Self::Deleted(object) => Self::Deleted(object.clone()),
        }
    }
}

type Handler<K> = Box<dyn Fn(Event<K>) + Send + Sync>;

struct Shared<K> {
    /// Held while a change is made and told, so that a handler registered meanwhile sees each object once and in order.
    handlers: Mutex<Vec<Handler<K>>>,
    /// Never held while handlers run.
    cache: RwLock<Cache<K>>,
    synced: watch::Sender<bool>,
}

/// A cache of one resource within one scope, kept by a list and a watch. Clones share it.
///
/// Reads are from memory and may lag behind the server; what they return must not be taken for the state a write will
/// meet (use the object's resourceVersion for that).
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K: Object> Default for Informer<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Object> Informer<K> {
    /// An empty cache that nothing feeds yet: [`Self::run`] does, or a test by [`Self::apply`].
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                handlers: Mutex::new(Vec::new()),
                cache: RwLock::new(Cache::default()),
                synced: watch::Sender::new(false),
            }),
        }
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let held = self.shared.cache.read().get(namespace, name).cloned()?;
        self.read(&held)
    }

    /// Every object, in no order within a namespace.
    pub fn list(&self) -> Vec<Arc<K>> {
        let held: Vec<Held<K>> = self.shared.cache.read().all().cloned().collect();
        self.read_all(held)
    }

    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let held = {
            let cache = self.shared.cache.read();
            cache.within(namespace).cloned().collect()
        };
        self.read_all(held)
    }

    /// Decodes, where it has to be, without holding up others.
    fn read(&self, held: &Held<K>) -> Option<Arc<K>> {
        let reader = self.shared.cache.read().reader.clone();
        cache::read(reader.as_ref(), held)
    }

    fn read_all(&self, held: Vec<Held<K>>) -> Vec<Arc<K>> {
        let reader = self.shared.cache.read().reader.clone();
        let read = |held| cache::read(reader.as_ref(), held);
        held.iter().filter_map(read).collect()
    }

    pub fn len(&self) -> usize {
        self.shared.cache.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects that have `key` among their keys of this type. The first look-up by a type makes its index, which is
    /// kept from then on.
    pub fn by_index<V: IndexKey<K>>(&self, key: &V) -> Vec<Arc<K>> {
        let held = self.shared.cache.read().index().map(|index| index.get(key));
        let held = held.unwrap_or_else(|| {
            let mut cache = self.shared.cache.write();
            // Another reader may have been faster.
            if cache.index::<V>().is_none() {
                cache.make_index::<V>();
            }
            let index = cache.index();
            index.map(|index| index.get(key)).unwrap_or_default()
        });
        self.read_all(held)
    }

    /// Calls `handler` with `Added` for everything cached, now, and then with every change, in order, from the
    /// informer's task. It must not block and must not register handlers on the same informer; reading it is fine.
    pub fn on_event(&self, handler: impl Fn(Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock();
        let held: Vec<Held<K>> = self.shared.cache.read().all().cloned().collect();
        for held in held {
            if let Some(object) = self.read(&held) {
                handler(Event::Added(object));
            }
        }
        handlers.push(Box::new(handler));
    }

    /// The first list is in the cache, and its handlers have been called.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits for [`Self::is_synced`]. Callers bound it by their own deadline or token.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives in `self.shared`, so the wait cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Makes the cache hold exactly `objects`, telling handlers the differences.
    pub fn replace(&self, objects: Vec<K>) {
        self.hold_exactly(objects.into_iter().map(Held::own).collect());
    }

    /// Puts one object into the cache, as a watch event does.
    pub fn apply(&self, object: K) {
        self.hold(Held::own(object));
    }

    /// Takes one object out of the cache; handlers get its state at deletion.
    pub fn remove(&self, object: K) {
        self.let_go(Held::own(object));
    }

    /// What is to be held of it; `None` for what cannot be decoded.
    fn kept(&self, held: Held<K>) -> Option<Held<K>> {
        match &held {
            Held::Shared(..) if K::IS_KEPT => self.read(&held).map(Held::Own),
            _ => Some(held),
        }
    }

    /// The server's states are read like this from now on.
    pub(crate) fn read_as(&self, reader: Reader) {
        self.shared.cache.write().reader = Some(reader);
    }

    pub(crate) fn hold_exactly(&self, objects: Vec<Held<K>>) {
        let handlers = self.shared.handlers.lock();
        let objects: Vec<Held<K>> = (objects.into_iter())
            .filter_map(|held| self.kept(held))
            .collect();
        let mut changes = Vec::new();
        {
            let mut cache = self.shared.cache.write();
            let listed: HashSet<(&str, &str)> = objects.iter().map(Held::namespaced_name).collect();
            let gone: Vec<Held<K>> = (cache.all())
                .filter(|cached| !listed.contains(&cached.namespaced_name()))
                .cloned()
                .collect();
            for held in gone {
                let (namespace, name) = held.namespaced_name();
                changes.extend(cache.remove(namespace, name).map(|old| (Some(old), None)));
            }
            for new in &objects {
                let (namespace, name) = new.namespaced_name();
                let cached = cache.get(namespace, name);
                if cached.is_some_and(|cached| cached.is_same_version(new)) {
                    continue;
                }
                if let Some(object) = cache.read(new) {
                    let old = cache.insert(new.clone(), &object);
                    changes.push((old, Some(new.clone())));
                }
            }
        }
        // One after the other: all of them decoded at once may be much.
        for (old, new) in changes {
            self.notify(&handlers, old.as_ref(), new.as_ref());
        }
        drop(handlers);
        self.shared.synced.send_replace(true);
    }

    pub(crate) fn hold(&self, new: Held<K>) {
        let handlers = self.shared.handlers.lock();
        let Some(new) = self.kept(new) else {
            return;
        };
        let Some(object) = self.read(&new) else {
            return;
        };
        let old = self.shared.cache.write().insert(new.clone(), &object);
        self.notify(&handlers, old.as_ref(), Some(&new));
    }

    pub(crate) fn let_go(&self, last: Held<K>) {
        let handlers = self.shared.handlers.lock();
        let known = {
            let (namespace, name) = last.namespaced_name();
            self.shared.cache.write().remove(namespace, name)
        };
        if known.is_some() {
            self.notify(&handlers, self.kept(last).as_ref(), None);
        }
    }

    fn notify(&self, handlers: &[Handler<K>], old: Option<&Held<K>>, new: Option<&Held<K>>) {
        if handlers.is_empty() {
            return;
        }
        let read = |held: Option<&Held<K>>| held.and_then(|held| self.read(held));
        let event = match (read(old), read(new)) {
            (Some(old), Some(new)) => Event::Updated { old, new },
            (None, Some(new)) => Event::Added(new),
            (Some(old), None) => Event::Deleted(old),
            (None, None) => return,
        };
        for handler in handlers {
            handler(event.clone());
        }
    }
}

#[cfg(test)]
mod tests;
