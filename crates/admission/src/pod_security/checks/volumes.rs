//! Sources of volumes.

use knarr_meta::object::{str_at, struct_at};
use serde_json::Value;

use super::{
    Violation,
    pod::{Pod, Values, plural, quoted},
};

/// Sources that hold nothing of the node and need no driver that is trusted with it.
const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The others that there are. The first that is set is told.
const RESTRICTED: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn has(volume: &Value, source: &str) -> bool {
    struct_at(volume, &[source]).is_some()
}

fn volumes(names: &[&str]) -> String {
    let noun = plural("volume", "volumes", names.len());
    format!("{noun} {}", quoted(names))
}

/// None is a path of the node.
pub fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod
        .volumes()
        .iter()
        .filter(|volume| has(volume, "hostPath"));
    let bad: Vec<&str> = bad.map(|volume| str_at(volume, &["name"])).collect();
    (!bad.is_empty()).then(|| Violation {
        reason: "hostPath volumes",
        detail: volumes(&bad),
    })
}

/// All are of the allowed sources.
pub fn restricted(pod: &Pod<'_>) -> Option<Violation> {
    let mut bad = Vec::new();
    let mut types = Values::new();
    for volume in pod.volumes() {
        if !ALLOWED.iter().any(|source| has(volume, source)) {
            bad.push(str_at(volume, &["name"]));
            let known = RESTRICTED.iter().find(|source| has(volume, source));
            types.insert(known.copied().unwrap_or("unknown"));
        }
    }
    (!bad.is_empty()).then(|| Violation {
        reason: "restricted volume types",
        detail: format!(
            "{} {} {} {}",
            volumes(&bad),
            plural("uses", "use", bad.len()),
            plural(
                "restricted volume type",
                "restricted volume types",
                types.len()
            ),
            quoted(types)
        ),
    })
}
