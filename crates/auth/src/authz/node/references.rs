//! What a pod needs of other objects: every name that its kubelet must resolve.

use std::collections::BTreeSet;

use knarr_meta::object;
use serde_json::Value;

/// What a pod refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    pub secrets: BTreeSet<String>,
    pub config_maps: BTreeSet<String>,
    pub claims: BTreeSet<String>,
    /// ResourceClaims: the pod's own, and those made for it.
    pub resource_claims: BTreeSet<String>,
    pub service_account: String,
}

/// Fields of volume sources that name a Secret, as (source, field of a name or of an object with a name).
const VOLUME_SECRETS: [(&str, &str); 9] = [
    ("azureFile", "secretName"),
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("csi", "nodePublishSecretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
];

/// Secrets that a driver is given on nodes, of a PersistentVolume.
const DRIVER_SECRETS: [&str; 3] = [
    "nodeStageSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
];

/// Whether a PersistentVolume's driver is given the Secret on nodes.
pub(super) fn volume_needs(volume: &Value, namespace: &str, name: &str) -> bool {
    DRIVER_SECRETS.iter().any(|field| {
        let at = |part| object::str_at(volume, &["spec", "csi", field, part]);
        at("namespace") == namespace && at("name") == name
    })
}

/// Collects every name in a pod's spec that its kubelet must resolve.
pub fn references(pod: &Value) -> References {
    let mut found = References {
        service_account: object::str_at(pod, &["spec", "serviceAccountName"]).to_owned(),
        ..Default::default()
    };
    for secret in object::list_at(pod, &["spec", "imagePullSecrets"]) {
        found
            .secrets
            .insert(object::str_at(secret, &["name"]).to_owned());
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for container in object::list_at(pod, &["spec", field]) {
            environment(container, &mut found);
        }
    }
    for volume in object::list_at(pod, &["spec", "volumes"]) {
        volume_references(object::name(pod), volume, &mut found);
    }
    device_references(pod, &mut found);
    for names in [
        &mut found.secrets,
        &mut found.config_maps,
        &mut found.claims,
        &mut found.resource_claims,
    ] {
        names.remove("");
    }
    found
}

fn environment(container: &Value, found: &mut References) {
    let name = |value: &Value, path: &[&str]| object::str_at(value, path).to_owned();
    for source in object::list_at(container, &["envFrom"]) {
        found.secrets.insert(name(source, &["secretRef", "name"]));
        found
            .config_maps
            .insert(name(source, &["configMapRef", "name"]));
    }
    for variable in object::list_at(container, &["env"]) {
        found
            .secrets
            .insert(name(variable, &["valueFrom", "secretKeyRef", "name"]));
        found
            .config_maps
            .insert(name(variable, &["valueFrom", "configMapKeyRef", "name"]));
    }
}

fn volume_references(pod: &str, volume: &Value, found: &mut References) {
    let name = |value: &Value, path: &[&str]| object::str_at(value, path).to_owned();
    found
        .secrets
        .insert(name(volume, &["secret", "secretName"]));
    found
        .config_maps
        .insert(name(volume, &["configMap", "name"]));
    found
        .claims
        .insert(name(volume, &["persistentVolumeClaim", "claimName"]));
    if volume.get("ephemeral").is_some() {
        found
            .claims
            .insert(format!("{pod}-{}", object::str_at(volume, &["name"])));
    }
    for source in object::list_at(volume, &["projected", "sources"]) {
        found.secrets.insert(name(source, &["secret", "name"]));
        found
            .config_maps
            .insert(name(source, &["configMap", "name"]));
    }
    for (source, field) in VOLUME_SECRETS {
        found.secrets.insert(name(volume, &[source, field]));
        found.secrets.insert(name(volume, &[source, field, "name"]));
    }
}

/// Claims for devices: those that the spec names, and those that the status says were made from templates or for resources.
fn device_references(pod: &Value, found: &mut References) {
    const NAME: &[&str] = &["resourceClaimName"];
    let lists: [&[&str]; 2] = [
        &["spec", "resourceClaims"],
        &["status", "resourceClaimStatuses"],
    ];
    let claims = lists.iter().flat_map(|path| object::list_at(pod, path));
    let extended = object::at(pod, &["status", "extendedResourceClaimStatus"]);
    let names = claims
        .chain(extended)
        .map(|claim| object::str_at(claim, NAME).to_owned());
    found.resource_claims.extend(names);
}
