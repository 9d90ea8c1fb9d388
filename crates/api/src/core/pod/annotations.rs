//! Annotations of pods that something reads: the mark of a static pod's mirror, and what it costs to delete the pod.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{self, str_at},
};
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";
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
    if object::annotation(new, DELETION_COST) != object::annotation(old, DELETION_COST) {
        validate(new, &mut errors);
    }
    errors
}
