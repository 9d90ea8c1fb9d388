//! Indexes of an informer's cache. The type of a key names its index and says how objects are keyed, so that two meanings
//! can neither share an index nor be mixed up in a look-up.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// What objects of `K` are found by. Names are unique within a namespace only, and a uid in a reference is whatever its
/// author wrote: a key of a namespaced kind holds the namespace.
pub trait IndexKey<K>: Clone + Eq + Hash + Send + Sync + 'static {
    /// All keys that `object` is to be found under. Must depend on nothing else.
    fn keys_of(object: &K) -> Vec<Self>;
}

/// Objects by keys of one type.
pub(super) struct Index<K, V> {
    /// Keyed by the object's address, which is unique while the `Arc` is held here.
    entries: HashMap<V, HashMap<usize, Arc<K>>>,
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }
}

impl<K, V: IndexKey<K>> Index<K, V> {
    pub(super) fn get(&self, key: &V) -> Vec<Arc<K>> {
        self.entries
            .get(key)
            .map(|objects| objects.values().cloned().collect())
            .unwrap_or_default()
    }
}

/// An index of any type of key, as the cache keeps it up.
pub(super) trait AnyIndex<K>: Send + Sync {
    fn insert(&mut self, object: &Arc<K>);
    fn remove(&mut self, object: &Arc<K>);
    fn as_any(&self) -> &dyn Any;
}

impl<K: Send + Sync + 'static, V: IndexKey<K>> AnyIndex<K> for Index<K, V> {
    fn insert(&mut self, object: &Arc<K>) {
        for key in V::keys_of(object) {
            self.entries
                .entry(key)
                .or_default()
                .insert(Arc::as_ptr(object) as usize, object.clone());
        }
    }

    fn remove(&mut self, object: &Arc<K>) {
        for key in V::keys_of(object) {
            if let Some(objects) = self.entries.get_mut(&key) {
                objects.remove(&(Arc::as_ptr(object) as usize));
                if objects.is_empty() {
                    self.entries.remove(&key);
                }
            }
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
