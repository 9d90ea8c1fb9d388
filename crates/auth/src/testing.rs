//! An in-memory watch cache for the tests of everything around authorization.

pub mod rbac;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use knarr_api::{
    Kind, Strategy,
    kind::{Behaviour, Scope, text},
};
use knarr_meta::object;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{sync::Notify, time::timeout};

use crate::{
    UserInfo,
    objects::{Object, Objects},
};

type Key = (String, String, String, String);

/// Objects by group, resource, namespace and name.
#[derive(Default)]
pub struct Fake {
    stored: Mutex<BTreeMap<Key, (u64, Value)>>,
    revision: AtomicU64,
    revisions: Mutex<BTreeMap<(String, String), u64>>,
    /// Told of each put.
    put: Notify,
    /// Lists that were read: what an index must not do at each request.
    pub lists: AtomicU64,
    /// Creates, updates and deletes.
    pub writes: AtomicU64,
}

impl Fake {
    pub fn new() -> Arc<Fake> {
        Arc::default()
    }

    /// Stores an object, replacing one of the same name.
    pub fn put(&self, group: &str, resource: &str, value: Value) {
        let key = (
            group.into(),
            resource.into(),
            object::namespace(&value).into(),
            object::name(&value).into(),
        );
        let revision = self.bump(group, resource);
        self.stored.lock().insert(key, (revision, value));
        self.put.notify_waiters();
    }

    pub fn remove(&self, group: &str, resource: &str, namespace: &str, name: &str) {
        self.bump(group, resource);
        self.stored
            .lock()
            .remove(&(group.into(), resource.into(), namespace.into(), name.into()));
    }

    /// The stored object; the test fails where there is none.
    pub fn stored(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Value {
        self.stored.lock()[&(group.into(), resource.into(), namespace.into(), name.into())]
            .1
            .clone()
    }

    pub fn count(&self) -> usize {
        self.stored.lock().len()
    }

    fn bump(&self, group: &str, resource: &str) -> u64 {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        self.revisions
            .lock()
            .insert((group.into(), resource.into()), revision);
        revision
    }
}

fn cached((revision, value): &(u64, Value)) -> Object {
    Object {
        revision: *revision,
        json: value.to_string().into(),
    }
}

#[async_trait]
impl Objects for Fake {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        self.stored
            .lock()
            .get(&(group.into(), resource.into(), namespace.into(), name.into()))
            .map(cached)
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Object> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        let stored = self.stored.lock();
        let listed = stored.iter().filter(|((g, r, n, _), _)| {
            g == group && r == resource && (namespace.is_empty() || n == namespace)
        });
        listed.map(|(_, entry)| cached(entry)).collect()
    }

    async fn appears(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        wait: Duration,
    ) -> Option<Object> {
        let come = async {
            loop {
                let put = self.put.notified();
                if let Some(object) = self.get(group, resource, namespace, name) {
                    return object;
                }
                put.await;
            }
        };
        timeout(wait, come).await.ok()
    }

    fn revision_of(&self, group: &str, resource: &str) -> u64 {
        self.revisions
            .lock()
            .get(&(group.to_owned(), resource.to_owned()))
            .copied()
            .unwrap_or_default()
    }
}

struct Plain;

impl Strategy for Plain {}

/// A kind with nothing but its names.
pub fn kind(group: &'static str, resource: &'static str, kind: &'static str) -> &'static Arc<Kind> {
    Box::leak(Box::new(Arc::new(Kind {
        group: text(group),
        version: text("v1"),
        kind: text(kind),
        list_kind: None,
        resource: text(resource),
        singular: text(""),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: Scope::Namespaced,
        verbs: &[],
        subresources: Default::default(),
        storage: None,
        stored: None,
        definition: text(""),
        strategy: Behaviour::BuiltIn(&Plain),
        aliases: Default::default(),
    })))
}

pub fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.into(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        ..UserInfo::default()
    }
}
