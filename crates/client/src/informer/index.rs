//! Indexes of an informer's cache. The type of a key names its index and says how objects are keyed, so that two meanings
//! can neither share an index nor be mixed up in a look-up.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use super::Object;
use super::held::{Held, SPARSE};

/// What objects of `K` are found by. Names are unique within a namespace only, and a uid in a reference is whatever its
/// author wrote: a key of a namespaced kind holds the namespace.
pub trait IndexKey<K>: Clone + Eq + Hash + Send + Sync + 'static {
    /// All keys that `object` is to be found under. Must depend on nothing else.
    fn keys_of(object: &K) -> Vec<Self>;
}

/// The objects of one key. Most keys have few.
enum Bucket<K> {
    One(Held<K>),
    Many(HashSet<ByAddress<K>>),
}

/// Found by its address, which is unique while the object is held here.
struct ByAddress<K>(Held<K>);

impl<K: Object> PartialEq for ByAddress<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0.address() == other.0.address()
    }
}

impl<K: Object> Eq for ByAddress<K> {}

impl<K: Object> Hash for ByAddress<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.address().hash(state);
    }
}

impl<K: Object> Bucket<K> {
    fn insert(&mut self, held: &Held<K>) {
        match self {
            Self::One(one) if one.address() == held.address() => {}
            Self::One(one) => {
                let both = [one.clone(), held.clone()];
                *self = Self::Many(both.map(ByAddress).into());
            }
            Self::Many(many) => {
                many.replace(ByAddress(held.clone()));
            }
        }
    }

    /// Whether anything is left.
    fn remove(&mut self, held: &Held<K>) -> bool {
        match self {
            Self::One(one) => one.address() != held.address(),
            Self::Many(many) => {
                many.remove(&ByAddress(held.clone()));
                if many.capacity() / SPARSE > many.len() {
                    many.shrink_to(many.len() * 2);
                }
                !many.is_empty()
            }
        }
    }
}

/// Objects by keys of one type.
pub(super) struct Index<K, V> {
    entries: HashMap<V, Bucket<K>>,
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }
}

impl<K: Object, V: IndexKey<K>> Index<K, V> {
    pub(super) fn get(&self, key: &V) -> Vec<Held<K>> {
        match self.entries.get(key) {
            None => Vec::new(),
            Some(Bucket::One(one)) => vec![one.clone()],
            Some(Bucket::Many(many)) => many.iter().map(|one| one.0.clone()).collect(),
        }
    }
}

/// An index of any type of key, as the cache keeps it up.
pub(super) trait AnyIndex<K>: Send + Sync {
    /// `object` is what is held.
    fn insert(&mut self, held: &Held<K>, object: &K);
    fn remove(&mut self, held: &Held<K>, object: &K);
    fn as_any(&self) -> &dyn Any;
}

impl<K: Object, V: IndexKey<K>> AnyIndex<K> for Index<K, V> {
    fn insert(&mut self, held: &Held<K>, object: &K) {
        for key in V::keys_of(object) {
            match self.entries.get_mut(&key) {
                Some(bucket) => bucket.insert(held),
                None => {
                    self.entries.insert(key, Bucket::One(held.clone()));
                }
            }
        }
    }

    fn remove(&mut self, held: &Held<K>, object: &K) {
        for key in V::keys_of(object) {
            let left = self.entries.get_mut(&key).map(|bucket| bucket.remove(held));
            if left == Some(false) {
                self.entries.remove(&key);
            }
        }
        if self.entries.capacity() / SPARSE > self.entries.len() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
