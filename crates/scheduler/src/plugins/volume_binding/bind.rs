//! Has what was chosen for a pod's claims become true, and waits for it (upstream's PreBind).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use knarr_client::errors;
use knarr_volumes::{claim, names, volume};
use kube::api::{Api, PostParams};
use tokio::time::timeout;

use super::{Binding, Held, NAME, VolumeBinding};
use crate::framework::{PreBind, Reservation};

/// Why volumes were not bound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("binding volumes: context deadline exceeded")]
    Timeout,
    #[error("binding volumes: pod does not exist any more")]
    NoPod,
    #[error("binding volumes: {0}")]
    Undone(String),
    #[error("binding volumes: {}", errors::message(.0))]
    Api(#[from] kube::Error),
}

/// What is taken for a pod. Dropped it is free again.
pub struct Taken {
    plugin: Arc<VolumeBinding>,
    node: Arc<Node>,
    bindings: Vec<Binding>,
    /// How long all that may take.
    limit: Duration,
}

impl Taken {
    pub(super) fn new(
        plugin: Arc<VolumeBinding>,
        node: Arc<Node>,
        bindings: Vec<Binding>,
        limit: Duration,
    ) -> Self {
        let mut reserved = plugin.reserved.lock();
        for (volume, claim) in static_bindings(&bindings) {
            let name = volume::name(volume).to_owned();
            let held = reserved.entry(name).or_insert_with(|| Held {
                claim_uid: claim.metadata.uid.clone().unwrap_or_default(),
                pods: 0,
            });
            held.pods = held.pods.saturating_add(1);
        }
        drop(reserved);
        Self {
            plugin,
            node,
            bindings,
            limit,
        }
    }

    fn node_name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// Writes what was chosen, and waits until all claims have their volumes.
    async fn bind(&self, asked: &PreBind<'_>) -> Result<(), Error> {
        let work = async {
            let mut written = Vec::with_capacity(self.bindings.len());
            for binding in &self.bindings {
                written.push(self.write(asked.client, binding).await?);
            }
            self.wait(&written, asked.wanted).await
        };
        timeout(self.limit, work)
            .await
            .unwrap_or(Err(Error::Timeout))
    }

    /// The claim, and the revision from which on it must be as was written; 0 where nothing was.
    async fn write(
        &self,
        client: &kube::Client,
        binding: &Binding,
    ) -> Result<(Arc<PersistentVolumeClaim>, u64), Error> {
        match binding {
            Binding::Static(volume, claim) => {
                if let Some(changed) = with_claim(volume, claim) {
                    let api: Api<PersistentVolume> = Api::all(client.clone());
                    let name = volume::name(volume);
                    api.replace(name, &PostParams::default(), &changed).await?;
                }
                Ok((claim.clone(), 0))
            }
            Binding::Provisioned(claim) => {
                if claim::selected_node(claim) == Some(self.node_name()) {
                    return Ok((claim.clone(), 0));
                }
                let mut changed = PersistentVolumeClaim::clone(claim);
                let annotations = changed.metadata.annotations.get_or_insert_default();
                annotations.insert(names::SELECTED_NODE.to_owned(), self.node_name().to_owned());
                let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
                let name = claim.metadata.name.as_deref().unwrap_or_default();
                let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
                let answer = api.replace(name, &PostParams::default(), &changed).await?;
                Ok((claim.clone(), revision(&answer)))
            }
        }
    }

    async fn wait(
        &self,
        written: &[(Arc<PersistentVolumeClaim>, u64)],
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Error> {
        let mut bell = self.plugin.bell.subscribe();
        loop {
            bell.mark_unchanged();
            let mut all = true;
            for (claim, since) in written {
                all &= self.is_done(claim, *since).map_err(Error::Undone)?;
            }
            if all {
                return Ok(());
            }
            if !wanted() {
                return Err(Error::NoPod);
            }
            // The sender lives as long as this holds the plugin.
            let _ = bell.changed().await;
        }
    }

    /// Whether a claim has its volume by now; what happened where it never will.
    fn is_done(&self, wanting: &PersistentVolumeClaim, since: u64) -> Result<bool, String> {
        let meta = &wanting.metadata;
        let (namespace, name) = (
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        let now = self.plugin.claims.get(namespace, name);
        let now = now.filter(|now| now.metadata.uid == meta.uid);
        let Some(now) = now else {
            return Err(format!(
                "persistentvolumeclaim \"{name}\" does not exist any more"
            ));
        };
        if !claim::is_bound(&now) {
            // A provisioner that cannot serve this node takes the mark away.
            let provisioned = since > 0 && revision(&now) >= since;
            if provisioned && claim::selected_node(&now) != Some(self.node_name()) {
                return Err(format!("selectedNode annotation reset for PVC \"{name}\""));
            }
            return Ok(false);
        }
        let volume = self.plugin.volumes.get("", claim::volume_name(&now));
        let Some(volume) = volume.filter(|volume| volume::is_of_claim(volume, &now)) else {
            return Ok(false);
        };
        if !volume::is_usable_on(&volume, &self.node) {
            return Err(format!(
                "pv \"{}\" node affinity doesn't match node \"{}\"",
                volume::name(&volume),
                self.node_name()
            ));
        }
        Ok(true)
    }
}

#[async_trait]
impl Reservation for Taken {
    fn plugin(&self) -> &'static str {
        NAME
    }

    async fn pre_bind(&mut self, asked: &PreBind<'_>) -> Result<(), String> {
        self.bind(asked).await.map_err(|error| error.to_string())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut reserved = self.plugin.reserved.lock();
        for (volume, _) in static_bindings(&self.bindings) {
            let name = volume::name(volume);
            if let Some(held) = reserved.get_mut(name) {
                held.pods = held.pods.saturating_sub(1);
                if held.pods == 0 {
                    reserved.remove(name);
                }
            }
        }
    }
}

fn static_bindings(
    bindings: &[Binding],
) -> impl Iterator<Item = (&PersistentVolume, &PersistentVolumeClaim)> {
    bindings.iter().filter_map(|binding| match binding {
        Binding::Static(volume, claim) => Some((&**volume, &**claim)),
        Binding::Provisioned(_) => None,
    })
}

/// The volume as the claim's; `None` where it is.
fn with_claim(
    before: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<PersistentVolume> {
    let reference = volume::claim_reference(before);
    if reference.is_some_and(|r| r.uid.is_some() && r.uid == claim.metadata.uid) {
        return None;
    }
    let mut changed = before.clone();
    if !volume::is_of_claim(before, claim) {
        let annotations = changed.metadata.annotations.get_or_insert_default();
        annotations.insert(names::BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    changed.spec.get_or_insert_default().claim_ref = Some(claim::reference(claim));
    Some(changed)
}

fn revision(claim: &PersistentVolumeClaim) -> u64 {
    let text = claim.metadata.resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}
