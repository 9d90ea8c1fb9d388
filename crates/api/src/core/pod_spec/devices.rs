//! Validation of block devices in containers.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at, struct_at},
};
use serde_json::Value;

use super::volumes::Volumes;

/// The `volumeDevices` of a container: names and paths are unique, also among its mounts, and the volumes are claims.
pub(super) fn validate(
    container: &Value,
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    const UNIQUE: &str = "must be unique";
    let mounts = list_at(container, &["volumeMounts"]);
    let of_mounts = |field| -> HashSet<&str> {
        let values = mounts.iter().map(|mount| str_at(mount, &[field]));
        values.collect()
    };
    let (mount_names, mount_paths) = (of_mounts("name"), of_mounts("mountPath"));
    let path = path.child("volumeDevices");
    let (mut names, mut places) = (HashSet::new(), HashSet::new());
    for (index, device) in list_at(container, &["volumeDevices"]).iter().enumerate() {
        let name = (path.index(index).child("name"), str_at(device, &["name"]));
        let place = (
            path.index(index).child("devicePath"),
            str_at(device, &["devicePath"]),
        );
        if name.1.is_empty() {
            errors.push(Error::required(&name.0, ""));
        } else if !names.insert(name.1) {
            refuse(errors, &name, UNIQUE);
        }
        match volumes.get(name.1) {
            None => errors.push(Error::not_found(&name.0, name.1)),
            Some(volume) if !is_claim(volume) => refuse(
                errors,
                &name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            Some(_) => {}
        }
        if place.1.is_empty() {
            errors.push(Error::required(&place.0, ""));
        }
        if !places.insert(place.1) {
            refuse(errors, &place, UNIQUE);
        }
        if place.1.split('/').any(|part| part == "..") {
            refuse(errors, &place, "can not contain backsteps ('..')");
        }
        if mount_names.contains(name.1) {
            refuse(errors, &name, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(place.1) {
            refuse(
                errors,
                &place,
                "must not already exist as a path in volumeMounts",
            );
        }
    }
}

fn refuse(errors: &mut ErrorList, (path, value): &(Path, &str), message: &str) {
    errors.push(Error::invalid(path, *value, message));
}

fn is_claim(volume: &Value) -> bool {
    ["persistentVolumeClaim", "ephemeral"]
        .iter()
        .any(|source| struct_at(volume, &[source]).is_some())
}
