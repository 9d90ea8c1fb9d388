//! Annotations of pods that something reads: the mark of a static pod's mirror, what it costs to delete the pod, and security
//! profiles as they were given before there were fields for them.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{self, map_at, str_at},
};
use serde_json::Value;

use super::app_armor;
use crate::core::pod_spec;

const MIRROR: &str = "kubernetes.io/config.mirror";
const POD_SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Whether the pod stands for one that a kubelet runs from a file.
pub(super) fn is_mirror(pod: &Value) -> bool {
    object::annotation(pod, MIRROR).is_some()
}

pub(super) fn validate(pod: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("annotations");
    if let Some(mirror) = object::annotation(pod, MIRROR)
        && str_at(pod, &["spec", "nodeName"]).is_empty()
    {
        errors.push(Error::invalid(
            &path.key(MIRROR),
            mirror,
            "must set spec.nodeName if mirror pod annotation is set",
        ));
    }
    if let Some(cost) = object::annotation(pod, DELETION_COST)
        && !is_deletion_cost(cost)
    {
        errors.push(Error::invalid(
            &path.key(DELETION_COST),
            cost,
            "must be a 32bit integer",
        ));
    }
    validate_profiles(pod, errors);
}

/// Seccomp profiles, which nobody reads any more, and AppArmor profiles: see [`super::app_armor`].
fn validate_profiles(pod: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("annotations");
    if let Some(value) = object::annotation(pod, POD_SECCOMP) {
        validate_seccomp(value, &path.child(POD_SECCOMP), errors);
    }
    let annotations = map_at(pod, &["metadata", "annotations"]);
    let texts = annotations.into_iter().flatten();
    let texts = texts.filter_map(|(key, value)| Some((key, value.as_str()?)));
    for (key, value) in texts {
        if key.starts_with(CONTAINER_SECCOMP) {
            validate_seccomp(value, &path.child(key.clone()), errors);
        }
        if let Some(container) = key.strip_prefix(app_armor::ANNOTATION) {
            app_armor::validate(pod, container, value, &path.key(key.as_str()), errors);
        }
    }
}

fn validate_seccomp(value: &str, path: &Path, errors: &mut ErrorList) {
    if matches!(value, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match value.strip_prefix("localhost/") {
        Some(file) => pod_spec::validate_descending(file, path, errors),
        None => errors.push(Error::invalid(
            path,
            value,
            "must be a valid seccomp profile",
        )),
    }
}

/// Written one way only: no plus, no leading zeros.
fn is_deletion_cost(cost: &str) -> bool {
    cost.parse::<i32>().is_ok_and(|n| n.to_string() == cost)
}

/// A pod is a mirror or is none, for life.
pub(super) fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (now, before) = (
        object::annotation(new, MIRROR),
        object::annotation(old, MIRROR),
    );
    if now != before {
        let what = if before.is_some() {
            "remove or update"
        } else {
            "add"
        };
        errors.push(Error::forbidden(
            &Path::new("metadata").child("annotations").key(MIRROR),
            format!("may not {what} mirror pod annotation"),
        ));
    }
    app_armor::validate_update(new, old, &mut errors);
    match object::annotation(new, DELETION_COST) != object::annotation(old, DELETION_COST) {
        true => validate(new, &mut errors),
        false => validate_profiles(new, &mut errors),
    }
    errors
}
