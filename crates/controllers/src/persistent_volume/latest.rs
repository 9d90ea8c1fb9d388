//! An informer, and over it what was written and is not yet in it. Two claims would be given one volume otherwise: the second
//! is looked at before the first one's binding has come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use knarr_client::{IndexKey, Informer, Object};
use kube::Resource;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::runner::Key;
use crate::written::revision;

/// After this time the informer is believed in any case: what was written may be gone.
const EXPIRY: Duration = Duration::from_secs(10);

pub(crate) struct Latest<K> {
    informer: Informer<K>,
    written: Mutex<HashMap<Key, (Arc<K>, Instant)>>,
}

impl<K: Resource<DynamicType = ()> + Object> Latest<K> {
    pub(crate) fn new(informer: Informer<K>) -> Self {
        Self {
            informer,
            written: Mutex::default(),
        }
    }

    pub(crate) fn informer(&self) -> &Informer<K> {
        &self.informer
    }

    /// `object` is the server's answer to a write.
    pub(crate) fn note(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        let mut written = self.written.lock();
        written.retain(|_, (_, at)| at.elapsed() < EXPIRY);
        written.insert(Key::of(&*object), (object.clone(), Instant::now()));
        object
    }

    /// The object is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.written.lock().remove(key);
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        let cached = self.informer.get(&key.namespace, &key.name);
        self.newest(key, cached)
    }

    /// The objects with a key of an index. What was written counts as it is now, where the index may know it as it was.
    pub(crate) fn by_index<V: IndexKey<K>>(&self, key: &V) -> Vec<Arc<K>> {
        let found = self.informer.by_index(key).into_iter();
        let newest = found.filter_map(|object| self.newest(&Key::of(&*object), Some(object)));
        newest.collect()
    }

    fn newest(&self, key: &Key, cached: Option<Arc<K>>) -> Option<Arc<K>> {
        let mut written = self.written.lock();
        let Some((noted, at)) = written.get(key) else {
            return cached;
        };
        let seen = cached.as_ref().map_or(0, |object| revision(&**object));
        if seen >= revision(&**noted) || at.elapsed() >= EXPIRY {
            written.remove(key);
            return cached;
        }
        Some(noted.clone())
    }
}
