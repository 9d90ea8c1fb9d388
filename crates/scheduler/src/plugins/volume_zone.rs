//! VolumeZone: labels of a volume that name zones and regions rule out nodes of others. Volumes of today say it by their node
//! affinity; these labels are what older ones have.

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use knarr_client::Informer;
use knarr_volumes::claim;

use crate::{
    framework::{Change, CycleState, Filter, PreFilter, Reason, Refusal, VolumeEvent},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

const CONFLICT: &str = "node(s) had no available volume zone";
/// Between the zones of a label, where a volume is in several.
const SEPARATOR: &str = "__";
/// Labels that say where something is, and how they are called today.
const LABELS: [(&str, &str); 4] = [
    (
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    (
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
];

/// The plugin.
pub struct VolumeZone {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
}

/// Where a volume is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    label: &'static str,
    today: &'static str,
    values: Vec<String>,
}

impl VolumeZone {
    pub fn new(
        claims: Informer<PersistentVolumeClaim>,
        volumes: Informer<PersistentVolume>,
        classes: Informer<StorageClass>,
    ) -> Self {
        Self {
            claims,
            volumes,
            classes,
        }
    }

    /// Where the volumes are that the pod's claims have; why one will have none.
    fn places(&self, pod: &PodInfo) -> Result<Vec<Place>, String> {
        let mut places = Vec::new();
        for used in pod.claims.iter().filter(|used| !used.ephemeral) {
            let claim = self.claims.get(&pod.namespace, &used.name);
            let claim = claim
                .ok_or_else(|| format!("persistentvolumeclaim \"{}\" not found", used.name))?;
            let name = claim::volume_name(&claim);
            if name.is_empty() {
                self.will_be_bound(&claim)?;
                continue;
            }
            let volume = self.volumes.get("", name);
            let volume = volume.ok_or_else(|| format!("persistentvolume \"{name}\" not found"))?;
            places.extend(places_of(&volume));
        }
        Ok(places)
    }

    /// Whether a claim without a volume gets one when its pod has a node.
    fn will_be_bound(&self, claim: &PersistentVolumeClaim) -> Result<(), String> {
        let name = claim::class(claim);
        if name.is_empty() {
            return Err("PersistentVolumeClaim had no pv name and storageClass name".to_owned());
        }
        let class = self.classes.get("", name);
        let class =
            class.ok_or_else(|| format!("storageclass.storage.k8s.io \"{name}\" not found"))?;
        match claim::waits_for_consumer(&class) {
            true => Ok(()),
            false => Err("PersistentVolume had no name".to_owned()),
        }
    }
}

/// What the labels of a volume say. One that cannot be read is ignored, as upstream does.
fn places_of(volume: &PersistentVolume) -> Vec<Place> {
    let labels = volume.metadata.labels.as_ref();
    let place = |(label, today): &(&'static str, &'static str)| {
        let value = labels?.get(*label)?;
        let values: Vec<String> = value
            .split(SEPARATOR)
            .map(|zone| zone.trim().to_owned())
            .collect();
        let readable = values.iter().all(|zone| !zone.is_empty());
        readable.then_some(Place {
            label,
            today,
            values,
        })
    };
    LABELS.iter().filter_map(place).collect()
}

impl Filter for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        _: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        Ok(match self.places(pod)?.is_empty() {
            true => PreFilter::Skip,
            false => PreFilter::All,
        })
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        // A cluster of one zone may not say so.
        if LABELS.iter().all(|(label, _)| node.label(label).is_none()) {
            return Ok(());
        }
        let there = |place: &Place| {
            let zone = node.label(place.label).or_else(|| node.label(place.today));
            zone.is_some_and(|zone| place.values.iter().any(|value| value == zone))
        };
        let places = self.places(pod).map_err(Refusal::unresolvable)?;
        match places.iter().all(there) {
            true => Ok(()),
            false => Err(Refusal::unresolvable(CONFLICT)),
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
            VolumeEvent::Volume | VolumeEvent::Class => !pod.claims.is_empty(),
            VolumeEvent::Csi => false,
        }
    }
}
