//! Waiting for a volume to be attached to this node, which is the business of a controller and the driver's external-attacher.
//!
//! The Node's status has to say first that the volume is in use: what it says so of is not detached. Then the attachment, whose name
//! follows from volume, driver and node, is looked at whenever the Node has changed (the controller notes there what is attached)
//! and every few seconds: the node authorizer lets a kubelet get it and not watch it.

use std::time::Duration;

use k8s_openapi::api::{core::v1::Node, storage::v1::VolumeAttachment};
use knarr_client::{Informer, errors};
use kube::Api;

use super::{
    Csi,
    places::{Handle, Strings},
};
use crate::volume::READ_TIMEOUT;

/// How long a volume may take to be attached before that is told and tried anew: upstream's `podAttachAndMountTimeout`.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(123);
/// Pauses between two looks at an attachment: the first, and the longest. Each is longer by half.
const LOOK_FIRST: Duration = Duration::from_millis(500);
const LOOK_LONGEST: Duration = Duration::from_secs(7);

/// Why a volume is not attached.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody has attached it in time.
    Late,
    /// The API does not answer.
    Api(String),
}

impl Csi {
    /// Waits for a volume that is in use to be attached; returns what the driver has to be told of that.
    pub(super) async fn attached(
        &self,
        nodes: &Informer<Node>,
        handle: &Handle,
    ) -> Result<Strings, Failure> {
        let name = handle.attachment(&self.node);
        let work = async {
            self.until_reported(nodes, &handle.unique_name()).await;
            let mut wait = LOOK_FIRST;
            loop {
                let changed = self.node_changed.notified();
                let found = self.attachment(&name).await.map_err(Failure::Api)?;
                if let Some(metadata) = found {
                    return Ok(metadata);
                }
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait + wait / 2).min(LOOK_LONGEST);
            }
        };
        let done = tokio::time::timeout(ATTACH_TIMEOUT, work).await;
        done.unwrap_or(Err(Failure::Late))
    }

    /// Waits for the Node's status to say that the volume is in use.
    async fn until_reported(&self, nodes: &Informer<Node>, name: &str) {
        loop {
            let mut changed = std::pin::pin!(self.node_changed.notified());
            changed.as_mut().enable();
            let node = nodes.get("", &self.node);
            let status = node.as_ref().and_then(|node| node.status.as_ref());
            let mut in_use = status
                .into_iter()
                .flat_map(|s| s.volumes_in_use.iter().flatten());
            if in_use.any(|other| other == name) {
                return;
            }
            changed.await;
        }
    }

    /// The metadata of an attachment that is attached.
    async fn attachment(&self, name: &str) -> Result<Option<Strings>, String> {
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        let found = tokio::time::timeout(READ_TIMEOUT, api.get(name)).await;
        match found.map_err(|_| "context deadline exceeded".to_owned())? {
            Ok(found) => Ok(metadata(found)),
            // Nodes may not look at what is not theirs, or not there yet.
            Err(error) if errors::is_not_found(&error) || is_forbidden(&error) => Ok(None),
            Err(error) => Err(errors::message(&error)),
        }
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    errors::status(error).is_some_and(|status| status.code == 403)
}

fn metadata(attachment: VolumeAttachment) -> Option<Strings> {
    // It is on its way out, and another one is to come.
    if attachment.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = attachment.status.filter(|status| status.attached)?;
    let metadata = status.attachment_metadata.unwrap_or_default();
    Some(metadata.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::object;

    #[test]
    fn only_what_is_attached_and_stays_so_counts() {
        for (meta, status, wanted) in [
            (json!({}), json!({ "attached": false }), None),
            (json!({}), json!({ "attached": true }), Some(0)),
            (
                json!({}),
                json!({ "attached": true, "attachmentMetadata": { "devicePath": "/dev/x" } }),
                Some(1),
            ),
            (
                json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }),
                json!({ "attached": true }),
                None,
            ),
        ] {
            let attachment = object(json!({
                "metadata": meta,
                "spec": { "attacher": "d", "nodeName": "n1", "source": { "persistentVolumeName": "pv" } },
                "status": status,
            }));
            let found = metadata(attachment).map(|metadata| metadata.len());
            assert_eq!(found, wanted, "{status}");
        }
    }
}
