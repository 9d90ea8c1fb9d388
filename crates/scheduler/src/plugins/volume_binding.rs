//! VolumeBinding: the claims of a pod have volumes that its node can use, or get them.
//!
//! Claims of most classes are bound before their pod is looked at. Those whose class waits for the first consumer are bound
//! here: to a volume that is there, or by telling the provisioner the node. What is chosen for one pod is kept from others
//! until its binding has ended ([`bind::Taken`]). Where their driver tells what room it has, nodes without room are ruled out, and
//! nodes with more are preferred.

mod bind;
mod capacity;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use knarr_client::Informer;
use knarr_volumes::{
    claim,
    matching::{self, Place},
    pod, volume,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    framework::{
        Change, CycleState, Filter, PreFilter, Reason, Refusal, Reservation, Reserve, VolumeEvent,
    },
    plugins::csi::Csi,
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

pub const NAME: &str = "VolumeBinding";
const UNBOUND_IMMEDIATE: &str = "pod has unbound immediate PersistentVolumeClaims";
const NODE_CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const BIND_CONFLICT: &str = "node(s) didn't find available persistent volumes to bind";
const NO_ROOM: &str = "node(s) did not have enough free storage";
const NO_VOLUME: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// What the claims of a pod need.
#[derive(Default)]
struct Needs {
    /// They have volumes.
    bound: Vec<Arc<PersistentVolumeClaim>>,
    /// They wait for this pod.
    delayed: Vec<Arc<PersistentVolumeClaim>>,
}

/// How a claim gets its volume on a node.
#[derive(Clone)]
enum Binding {
    /// One that is there.
    Static(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>),
    /// Its provisioner makes one.
    Provisioned(Arc<PersistentVolumeClaim>),
}

/// Whose claim a volume is being bound to. Several pods may use one claim.
struct Held {
    claim_uid: String,
    pods: usize,
}

/// The plugin.
pub struct VolumeBinding {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    csi: Csi,
    /// Volumes that are being bound to the claims of pods.
    reserved: Mutex<HashMap<String, Held>>,
    /// Rung when a claim or a volume has changed.
    bell: watch::Sender<()>,
}

impl VolumeBinding {
    pub fn new(
        claims: Informer<PersistentVolumeClaim>,
        volumes: Informer<PersistentVolume>,
        classes: Informer<StorageClass>,
        csi: Csi,
    ) -> Self {
        Self {
            claims,
            volumes,
            classes,
            csi,
            reserved: Mutex::default(),
            bell: watch::Sender::new(()),
        }
    }

    /// Sorts the claims of a pod; why it can go nowhere.
    fn needs(&self, of: &PodInfo) -> Result<Needs, String> {
        let mut needs = Needs::default();
        let mut immediate = false;
        for used in &of.claims {
            let claim = self.claim(of, used)?;
            if claim::is_bound(&claim) {
                needs.bound.push(claim);
            } else if self.is_delayed(&claim) {
                needs.delayed.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return Err(UNBOUND_IMMEDIATE.to_owned());
        }
        Ok(needs)
    }

    fn claim(
        &self,
        of: &PodInfo,
        used: &pod::PodClaim,
    ) -> Result<Arc<PersistentVolumeClaim>, String> {
        let name = &used.name;
        let Some(claim) = self.claims.get(&of.namespace, name) else {
            return Err(match used.ephemeral {
                true => format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                ),
                false => format!("persistentvolumeclaim \"{name}\" not found"),
            });
        };
        if claim::phase(&claim) == "Lost" {
            let volume = claim::volume_name(&claim);
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            ));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if used.ephemeral {
            let pod = of.whole().ok_or("the pod has a node already")?;
            pod::check_owner(pod, &claim)?;
        }
        Ok(claim)
    }

    /// Whether the claim is bound here: its class waits, and nobody has begun to bind it.
    fn is_delayed(&self, of: &PersistentVolumeClaim) -> bool {
        let class = self.classes.get("", claim::class(of));
        let waits = class.is_some_and(|class| claim::waits_for_consumer(&class));
        waits && claim::volume_name(of).is_empty()
    }

    /// How the claims get volumes on a node; why one cannot.
    fn bindings(
        &self,
        delayed: &[Arc<PersistentVolumeClaim>],
        node: &Node,
    ) -> Result<Vec<Binding>, &'static str> {
        if delayed.is_empty() {
            return Ok(Vec::new());
        }
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let selected = |wanting: &PersistentVolumeClaim| claim::selected_node(wanting).is_some();
        let (mut made, mut open): (Vec<_>, Vec<_>) = delayed.iter().partition(|w| selected(w));
        // A provisioner is at work for them, on the node that was selected.
        if made
            .iter()
            .any(|wanting| claim::selected_node(wanting) != Some(name))
        {
            return Err(BIND_CONFLICT);
        }
        // The smallest first, so that each gets the smallest that is enough.
        open.sort_by_key(|wanting| claim::requested(wanting));
        let volumes = self.volumes.list();
        let mut chosen = HashSet::new();
        let mut bindings = Vec::with_capacity(delayed.len());
        for wanting in open {
            match self.find(wanting, &volumes, node, &chosen) {
                Some(found) => {
                    chosen.insert(volume::name(&found).to_owned());
                    bindings.push(Binding::Static(found, wanting.clone()));
                }
                None => made.push(wanting),
            }
        }
        for wanting in made {
            self.can_provision(wanting, node)?;
            bindings.push(Binding::Provisioned(wanting.clone()));
        }
        Ok(bindings)
    }

    /// The volume that the claim gets: the one that it gets for another pod already, where it does.
    fn find(
        &self,
        wanting: &PersistentVolumeClaim,
        volumes: &[Arc<PersistentVolume>],
        node: &Node,
        chosen: &HashSet<String>,
    ) -> Option<Arc<PersistentVolume>> {
        let reserved = self.reserved.lock();
        let uid = wanting.metadata.uid.as_deref().unwrap_or_default();
        let own = |name: &str| reserved.get(name).map(|held| held.claim_uid == uid);
        let mut all = volumes.iter();
        if let Some(own) = all.find(|volume| own(volume::name(volume)) == Some(true)) {
            return volume::is_usable_on(own, node).then(|| own.clone());
        }
        matching::find(wanting, volumes, Place::On(node), |candidate| {
            let name = volume::name(candidate);
            chosen.contains(name) || own(name) == Some(false)
        })
    }

    fn can_provision(
        &self,
        wanting: &PersistentVolumeClaim,
        node: &Node,
    ) -> Result<(), &'static str> {
        let class = self.classes.get("", claim::class(wanting));
        let class = class.ok_or(BIND_CONFLICT)?;
        let provisioner = class.provisioner.as_str();
        let makes = !provisioner.is_empty() && provisioner != claim::NO_PROVISIONER;
        if !makes || !is_allowed(&class, node) {
            return Err(BIND_CONFLICT);
        }
        match self.has_room(wanting, &class, node) {
            true => Ok(()),
            false => Err(NO_ROOM),
        }
    }

    /// Takes what the pod's claims need on the node chosen for it; `None` where they have their volumes.
    ///
    /// # Errors
    /// Why they cannot have it any more.
    fn taken(
        self: &Arc<Self>,
        of: &PodInfo,
        node: &NodeInfo,
        limit: Duration,
    ) -> Result<Option<bind::Taken>, String> {
        if of.claims.is_empty() {
            return Ok(None);
        }
        let needs = self.needs(of)?;
        let node = node.node.clone().ok_or(NODE_CONFLICT)?;
        let bindings = self.bindings(&needs.delayed, &node)?;
        let waits = !bindings.is_empty();
        Ok(waits.then(|| bind::Taken::new(self.clone(), node, bindings, limit)))
    }
}

/// Whether the class makes volumes for a node.
fn is_allowed(class: &StorageClass, node: &Node) -> bool {
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key));
    let mut allowed = terms.iter().map(|term| {
        let mut expressions = term.match_label_expressions.iter().flatten();
        expressions.all(|e| label(&e.key).is_some_and(|value| e.values.contains(value)))
    });
    terms.is_empty() || allowed.any(|allowed| allowed)
}

/// Takes volumes for the pods of a profile, whose arguments say how long they may be waited for.
pub struct Binds {
    pub plugin: Arc<VolumeBinding>,
    pub limit: Duration,
}

impl Reserve for Binds {
    fn name(&self) -> &'static str {
        NAME
    }

    fn reserve(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
    ) -> Result<Option<Box<dyn Reservation>>, String> {
        let taken = self.plugin.taken(pod, node, self.limit)?;
        Ok(taken.map(|taken| Box::new(taken) as Box<dyn Reservation>))
    }

    fn wake(&self) {
        self.plugin.bell.send_replace(());
    }
}

impl Filter for Arc<VolumeBinding> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        _: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        if pod.claims.is_empty() {
            return Ok(PreFilter::Skip);
        }
        self.needs(pod)?;
        Ok(PreFilter::All)
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        if pod.claims.is_empty() {
            return Ok(());
        }
        let needs = self.needs(pod).map_err(Refusal::unresolvable)?;
        let Some(node) = node.node.as_deref() else {
            return Err(Refusal::unresolvable(NODE_CONFLICT));
        };
        // The first claim whose volume cannot be had says why; others are not looked at.
        let unusable = needs.bound.iter().find_map(|claim| {
            match self.volumes.get("", claim::volume_name(claim)) {
                None => Some(NO_VOLUME),
                Some(volume) => (!volume::is_usable_on(&volume, node)).then_some(NODE_CONFLICT),
            }
        });
        let unbindable = self.bindings(&needs.delayed, node).err();
        let reasons = [unusable, unbindable].into_iter().flatten();
        let reasons: Vec<Reason> = reasons.map(Reason::from).collect();
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Refusal {
                reasons,
                resolvable: false,
            }),
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeLabels]
    }

    fn volumes_help(&self, pod: &PodInfo, event: &VolumeEvent<'_>) -> bool {
        match event {
            VolumeEvent::Claim { namespace, name } => {
                pod.namespace == *namespace && pod.claims.iter().any(|used| used.name == *name)
            }
            VolumeEvent::Volume | VolumeEvent::Class | VolumeEvent::Csi => !pod.claims.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests;
