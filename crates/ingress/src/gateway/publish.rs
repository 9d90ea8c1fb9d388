//! Writes statuses, where they say something else.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_client::{WorkQueue, errors};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    kinds::Kinds,
    said::{Status, Subject, Wanted},
    status::{self, Stamp},
    types::{Gateway, GatewayClass, GrpcRoute, HttpRoute},
};
use crate::build::Key;

type Statuses = BTreeMap<Subject, Wanted>;

/// Writes what the last plan said.
pub struct Publisher {
    client: kube::Client,
    kinds: Arc<OnceLock<Kinds>>,
    queue: WorkQueue<Subject>,
    wanted: Mutex<Arc<Statuses>>,
}

impl Publisher {
    pub fn new(client: kube::Client, kinds: Arc<OnceLock<Kinds>>) -> Arc<Self> {
        Arc::new(Self {
            client,
            kinds,
            queue: WorkQueue::new(),
            wanted: Mutex::default(),
        })
    }

    /// Statuses are to be these from now on.
    pub fn publish(&self, wanted: Statuses) {
        let wanted = Arc::new(wanted);
        let before = std::mem::replace(&mut *self.wanted.lock(), wanted.clone());
        for (subject, said) in &*wanted {
            if before.get(subject) != Some(said) {
                self.queue.add(subject.clone());
            }
        }
    }

    /// An object has changed: somebody else may have written its status.
    pub fn look_at(&self, subject: Subject) {
        self.queue.add(subject);
    }

    /// Writes, for as long as it is let.
    pub async fn run(self: Arc<Self>) {
        while let Some(subject) = self.queue.next().await {
            match self.write(&subject).await {
                Ok(()) => self.queue.forget(&subject),
                Err(error) if errors::is_not_found(&error) => self.queue.forget(&subject),
                Err(error) => {
                    if !errors::is_conflict(&error) {
                        let error = errors::message(&error);
                        tracing::warn!(?subject, error, "cannot write a status, trying again");
                    }
                    self.queue.add_rate_limited(subject.clone());
                }
            }
            self.queue.done(&subject);
        }
    }

    async fn write(&self, subject: &Subject) -> Result<(), kube::Error> {
        let wanted = self.wanted.lock().get(subject).cloned();
        let (Some(wanted), Some(kinds)) = (wanted, self.kinds.get()) else {
            return Ok(());
        };
        match subject {
            Subject::Class(name) => {
                let Some(object) = kinds.classes.get("", name) else {
                    return Ok(());
                };
                let change = |stamp| match &wanted.status {
                    Status::Class { conditions } => {
                        status::class(&object.status, conditions, stamp)
                    }
                    _ => None,
                };
                let api: Api<GatewayClass> = Api::all(self.client.clone());
                send(&api, name, (&object.metadata, &wanted), change).await
            }
            Subject::Gateway(key) => {
                let Some(object) = kinds.gateways.get(&key.namespace, &key.name) else {
                    return Ok(());
                };
                let change = |stamp| status::gateway(&object.status, &wanted.status, stamp);
                let api: Api<Gateway> = self.namespaced(key);
                send(&api, &key.name, (&object.metadata, &wanted), change).await
            }
            Subject::HttpRoute(key) => {
                let Some(object) = kinds.http_routes.get(&key.namespace, &key.name) else {
                    return Ok(());
                };
                let change = |stamp| route(&object.status, &wanted.status, stamp);
                let api: Api<HttpRoute> = self.namespaced(key);
                send(&api, &key.name, (&object.metadata, &wanted), change).await
            }
            Subject::GrpcRoute(key) => {
                let Some(object) = kinds.grpc_routes.get(&key.namespace, &key.name) else {
                    return Ok(());
                };
                let change = |stamp| route(&object.status, &wanted.status, stamp);
                let api: Api<GrpcRoute> = self.namespaced(key);
                send(&api, &key.name, (&object.metadata, &wanted), change).await
            }
        }
    }

    fn namespaced<K>(&self, key: &Key) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

fn route(old: &super::types::RouteStatus, wanted: &Status, stamp: Stamp) -> Option<Value> {
    match wanted {
        Status::Route { parents } => status::route(old, parents, stamp),
        _ => None,
    }
}

/// Writes a status, if it is to be another one.
async fn send<K>(
    api: &Api<K>,
    name: &str,
    (meta, wanted): (&ObjectMeta, &Wanted),
    change: impl FnOnce(Stamp) -> Option<Value>,
) -> Result<(), kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    // The plan was made from another state of it: there will be another plan.
    if meta.generation.unwrap_or_default() != wanted.generation {
        return Ok(());
    }
    let second = knarr_meta::clock::now().as_second();
    let stamp = Stamp {
        generation: wanted.generation,
        now: Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH),
    };
    let Some(status) = change(stamp) else {
        return Ok(());
    };
    let patch = json!({
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": status,
    });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}
