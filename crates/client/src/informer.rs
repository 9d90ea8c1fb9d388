//! One resource's cache: objects shared as `Arc`, indexes kept incrementally, handlers called in order.

mod index;

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::reflector::{self, Source};
pub use index::IndexKey;
use index::{AnyIndex, Index};

/// What an informer can hold. Every typed Kubernetes object is one; slimmer types implement it by hand.
pub trait Object: Send + Sync + Sized + 'static {
    /// Empty for cluster-scoped objects.
    fn namespace(&self) -> &str;
    fn name(&self) -> &str;
    fn resource_version(&self) -> &str;
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
struct Cache<K> {
    /// By namespace, then by name. Ordered by namespace so that lists are cheap to compare in tests.
    objects: BTreeMap<Box<str>, HashMap<Box<str>, Arc<K>>>,
    /// By the type of their keys.
    indexes: HashMap<TypeId, Box<dyn AnyIndex<K>>>,
    count: usize,
}

impl<K: Object> Cache<K> {
    fn index<V: IndexKey<K>>(&self) -> Option<&Index<K, V>> {
        self.indexes
            .get(&TypeId::of::<V>())?
            .as_any()
            .downcast_ref()
    }

    fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(namespace)?.get(name)
    }

    fn insert(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        let names = match self.objects.get_mut(object.namespace()) {
            Some(names) => names,
            None => self.objects.entry(object.namespace().into()).or_default(),
        };
        let old = names.insert(object.name().into(), object.clone());
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(old);
            }
            index.insert(&object);
        }
        self.count += usize::from(old.is_none());
        old
    }

    fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let names = self.objects.get_mut(namespace)?;
        let old = names.remove(name)?;
        if names.is_empty() {
            self.objects.remove(namespace);
        }
        for index in self.indexes.values_mut() {
            index.remove(&old);
        }
        self.count -= 1;
        Some(old)
    }
}

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
        let cache = Cache {
            objects: BTreeMap::new(),
            indexes: HashMap::new(),
            count: 0,
        };
        Self {
            shared: Arc::new(Shared {
                handlers: Mutex::new(Vec::new()),
                cache: RwLock::new(cache),
                synced: watch::Sender::new(false),
            }),
        }
    }

    /// Feeds the cache from the server until `token` is cancelled. To be run once, by whoever made the informer.
    pub async fn run(self, client: kube::Client, source: Source, token: CancellationToken) {
        reflector::run(self, client, source, token).await;
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared.cache.read().get(namespace, name).cloned()
    }

    /// Every object, in no order within a namespace.
    pub fn list(&self) -> Vec<Arc<K>> {
        let cache = self.shared.cache.read();
        let mut all = Vec::with_capacity(cache.count);
        all.extend(cache.objects.values().flat_map(HashMap::values).cloned());
        all
    }

    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let cache = self.shared.cache.read();
        cache
            .objects
            .get(namespace)
            .map(|names| names.values().cloned().collect())
            .unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.shared.cache.read().count
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects that have `key` among their keys of this type. The first look-up by a type makes its index, which is
    /// kept from then on.
    pub fn by_index<V: IndexKey<K>>(&self, key: &V) -> Vec<Arc<K>> {
        if let Some(index) = self.shared.cache.read().index::<V>() {
            return index.get(key);
        }
        let mut cache = self.shared.cache.write();
        // Another reader may have been faster.
        if cache.index::<V>().is_none() {
            let mut index = Index::<K, V>::default();
            for object in cache.objects.values().flat_map(HashMap::values) {
                index.insert(object);
            }
            cache.indexes.insert(TypeId::of::<V>(), Box::new(index));
        }
        cache
            .index::<V>()
            .map(|index| index.get(key))
            .unwrap_or_default()
    }

    /// Calls `handler` with `Added` for everything cached, now, and then with every change, in order, from the
    /// informer's task. It must not block and must not register handlers on the same informer; reading it is fine.
    pub fn on_event(&self, handler: impl Fn(Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock();
        for object in self.list() {
            handler(Event::Added(object));
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
        let handlers = self.shared.handlers.lock();
        let mut events = Vec::with_capacity(objects.len());
        {
            let mut cache = self.shared.cache.write();
            let mut listed: HashMap<(&str, &str), ()> = HashMap::with_capacity(objects.len());
            let objects: Vec<Arc<K>> = objects.into_iter().map(Arc::new).collect();
            for object in &objects {
                listed.insert((object.namespace(), object.name()), ());
            }
            let gone: Vec<Arc<K>> = (cache.objects.values().flat_map(HashMap::values))
                .filter(|cached| !listed.contains_key(&(cached.namespace(), cached.name())))
                .cloned()
                .collect();
            for object in gone {
                events.extend(
                    cache
                        .remove(object.namespace(), object.name())
                        .map(Event::Deleted),
                );
            }
            for new in &objects {
                let cached = cache.get(new.namespace(), new.name());
                if cached.is_some_and(|c| c.resource_version() == new.resource_version()) {
                    continue;
                }
                events.push(match cache.insert(new.clone()) {
                    Some(old) => Event::Updated {
                        old,
                        new: new.clone(),
                    },
                    None => Event::Added(new.clone()),
                });
            }
        }
        notify(&handlers, events);
        drop(handlers);
        self.shared.synced.send_replace(true);
    }

    /// Puts one object into the cache, as a watch event does.
    pub fn apply(&self, object: K) {
        let handlers = self.shared.handlers.lock();
        let new = Arc::new(object);
        let old = self.shared.cache.write().insert(new.clone());
        notify(
            &handlers,
            [match old {
                Some(old) => Event::Updated { old, new },
                None => Event::Added(new),
            }],
        );
    }

    /// Takes one object out of the cache; handlers get its state at deletion.
    pub fn remove(&self, object: K) {
        let handlers = self.shared.handlers.lock();
        let known = self
            .shared
            .cache
            .write()
            .remove(object.namespace(), object.name());
        if known.is_some() {
            notify(&handlers, [Event::Deleted(Arc::new(object))]);
        }
    }
}

fn notify<K>(handlers: &[Handler<K>], events: impl IntoIterator<Item = Event<K>>) {
    for event in events {
        for handler in handlers {
            handler(event.clone());
        }
    }
}

#[cfg(test)]
mod tests;
