//! The set of resources that the cache holds, by name and by place in the store. A set never changes; a change makes another.

use std::{collections::HashMap, sync::Arc};

use knarr_api::{Kind, kind::Text};

use super::{REGISTRY, resource::ResourceCache};

#[derive(Clone, Default)]
pub struct Resources {
    /// By resource name; few names are in more than one group.
    by_name: HashMap<Text, Vec<Arc<ResourceCache>>>,
    /// By key without trailing slash.
    by_place: HashMap<Text, Arc<ResourceCache>>,
}

impl Resources {
    /// With a resource, in the place of one of its name.
    pub fn with(&self, resource: Arc<ResourceCache>) -> Resources {
        let kind = &resource.kind;
        let mut next = self.without(kind);
        if let Some(place) = &kind.storage {
            next.by_place.insert(place.clone(), resource.clone());
        }
        let named = next.by_name.entry(kind.resource.clone()).or_default();
        named.push(resource);
        next
    }

    pub fn without(&self, kind: &Kind) -> Resources {
        let mut next = self.clone();
        if let Some(named) = next.by_name.get_mut(&kind.resource) {
            named.retain(|resource| resource.kind.group != kind.group);
            if named.is_empty() {
                next.by_name.remove(&kind.resource);
            }
        }
        if let Some(place) = &kind.storage {
            next.by_place.remove(place);
        }
        next
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<ResourceCache>> {
        self.by_name.values().flatten()
    }

    pub fn find(&self, group: &str, resource: &str) -> Option<&Arc<ResourceCache>> {
        let mut named = self.by_name.get(resource)?.iter();
        named.find(|cache| cache.kind.group == group)
    }

    /// The resource a store key belongs to: `/registry/X/…` or `/registry/X/Y/…`.
    pub fn of_key(&self, key: &str) -> Option<&Arc<ResourceCache>> {
        let rest = key.strip_prefix(REGISTRY)?;
        let first = REGISTRY.len() + rest.find('/')?;
        if let Some(resource) = self.by_place.get(&key[..first]) {
            return Some(resource);
        }
        let second = first + 1 + key[first + 1..].find('/')?;
        self.by_place.get(&key[..second])
    }
}
