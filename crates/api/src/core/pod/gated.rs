//! What may change of a pod that waits for its scheduling gates: where it can run becomes narrower.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, list_at, map_at, struct_at},
};
use serde_json::Value;

use crate::tree::same;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn is_gated(spec: &Value) -> bool {
    !list_at(spec, &["schedulingGates"]).is_empty()
}

/// Whether a changed field of the spec is one that [`validate`] has an eye on.
pub(super) fn may_change(field: &str, new: &Value, old: &Value) -> bool {
    let kept = |kind: &str| same(at(new, &["affinity", kind]), at(old, &["affinity", kind]));
    is_gated(old)
        && match field {
            "nodeSelector" => true,
            "affinity" => kept("podAffinity") && kept("podAntiAffinity"),
            _ => false,
        }
}

/// Selectors of nodes may be added, not changed or removed. `new` and `old` are specs.
pub(super) fn validate(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    if !is_gated(old) {
        return;
    }
    let selector = map_at(new, &["nodeSelector"]);
    let kept = map_at(old, &["nodeSelector"])
        .into_iter()
        .flatten()
        .all(|(key, value)| selector.and_then(|map| map.get(key)) == Some(value));
    if !kept {
        errors.push(Error::invalid(
            &path.child("nodeSelector"),
            new.get("nodeSelector").cloned().unwrap_or_default(),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ));
    }
    let path = path.child("affinity").child("nodeAffinity").child(REQUIRED);
    validate_terms(new, old, &path.child("nodeSelectorTerms"), errors);
}

fn validate_terms(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    const TERMS: &[&str] = &["affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms"];
    let (now, before) = (list_at(new, TERMS), list_at(old, TERMS));
    if before.is_empty() {
        return;
    }
    if now.len() != before.len() {
        // Upstream takes null for the terms of a selector that is not there.
        let selector = struct_at(new, &TERMS[..TERMS.len() - 1]);
        let shown = selector.map_or(Value::Null, |_| now.to_vec().into());
        errors.push(Error::invalid(
            path,
            shown,
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        ));
        return;
    }
    for (index, (now, before)) in now.iter().zip(before).enumerate() {
        if !only_adds(now, before) {
            errors.push(Error::invalid(
                &path.index(index),
                now.clone(),
                "only additions are allowed (no mutations or deletions)",
            ));
        }
    }
}

/// A term without requirements selects nothing: what is added to it would widen the choice.
fn only_adds(now: &Value, before: &Value) -> bool {
    let fields = ["matchExpressions", "matchFields"];
    let empty = |term: &Value| {
        fields
            .iter()
            .all(|field| list_at(term, &[field]).is_empty())
    };
    if empty(before) {
        return empty(now);
    }
    fields.iter().all(|field| {
        let (now, before) = (list_at(now, &[field]), list_at(before, &[field]));
        now.starts_with(before)
    })
}
