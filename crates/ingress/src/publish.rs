//! What users are told: where an Ingress is served, in its status, and what is not, by events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::ObjectReference,
    networking::v1::{Ingress, IngressClass},
};
use knarr_client::{
    Informer, WorkQueue, errors,
    events::{Recorder, WARNING},
};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{build::Key, class};

/// As events name us.
const COMPONENT: &str = "knarr-ingress";

/// Writes statuses and events.
pub struct Publisher {
    client: kube::Client,
    recorder: Recorder,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    queue: WorkQueue<Key>,
    /// Where Ingresses are served now.
    addresses: Mutex<Vec<IpAddr>>,
    /// What users were told, so that they are told once.
    told: Mutex<HashMap<Key, BTreeSet<String>>>,
}

impl Publisher {
    pub fn new(
        client: kube::Client,
        ingresses: Informer<Ingress>,
        classes: Informer<IngressClass>,
    ) -> Arc<Self> {
        Arc::new(Self {
            recorder: Recorder::new(client.clone(), COMPONENT, ""),
            client,
            ingresses,
            classes,
            queue: WorkQueue::new(),
            addresses: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// Ingresses are served there from now on.
    pub fn serve_at(&self, addresses: Vec<IpAddr>) {
        *self.addresses.lock() = addresses;
        self.look_at_all();
    }

    /// An Ingress has changed, or appeared.
    pub fn look_at(&self, ingress: &Ingress) {
        self.queue.add(Key::of(ingress));
    }

    /// Classes have changed.
    pub fn look_at_all(&self) {
        for ingress in self.ingresses.list() {
            self.queue.add(Key::of(&*ingress));
        }
    }

    /// Tells of problems that are news.
    pub fn tell(&self, problems: &BTreeMap<Key, BTreeSet<String>>) {
        let mut told = self.told.lock();
        told.retain(|key, _| problems.contains_key(key));
        for (key, problems) in problems {
            let Some(ingress) = self.ingresses.get(&key.namespace, &key.name) else {
                continue;
            };
            let before = told
                .insert(key.clone(), problems.clone())
                .unwrap_or_default();
            for problem in problems.difference(&before) {
                self.warn(&ingress.object_ref(&()), "NotServedAsSaid", problem);
            }
        }
    }

    /// A port of the node is somebody else's.
    pub fn tell_of_port(&self, problem: &str) {
        let class = self.classes.get("", class::NAME);
        if let Some(class) = class {
            self.warn(&class.object_ref(&()), "PortTaken", problem);
        }
    }

    fn warn(&self, about: &ObjectReference, reason: &'static str, problem: &str) {
        self.recorder.event(about, WARNING, reason, problem);
    }

    /// Writes statuses, for as long as it is let.
    pub async fn run(self: Arc<Self>) {
        while let Some(key) = self.queue.next().await {
            match self.write(&key).await {
                Ok(()) => self.queue.forget(&key),
                Err(error) if errors::is_not_found(&error) => self.queue.forget(&key),
                Err(error) => {
                    if !errors::is_conflict(&error) {
                        let error = errors::message(&error);
                        tracing::warn!(%key, error, "cannot write an Ingress' status, trying again");
                    }
                    self.queue.add_rate_limited(key.clone());
                }
            }
            self.queue.done(&key);
        }
    }

    async fn write(&self, key: &Key) -> Result<(), kube::Error> {
        let Some(ingress) = self.ingresses.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let going = ingress.metadata.deletion_timestamp.is_some();
        if going || !class::is_ours(&ingress, &self.classes) {
            return Ok(());
        }
        let wanted = self.addresses.lock().clone();
        if published(&ingress) == wanted {
            return Ok(());
        }
        let points: Vec<_> = wanted
            .iter()
            .map(|address| json!({"ip": address}))
            .collect();
        let meta = &ingress.metadata;
        let patch = json!({
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"loadBalancer": {"ingress": points}},
        });
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), &key.namespace);
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }
}

fn published(ingress: &Ingress) -> Vec<IpAddr> {
    let balancer = ingress
        .status
        .iter()
        .flat_map(|status| &status.load_balancer);
    let points = balancer.flat_map(|balancer| balancer.ingress.iter().flatten());
    points
        .filter_map(|point| point.ip.as_ref()?.parse().ok())
        .collect()
}
