//! The claims of a pod: those that its volumes name, and those that are made for its ephemeral volumes.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodClaim {
    /// The pod's name for the volume.
    pub volume: String,
    /// The claim, in the pod's namespace.
    pub name: String,
    /// It is made for the pod, and goes with it.
    pub ephemeral: bool,
}

/// The claim of one volume, where it is a claim's.
pub fn claim_of(pod: &Pod, volume: &Volume) -> Option<PodClaim> {
    let (name, ephemeral) = match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => (source.claim_name.clone(), false),
        (None, Some(_)) => (ephemeral_name(pod, volume), true),
        (None, None) => return None,
    };
    Some(PodClaim {
        volume: volume.name.clone(),
        name,
        ephemeral,
    })
}

/// All claims of a pod, in the order of its volumes.
pub fn claims(pod: &Pod) -> impl Iterator<Item = PodClaim> + '_ {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| claim_of(pod, volume))
}

/// The name of the claim that is made for a volume.
pub fn ephemeral_name(pod: &Pod, volume: &Volume) -> String {
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    format!("{pod}-{}", volume.name)
}

/// A claim of an ephemeral volume's name that was not made for this pod is another's data.
///
/// # Errors
/// Upstream's words for it.
pub fn check_owner(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    if controllers.any(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref()) {
        return Ok(());
    }
    let full = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default())
    };
    Err(format!(
        "PVC {} was not created for pod {} (pod is not owner)",
        full(&claim.metadata),
        full(&pod.metadata)
    ))
}
