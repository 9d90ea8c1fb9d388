//! An in-memory watch cache and write path for the tests of everything around authorization.

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
    kind::{Behaviour, Part, Scope, text},
};
use knarr_meta::{GroupResource, object, status::Status};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{sync::Notify, time::timeout};

use crate::request::{AdmissionRequest, Object, Objects, Operation, UserInfo, Writer};

type Key = (String, String, String, String);

/// Objects by group, resource, namespace and name.
#[derive(Default)]
pub(crate) struct Fake {
    stored: Mutex<BTreeMap<Key, (u64, Value)>>,
    revision: AtomicU64,
    revisions: Mutex<BTreeMap<(String, String), u64>>,
    /// Told of each put.
    put: Notify,
    /// Lists that were read: what an index must not do at each request.
    pub lists: AtomicU64,
    /// Creates, updates and deletes through [`Writer`].
    pub writes: AtomicU64,
}

impl Fake {
    pub(crate) fn new() -> Arc<Fake> {
        Arc::default()
    }

    /// Stores an object, replacing one of the same name.
    pub(crate) fn put(&self, group: &str, resource: &str, value: Value) {
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

    pub(crate) fn remove(&self, group: &str, resource: &str, namespace: &str, name: &str) {
        self.bump(group, resource);
        self.stored
            .lock()
            .remove(&(group.into(), resource.into(), namespace.into(), name.into()));
    }

    /// The stored object; the test fails where there is none.
    pub(crate) fn stored(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Value {
        self.stored.lock()[&(group.into(), resource.into(), namespace.into(), name.into())]
            .1
            .clone()
    }

    pub(crate) fn count(&self) -> usize {
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

#[async_trait]
impl Writer for Fake {
    async fn create(
        &self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
    ) -> Result<Value, Status> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let name = object::name(&object).to_owned();
        if self
            .get(&kind.group, &kind.resource, namespace, &name)
            .is_some()
        {
            return Err(Status::already_exists(
                GroupResource::new(kind.group.clone(), kind.resource.clone()),
                &name,
            ));
        }
        object["metadata"]["uid"] = format!("uid-{name}").into();
        self.put(&kind.group, &kind.resource, object.clone());
        Ok(object)
    }

    async fn update(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        _part: Part,
        change: &(dyn for<'v> Fn(&'v mut Value) -> Result<bool, Status> + Send + Sync),
    ) -> Result<Value, Status> {
        let mut object = self.stored(&kind.group, &kind.resource, namespace, name);
        if change(&mut object)? {
            self.writes.fetch_add(1, Ordering::Relaxed);
            self.put(&kind.group, &kind.resource, object.clone());
        }
        Ok(object)
    }

    async fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.remove(&kind.group, &kind.resource, namespace, name);
        Ok(())
    }
}

struct Plain;

impl Strategy for Plain {}

/// A kind with nothing but its names.
pub(crate) fn kind(
    group: &'static str,
    resource: &'static str,
    kind: &'static str,
) -> &'static Arc<Kind> {
    Box::leak(Box::new(Arc::new(Kind {
        group: text(group),
        version: text("v1"),
        kind: text(kind),
        resource: text(resource),
        singular: text(""),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: Scope::Namespaced,
        verbs: &[],
        subresources: Default::default(),
        storage: None,
        definition: text(""),
        strategy: Behaviour::BuiltIn(&Plain),
        aliases: Default::default(),
    })))
}

pub(crate) fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.into(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        ..UserInfo::default()
    }
}

/// A write to admit.
pub(crate) struct Write {
    pub operation: Operation,
    pub kind: Arc<Kind>,
    pub subresource: &'static str,
    pub user: UserInfo,
    pub object: Option<Value>,
    pub old: Option<Value>,
    /// For what has no object.
    pub name: &'static str,
    pub namespace: &'static str,
}

impl Write {
    pub(crate) fn create(kind: &Arc<Kind>, user: UserInfo, object: Value) -> Write {
        let (subresource, old, name, namespace) = ("", None, "", "");
        Write {
            operation: Operation::Create,
            kind: kind.clone(),
            subresource,
            user,
            object: Some(object),
            old,
            name,
            namespace,
        }
    }

    pub(crate) fn update(kind: &Arc<Kind>, user: UserInfo, old: Value, object: Value) -> Write {
        Write {
            operation: Operation::Update,
            old: Some(old),
            ..Write::create(kind, user, object)
        }
    }

    /// Runs one plugin's phases as the server does; the object as it came out.
    pub(crate) async fn run(
        mut self,
        plugin: &dyn crate::request::AdmissionPlugin,
    ) -> Result<Value, Status> {
        let of = self.object.clone().unwrap_or_default();
        let pick = |given: &str, own: &str| {
            if given.is_empty() {
                own.to_owned()
            } else {
                given.to_owned()
            }
        };
        let (name, namespace) = (
            pick(self.name, object::name(&of)),
            pick(self.namespace, object::namespace(&of)),
        );
        let mut warnings = Vec::new();
        let mut request = AdmissionRequest {
            operation: self.operation,
            kind: &self.kind,
            subresource: self.subresource,
            namespace: &namespace,
            name: &name,
            user: &self.user,
            dry_run: false,
            object: self.object.as_mut(),
            old: self.old.as_ref(),
            warnings: &mut warnings,
        };
        if plugin.handles(&request) {
            plugin.admit(&mut request).await?;
        }
        if plugin.handles(&request) {
            plugin.validate(&request).await?;
        }
        Ok(self.object.unwrap_or_default())
    }
}
