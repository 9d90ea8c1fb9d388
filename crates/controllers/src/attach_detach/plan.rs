//! What is to be done about a node's volumes, from what is observed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume};
use k8s_openapi::api::storage::v1::{
    VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec,
};
use knarr_volumes::{csi, volume};
use kube::api::ObjectMeta;

use super::pod_ref::PodRef;

/// How long a node that is not ready may keep a volume that nobody wants there any more (upstream's
/// `ReconcilerMaxWaitForUnmountDuration`).
pub(super) const DETACH_TIMEOUT: Duration = Duration::from_secs(6 * 60);
/// The taint of a node that is shut down or lost for good: nothing is mounted there.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Modes in which several nodes may have a volume.
const SHARED_MODES: [&str; 2] = ["ReadWriteMany", "ReadOnlyMany"];

/// A volume that pods want on the node.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub volume: Arc<PersistentVolume>,
    pub driver: String,
    pub handle: String,
    /// Those that use it, sorted.
    pub pods: Vec<PodRef>,
}

/// A volume that the node has, gets, or gives back.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub attachment: Arc<VolumeAttachment>,
    /// Its name in a node's status; `None` where nothing tells it any more.
    pub name: Option<String>,
    /// For how long nobody has wanted it there.
    pub unwanted_for: Duration,
}

/// All that a decision about a node depends on. Volumes are named by their attachment.
pub(super) struct Observed<'a> {
    pub node: &'a str,
    /// `None` once the node is deleted.
    pub object: Option<&'a Node>,
    /// What a node that is gone had mounted when it went; `None` where that is not known.
    pub left: Option<&'a [String]>,
    pub wanted: &'a BTreeMap<String, Wanted>,
    pub held: &'a BTreeMap<String, Held>,
    /// Other nodes that have wanted volumes, by the volume's attachment here.
    pub elsewhere: &'a BTreeMap<String, Vec<String>>,
}

/// A volume to be taken off the node.
#[derive(Clone, Debug)]
pub(super) struct Detach {
    pub held: Held,
    /// Whether the node may have it mounted; nobody asks it.
    pub forced: bool,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// `status.volumesAttached`: what pods may mount. What is about to be detached is not in it.
    pub report: Vec<AttachedVolume>,
    pub detach: Vec<Detach>,
    pub attach: Vec<VolumeAttachment>,
    /// Wanted volumes that only one node may have, and another has: their attachments.
    pub conflicts: Vec<String>,
    /// When a volume that is still mounted may be taken all the same.
    pub again: Option<Duration>,
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let mut plan = Plan::default();
    for (id, held) in observed.held {
        let unwanted = !observed.wanted.contains_key(id);
        if unwanted && !is_going(&held.attachment) {
            match fate(observed, id, held) {
                Fate::Detach { forced } => {
                    let held = held.clone();
                    plan.detach.push(Detach { held, forced });
                    continue;
                }
                Fate::Keep(again) => {
                    plan.again = [plan.again, again].into_iter().flatten().min();
                }
            }
        }
        if is_attached(&held.attachment)
            && !is_going(&held.attachment)
            && let Some(name) = &held.name
        {
            plan.report.push(AttachedVolume {
                name: name.clone(),
                device_path: String::new(),
            });
        }
    }
    plan.report.sort_by(|a, b| a.name.cmp(&b.name));
    if observed.object.is_none() {
        return plan;
    }
    for (id, wanted) in observed.wanted {
        if observed.held.contains_key(id) {
            continue;
        }
        let taken = observed.elsewhere.get(id).is_some_and(|on| !on.is_empty());
        match taken && !is_shared(&wanted.volume) {
            true => plan.conflicts.push(id.clone()),
            false => plan.attach.push(attachment(id, wanted, observed.node)),
        }
    }
    plan
}

enum Fate {
    Detach {
        forced: bool,
    },
    /// It is mounted; when that is not waited for any longer.
    Keep(Option<Duration>),
}

/// What becomes of a volume that nobody wants on the node any more.
fn fate(observed: &Observed<'_>, id: &str, held: &Held) -> Fate {
    if observed.object.is_some_and(is_out_of_service) {
        return Fate::Detach { forced: true };
    }
    let mounted = match observed.object {
        Some(node) => is_mounted(volumes_in_use(node), id, observed.node),
        None => observed
            .left
            .is_none_or(|names| is_mounted(names, id, observed.node)),
    };
    if !mounted {
        return Fate::Detach { forced: false };
    }
    if observed.object.is_some_and(is_ready) {
        return Fate::Keep(None);
    }
    match DETACH_TIMEOUT.checked_sub(held.unwanted_for) {
        Some(left) if !left.is_zero() => Fate::Keep(Some(left)),
        _ => Fate::Detach { forced: true },
    }
}

/// The attachment that has a driver's controller bring the volume to the node.
fn attachment(id: &str, wanted: &Wanted, node: &str) -> VolumeAttachment {
    VolumeAttachment {
        metadata: ObjectMeta {
            name: Some(id.to_owned()),
            ..ObjectMeta::default()
        },
        spec: VolumeAttachmentSpec {
            attacher: wanted.driver.clone(),
            node_name: node.to_owned(),
            source: VolumeAttachmentSource {
                persistent_volume_name: Some(volume::name(&wanted.volume).to_owned()),
                inline_volume_spec: None,
            },
        },
        status: None,
    }
}

/// Whether several nodes may have the volume. One that does not say its modes is left to its driver.
fn is_shared(of: &PersistentVolume) -> bool {
    let modes = volume::access_modes(of);
    modes.is_empty() || (modes.iter()).any(|mode| SHARED_MODES.contains(&mode.as_str()))
}

pub(super) fn is_attached(attachment: &VolumeAttachment) -> bool {
    (attachment.status.as_ref()).is_some_and(|status| status.attached)
}

/// It is being detached: it serves nobody any more, and holds its volume until it is gone.
pub(super) fn is_going(attachment: &VolumeAttachment) -> bool {
    attachment.metadata.deletion_timestamp.is_some()
}

/// What the node's kubelet may have mounted.
pub(super) fn volumes_in_use(node: &Node) -> &[String] {
    let status = node.status.as_ref();
    (status.and_then(|status| status.volumes_in_use.as_deref())).unwrap_or_default()
}

/// What the node's status says is attached to it.
pub(super) fn volumes_attached(node: &Node) -> &[AttachedVolume] {
    let status = node.status.as_ref();
    (status.and_then(|status| status.volumes_attached.as_deref())).unwrap_or_default()
}

/// Whether the volume of an attachment is among names of a node's status.
pub(super) fn is_mounted(names: &[String], id: &str, node: &str) -> bool {
    names.iter().any(|name| names_attachment(name, id, node))
}

/// Whether a name of a node's status is that of an attachment's volume: also where the volume is gone.
pub(super) fn names_attachment(name: &str, id: &str, node: &str) -> bool {
    csi::split_unique_name(name)
        .is_some_and(|(driver, handle)| csi::attachment_name(driver, handle, node) == id)
}

fn is_ready(node: &Node) -> bool {
    let conditions = (node.status.iter()).flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

fn is_out_of_service(node: &Node) -> bool {
    let mut taints = (node.spec.iter()).flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

/// The part of a node that decides about its volumes.
pub(super) fn relevant(node: &Node) -> impl PartialEq + use<'_> {
    let attached = volumes_attached(node).iter();
    (
        volumes_in_use(node),
        attached.map(|attached| &attached.name).collect::<Vec<_>>(),
        is_ready(node),
        is_out_of_service(node),
    )
}

#[cfg(test)]
mod tests;
