//! What makes a StatefulSet's pod the one it is: its number, its names and its volumes.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use kube::api::ObjectMeta;

use crate::owners;
use crate::revisions::HASH_LABEL;

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// The parts of `<set>-<number>`.
fn parts(pod: &Pod) -> Option<(&str, i32)> {
    let (parent, number) = name(&pod.metadata).rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    Some((parent, number.parse().ok().filter(|_| digits)?))
}

pub(crate) fn ordinal(pod: &Pod) -> Option<i32> {
    parts(pod).map(|(_, ordinal)| ordinal)
}

/// Whether the pod's name is one that the set gives.
pub(crate) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    parts(pod).is_some_and(|(parent, _)| parent == name(&set.metadata))
}

fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    let spec = set.spec.as_ref();
    spec.and_then(|s| s.volume_claim_templates.as_deref())
        .unwrap_or_default()
}

/// The claims of the pod with a number: what its volumes are called, and the claims.
pub(crate) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let selector = set.spec.as_ref().map(|s| s.selector.clone());
    let selected = selector.and_then(|s| s.match_labels).unwrap_or_default();
    let claim = |template: &PersistentVolumeClaim| {
        let volume = name(&template.metadata).to_owned();
        let mut claim = template.clone();
        let meta = &mut claim.metadata;
        meta.name = Some(format!("{volume}-{}-{ordinal}", name(&set.metadata)));
        meta.namespace = set.metadata.namespace.clone();
        meta.labels.get_or_insert_default().extend(selected.clone());
        (volume, claim)
    };
    claim_templates(set).iter().map(claim).collect()
}

/// Whether the pod says which one it is, and has the volumes of its claims.
pub(crate) fn is_right(set: &StatefulSet, pod: &Pod) -> bool {
    let Some(ordinal) = ordinal(pod) else {
        return true;
    };
    let labels = pod.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(NAME_LABEL));
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_deref());
    let volumes = volumes.unwrap_or_default();
    let has = |(volume, claim): &(String, PersistentVolumeClaim)| {
        let found = volumes.iter().find(|other| other.name == *volume);
        let source = found.and_then(|volume| volume.persistent_volume_claim.as_ref());
        source.map(|source| &source.claim_name) == claim.metadata.name.as_ref()
    };
    label == pod.metadata.name.as_ref() && claims(set, ordinal).iter().all(has)
}

/// The pod as it should be.
pub(crate) fn repaired(set: &StatefulSet, pod: &Arc<Pod>) -> Pod {
    let mut pod = Pod::clone(pod);
    if let Some(ordinal) = ordinal(&pod) {
        identify(set, &mut pod, ordinal);
    }
    pod
}

fn identify(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let labels = pod.metadata.labels.get_or_insert_default();
    let pod_name = pod.metadata.name.clone().unwrap_or_default();
    labels.insert(NAME_LABEL.to_owned(), pod_name);
    labels.insert(INDEX_LABEL.to_owned(), ordinal.to_string());
    let claims = claims(set, ordinal);
    if claims.is_empty() {
        return;
    }
    let spec = pod.spec.get_or_insert_default();
    let mut others = spec.volumes.take().unwrap_or_default();
    others.retain(|volume| !claims.iter().any(|(name, _)| *name == volume.name));
    let volume = |(name, claim): (String, PersistentVolumeClaim)| Volume {
        name,
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.metadata.name.unwrap_or_default(),
            read_only: None,
        }),
        ..Volume::default()
    };
    spec.volumes = Some(claims.into_iter().map(volume).chain(others).collect());
}

/// The pod with a number, of a template and its revision.
pub(crate) fn new_pod(
    set: &StatefulSet,
    template: &PodTemplateSpec,
    revision: &str,
    ordinal: i32,
) -> Pod {
    let template = template.clone();
    let meta = template.metadata.unwrap_or_default();
    let pod_name = format!("{}-{ordinal}", name(&set.metadata));
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), revision.to_owned());
    let mut spec = template.spec.unwrap_or_default();
    spec.hostname = Some(pod_name.clone());
    let service = set.spec.as_ref().and_then(|s| s.service_name.clone());
    spec.subdomain = service.filter(|service| !service.is_empty());
    let mut pod = Pod {
        metadata: ObjectMeta {
            name: Some(pod_name),
            generate_name: Some(format!("{}-", name(&set.metadata))),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owners::controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    };
    identify(set, &mut pod, ordinal);
    pod
}

#[cfg(test)]
mod tests;
