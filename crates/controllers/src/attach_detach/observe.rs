//! What a node has, and what other nodes have of what it wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use knarr_volumes::{csi, volume};
use kube::Api;
use tokio::time::Instant;

use super::AttachDetach;
use super::desired::{ByHandle, ForNode, OfVolume};
use super::plan::{self, Held, Wanted};
use crate::runner::Error;

/// After this time the server is asked about an attachment that was made and is not seen: it may be gone.
pub(super) const UNSEEN_EXPIRY: Duration = Duration::from_secs(10);

impl AttachDetach {
    /// Asks the server about attachments that were asked for and that nothing has shown in time. One of which it is not known whether
    /// it is there must not be taken for none: its volume would be given to another node, too.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        let now = Instant::now();
        let due: Vec<String> = {
            let state = self.state.lock();
            let due = state.assumed.iter().filter(|(_, made)| made.ask_at <= now);
            due.map(|(id, _)| id.clone()).collect()
        };
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        for id in due {
            match api.get_opt(&id).await? {
                Some(there) => self.assume(&id, there, UNSEEN_EXPIRY),
                None => drop(self.state.lock().assumed.remove(&id)),
            }
        }
        Ok(())
    }

    /// Attachments of the informer, and those that it may not have yet.
    fn found(
        &self,
        known: Vec<Arc<VolumeAttachment>>,
        is_meant: impl Fn(&VolumeAttachment) -> bool,
    ) -> BTreeMap<String, Arc<VolumeAttachment>> {
        let state = self.state.lock();
        let made = state.assumed.values().map(|made| made.attachment.clone());
        let made = made.filter(|made| is_meant(made)).collect::<Vec<_>>();
        let named = made.into_iter().chain(known).filter_map(|attachment| {
            let name = attachment.metadata.name.clone()?;
            Some((name, attachment))
        });
        named.collect()
    }

    /// What the node has, of what is this controller's.
    pub(super) fn held(
        &self,
        node: &str,
        object: Option<&Node>,
        wanted: &BTreeMap<String, Wanted>,
    ) -> BTreeMap<String, Held> {
        let known = self.attachments.by_index(&ForNode(node.to_owned()));
        let found = self.found(known, |made| made.spec.node_name == node);
        let mut state = self.state.lock();
        let known = state.nodes.entry(node.to_owned()).or_default();
        let before = std::mem::take(&mut known.unwanted);
        let now = Instant::now();
        let mut held = BTreeMap::new();
        for (id, attachment) in found {
            let Some(name) = self.name_of(&id, &attachment, object) else {
                continue;
            };
            let mut unwanted_for = Duration::ZERO;
            if !wanted.contains_key(&id) {
                let since = before.get(&id).copied().unwrap_or(now);
                unwanted_for = now.duration_since(since);
                known.unwanted.insert(id.clone(), since);
            }
            held.insert(
                id,
                Held {
                    attachment,
                    name,
                    unwanted_for,
                },
            );
        }
        held
    }

    /// The volume's name in the node's status, where anything tells it (`Some(None)`: it is gone); `None` for attachments that
    /// somebody else has made.
    fn name_of(
        &self,
        id: &str,
        attachment: &VolumeAttachment,
        node: Option<&Node>,
    ) -> Option<Option<String>> {
        let on = &attachment.spec.node_name;
        let name = attachment.spec.source.persistent_volume_name.as_ref()?;
        let volume = self.sources.volumes.get("", name);
        if let Some(source) = volume.as_ref().and_then(|volume| csi::source(volume)) {
            let (driver, handle) = (&source.driver, &source.volume_handle);
            let own = csi::attachment_name(driver, handle, on) == id;
            return own.then(|| Some(csi::unique_name(driver, handle)));
        }
        if volume.is_some() || !csi::is_attachment_name(id) {
            return None;
        }
        let attached = node.map(plan::volumes_attached).unwrap_or_default();
        let mut names = attached.iter().map(|attached| &attached.name);
        let named = names.find(|name| plan::names_attachment(name, id, on));
        Some(named.cloned())
    }

    /// The other nodes that have wanted volumes.
    pub(super) fn elsewhere(
        &self,
        node: &str,
        wanted: &BTreeMap<String, Wanted>,
    ) -> BTreeMap<String, Vec<String>> {
        let others = wanted.iter().map(|(id, wanted)| {
            let (driver, handle) = (&wanted.driver, &wanted.handle);
            let same = self
                .sources
                .volumes
                .by_index(&ByHandle(driver.clone(), handle.clone()));
            let names: Vec<&str> = same.iter().map(|volume| volume::name(volume)).collect();
            let known = names
                .iter()
                .flat_map(|name| self.attachments.by_index(&OfVolume((*name).to_owned())))
                .collect();
            let is_same = |made: &VolumeAttachment| {
                let source = made.spec.source.persistent_volume_name.as_deref();
                source.is_some_and(|source| names.contains(&source))
            };
            let found = self.found(known, is_same).into_iter();
            let nodes = found.filter_map(|(name, attachment)| {
                let on = &attachment.spec.node_name;
                (on != node && csi::attachment_name(driver, handle, on) == name).then(|| on.clone())
            });
            (id.clone(), nodes.collect())
        });
        others.collect()
    }

    /// What a node that was deleted had mounted then.
    pub(super) fn left(&self, node: &str) -> Option<Vec<String>> {
        let state = self.state.lock();
        state.nodes.get(node).and_then(|known| known.left.clone())
    }

    /// Forgets what concerns nothing any more.
    pub(super) fn forget(
        &self,
        node: &str,
        wanted: &BTreeMap<String, Wanted>,
        held: &BTreeMap<String, Held>,
    ) {
        let mut state = self.state.lock();
        if let Some(known) = state.nodes.get_mut(node) {
            known.reports.keep(|id| wanted.contains_key(id));
            if held.is_empty() && wanted.is_empty() {
                state.nodes.remove(node);
            }
        }
    }
}
