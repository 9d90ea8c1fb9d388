//! Static pods as people write them: decoded, completed as the API would complete them, and checked, with no API to ask.

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, Toleration, Volume, VolumeProjection};
use knarr_api::{Kind, core::pod};
use knarr_meta::{
    field::{ErrorList, Path},
    object::str_at,
    object_meta,
};
use serde_json::Value;

use super::{HASH, Origin, SOURCE, yaml};
use crate::objects;

/// Hexadecimal digits of a uid, as upstream's.
const UID_DIGITS: usize = 32;

/// The pod in one document.
///
/// # Errors
/// A message, for the log: what is no pod, what the API would refuse, and what refers to objects of the API.
pub(super) fn pod(text: &[u8], origin: &Origin, node: &str) -> Result<Pod, String> {
    let tree = yaml::parse(text)?;
    complete(tree, origin, node)
}

/// The pods in one document: a `Pod` or a `PodList`.
///
/// # Errors
/// As [`pod`]: one that is wrong makes all of them wrong, as upstream has it.
pub(super) fn pods(text: &[u8], origin: &Origin, node: &str) -> Result<Vec<Pod>, String> {
    let mut tree = yaml::parse(text)?;
    if str_at(&tree, &["kind"]) != "PodList" {
        return complete(tree, origin, node).map(|pod| vec![pod]);
    }
    let items = tree.get_mut("items").and_then(Value::as_array_mut);
    let items = items.map(std::mem::take).unwrap_or_default();
    let named = |mut item: Value| {
        // Elements of a list need not say what they are.
        if let Some(item) = item.as_object_mut() {
            item.entry("apiVersion").or_insert_with(|| "v1".into());
            item.entry("kind").or_insert_with(|| "Pod".into());
        }
        complete(item, origin, node)
    };
    items.into_iter().map(named).collect()
}

fn complete(tree: Value, origin: &Origin, node: &str) -> Result<Pod, String> {
    let (version, kind) = (str_at(&tree, &["apiVersion"]), str_at(&tree, &["kind"]));
    if (version, kind) != ("v1", "Pod") {
        return Err(format!(
            "invalid pod: it is apiVersion {version:?}, kind {kind:?}, not a Pod of v1"
        ));
    }
    let mut pod: Pod = serde_json::from_value(tree).map_err(|e| format!("invalid pod: {e}"))?;
    if pod.metadata.name.as_deref().unwrap_or_default().is_empty() {
        return Err("invalid pod: name is needed for the pod".to_owned());
    }
    identify(&mut pod, origin, node)?;
    let pod = checked(&pod)?;
    match refers_to(&pod) {
        Some(what) => Err(format!("static pods may not reference {what}")),
        None => Ok(pod),
    }
}

/// Makes it a pod of this node and this source: what it says of its uid and its status is not heard.
fn identify(pod: &mut Pod, origin: &Origin, node: &str) -> Result<(), String> {
    let uid = uid(pod, origin, node)?;
    let meta = &mut pod.metadata;
    meta.name = meta.name.take().map(|name| format!("{name}-{node}"));
    if meta.namespace.as_deref().unwrap_or_default().is_empty() {
        meta.namespace = Some("default".to_owned());
    }
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), uid.clone());
    annotations.insert(SOURCE.to_owned(), origin.name().to_owned());
    meta.uid = Some(uid);
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    if matches!(origin, Origin::File(_)) {
        tolerate(spec);
    }
    pod.status = Some(PodStatus {
        phase: Some("Pending".to_owned()),
        ..Default::default()
    });
    Ok(())
}

/// Another one for whatever is written otherwise, elsewhere or for another node. Defaults do not count: a newer version with other
/// ones restarts nothing. A uid that the manifest names is a part of it, no more: a pod that keeps its uid while its containers
/// change would be two pods of one name.
fn uid(pod: &Pod, origin: &Origin, node: &str) -> Result<String, String> {
    let written = serde_json::to_vec(pod).map_err(|error| error.to_string())?;
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(&written);
    hash.update(format!("\0host:{node}\0{}:{}", origin.name(), origin.place()).as_bytes());
    let digest = hash.finish();
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Ok(digits
        .collect::<String>()
        .chars()
        .take(UID_DIGITS)
        .collect())
}

/// A node that is in trouble does not lose what it was made to run.
fn tolerate(spec: &mut PodSpec) {
    let all = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Default::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&all) {
        tolerations.push(all);
    }
}

/// The pod with its defaults, if it is one that the API would take.
fn checked(pod: &Pod) -> Result<Pod, String> {
    let mut tree = serde_json::to_value(pod).map_err(|error| error.to_string())?;
    let kind = Kind::from(&pod::KIND);
    kind.strategy.default(&mut tree);
    let mut errors = ErrorList::new();
    let name = |name: &str, prefix: bool| kind.strategy.validate_name(name, prefix);
    let meta = tree.get("metadata").unwrap_or(&Value::Null);
    errors.extend(object_meta::validate_with(
        meta,
        true,
        name,
        &Path::new("metadata"),
    ));
    errors.extend(kind.strategy.validate_create(&tree));
    if errors.is_empty() {
        return serde_json::from_value(tree).map_err(|error| error.to_string());
    }
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(format!("invalid pod: {}", errors.join(", ")))
}

/// What of the API the pod would need, in upstream's words: it has to run without.
fn refers_to(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    let account = spec.service_account_name.as_deref().unwrap_or_default();
    if !account.is_empty() {
        return Some("serviceaccounts");
    }
    let pull = spec.image_pull_secrets.iter().flatten();
    if pull.into_iter().any(|secret| !secret.name.is_empty()) {
        return Some("secrets");
    }
    let containers = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers);
    let named: Vec<_> = containers.flat_map(objects::container_references).collect();
    let names = |kind| named.iter().any(|(of, _)| *of == kind);
    if names(objects::Kind::Secret) {
        return Some("secrets");
    }
    if names(objects::Kind::ConfigMap) {
        return Some("configmaps");
    }
    if spec
        .resource_claims
        .as_ref()
        .is_some_and(|claims| !claims.is_empty())
    {
        return Some("resourceclaims");
    }
    spec.volumes.iter().flatten().find_map(of_volume)
}

fn of_volume(volume: &Volume) -> Option<&'static str> {
    let refused = [
        (
            volume.config_map.is_some(),
            "configmaps (via configmap volumes)",
        ),
        (volume.secret.is_some(), "secrets (via secret volumes)"),
        (volume.csi.is_some(), "csidrivers (via CSI volumes)"),
        (
            volume.glusterfs.is_some(),
            "endpoints (via glusterFS volumes)",
        ),
        (
            volume.persistent_volume_claim.is_some(),
            "persistentvolumeclaims",
        ),
        (
            volume.ephemeral.is_some(),
            "persistentvolumeclaims (via ephemeral volumes)",
        ),
        (
            volume.azure_file.is_some(),
            "secrets (via azureFile volumes)",
        ),
    ];
    let found = refused.iter().find(|(is, _)| *is).map(|(_, what)| *what);
    let projected = volume
        .projected
        .iter()
        .flat_map(|p| p.sources.iter().flatten());
    found.or_else(|| projected.into_iter().find_map(of_projection))
}

fn of_projection(source: &VolumeProjection) -> Option<&'static str> {
    let refused = [
        (
            source.config_map.is_some(),
            "configmaps (via projected volumes)",
        ),
        (source.secret.is_some(), "secrets (via projected volumes)"),
        (
            source.service_account_token.is_some(),
            "serviceaccounts (via projected volumes)",
        ),
        (source.cluster_trust_bundle.is_some(), "clustertrustbundles"),
        (source.pod_certificate.is_some(), "podcertificates"),
    ];
    refused.iter().find(|(is, _)| *is).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests;
