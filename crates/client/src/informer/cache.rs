//! What an informer holds: objects of its own, or the server's states in whose process it is.

use std::any::TypeId;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use knarr_states::{Form, Recent, State};
use serde::de::Error as _;

use super::Object;
use super::held::{Held, SPARSE};
use super::index::{AnyIndex, Index, IndexKey};

/// What is this large takes milliseconds to decode: not on the threads that answer requests.
const LARGE_BYTES: usize = 256 << 10;

/// How the states of a server are read.
#[derive(Clone)]
pub(crate) struct Reader {
    pub recent: Arc<Recent>,
    pub form: Form,
}

impl Reader {
    /// `None`, with a warning, for what is no `K`: it must not hide the others.
    fn read<K: Object>(&self, state: &Arc<dyn State>) -> Option<Arc<K>> {
        let decode = |json: &[u8]| {
            let text = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
            match json.len() >= LARGE_BYTES {
                true => knarr_tasks::heavy(|| K::decode(text)),
                false => K::decode(text),
            }
        };
        let object = match self.form {
            Form::Whole if !K::IS_KEPT => self.recent.read(state, decode),
            // There is little to decode, and whoever reads no more keeps what it needs.
            Form::Whole | Form::Metadata => {
                knarr_states::decoded(state, self.form, decode).map(Arc::new)
            }
        };
        match object {
            Ok(object) => Some(object),
            Err(error) => {
                let (namespace, name) = state.namespaced_name();
                tracing::warn!(%error, kind = K::kind_name(), namespace, name, "skipping an object that cannot be decoded");
                None
            }
        }
    }
}

/// Found by its name within a namespace.
struct Named<K>(Held<K>);

impl<K: Object> Named<K> {
    fn name(&self) -> &str {
        self.0.namespaced_name().1
    }
}

impl<K: Object> PartialEq for Named<K> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl<K: Object> Eq for Named<K> {}

impl<K: Object> Hash for Named<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl<K: Object> Borrow<str> for Named<K> {
    fn borrow(&self) -> &str {
        self.name()
    }
}

pub(super) struct Cache<K> {
    /// By namespace, which is ordered so that lists are cheap to compare in tests.
    objects: BTreeMap<Box<str>, HashSet<Named<K>>>,
    /// By the type of their keys.
    indexes: HashMap<TypeId, Box<dyn AnyIndex<K>>>,
    count: usize,
    /// Where anything is shared.
    pub(super) reader: Option<Reader>,
}

impl<K: Object> Default for Cache<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            indexes: HashMap::new(),
            count: 0,
            reader: None,
        }
    }
}

impl<K: Object> Cache<K> {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Held<K>> {
        self.objects.values().flatten().map(|named| &named.0)
    }

    pub(super) fn within(&self, namespace: &str) -> impl Iterator<Item = &Held<K>> {
        let names = self.objects.get(namespace).into_iter().flatten();
        names.map(|named| &named.0)
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Held<K>> {
        Some(&self.objects.get(namespace)?.get(name)?.0)
    }

    pub(super) fn read(&self, held: &Held<K>) -> Option<Arc<K>> {
        read(self.reader.as_ref(), held)
    }

    pub(super) fn index<V: IndexKey<K>>(&self) -> Option<&Index<K, V>> {
        self.indexes
            .get(&TypeId::of::<V>())?
            .as_any()
            .downcast_ref()
    }

    pub(super) fn make_index<V: IndexKey<K>>(&mut self) {
        let mut index = Index::<K, V>::default();
        for held in self.all() {
            if let Some(object) = self.read(held) {
                index.insert(held, &object);
            }
        }
        self.indexes.insert(TypeId::of::<V>(), Box::new(index));
    }

    /// `object` is what is held.
    pub(super) fn insert(&mut self, held: Held<K>, object: &K) -> Option<Held<K>> {
        let (namespace, _) = held.namespaced_name();
        let names = match self.objects.get_mut(namespace) {
            Some(names) => names,
            None => self.objects.entry(namespace.into()).or_default(),
        };
        let old = names.replace(Named(held.clone())).map(|named| named.0);
        if let Some(old) = &old {
            self.unindex(old);
        }
        for index in self.indexes.values_mut() {
            index.insert(&held, object);
        }
        self.count += usize::from(old.is_none());
        old
    }

    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Held<K>> {
        let names = self.objects.get_mut(namespace)?;
        let old = names.take(name)?.0;
        if names.is_empty() {
            self.objects.remove(namespace);
        } else if names.capacity() / SPARSE > names.len() {
            names.shrink_to(names.len() * 2);
        }
        self.unindex(&old);
        self.count -= 1;
        Some(old)
    }

    fn unindex(&mut self, old: &Held<K>) {
        if self.indexes.is_empty() {
            return;
        }
        let Some(object) = read(self.reader.as_ref(), old) else {
            return;
        };
        for index in self.indexes.values_mut() {
            index.remove(old, &object);
        }
    }
}

pub(super) fn read<K: Object>(reader: Option<&Reader>, held: &Held<K>) -> Option<Arc<K>> {
    match held {
        Held::Own(object) => Some(object.clone()),
        Held::Shared(state, _) => reader?.read(state),
    }
}
