//! Changes of a pod's resources in place, through `/resize`: what of a request counts, and what may change.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{child_mut, list_at, map_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{annotations, qos_class};
use crate::{
    core::pod_spec::{self, Within},
    tree::same,
};

const CONTAINERS: &str = "containers";
const INIT_CONTAINERS: &str = "initContainers";
/// What can be changed while a pod runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Takes of each container its resources and how it bears their change, and everything else of the old pod. A list whose
/// containers are not those of the old pod stays as it was asked for: validation refuses it, in words.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let lists = [CONTAINERS, INIT_CONTAINERS];
    let all = |pod: &Value, list| list_at(pod, &["spec", list]).len();
    if lists.iter().any(|list| all(new, list) != all(old, list)) {
        return;
    }
    let Some(spec) = child_mut(new, "spec") else {
        return;
    };
    for list in lists {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        let before = list_at(old, &["spec", list]);
        let name = |container: &Value| str_at(container, &["name"]).to_owned();
        if !containers.iter().map(name).eq(before.iter().map(name)) {
            continue;
        }
        for (container, before) in containers.iter_mut().zip(before) {
            let mut kept = before.clone();
            if let Some(kept) = kept.as_object_mut() {
                for field in ["resources", "resizePolicy"] {
                    match container.get_mut(field).map(Value::take) {
                        Some(value) if !value.is_null() => kept.insert(field.to_owned(), value),
                        _ => kept.remove(field),
                    };
                }
            }
            *container = kept;
        }
    }
}

/// Upstream's `ValidatePodResize`.
pub(super) fn validate(new: &Value, old: &Value) -> ErrorList {
    if annotations::is_mirror(old) {
        let why = "static pods cannot be resized";
        return vec![Error::forbidden(&Path::root(), why)];
    }
    if str_at(old, &["spec", "os", "name"]) == "windows" {
        let why = "windows pods cannot be resized";
        return vec![Error::forbidden(&Path::root(), why)];
    }
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let null = Value::Null;
    let spec = new.get("spec").unwrap_or(&null);
    pod_spec::validate_pod_spec(spec, Within::StoredPod, &path, &mut errors);
    let class = match str_at(old, &["status", "qosClass"]) {
        "" => qos_class(old),
        class => class,
    };
    if class != qos_class(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&path, class, why));
    }
    if !is_supported(old) {
        let why = "Pod running on node without support for resize";
        errors.push(Error::forbidden(&path, why));
    }
    validate_whole(new, old, &path, &mut errors);
    let ordered = errors.len();
    for list in [CONTAINERS, INIT_CONTAINERS] {
        validate_order(new, old, list, &path, &mut errors);
    }
    if errors.len() > ordered {
        return errors;
    }
    for list in [INIT_CONTAINERS, CONTAINERS] {
        for (index, (now, before)) in pairs(new, old, list).enumerate() {
            let path = path.child(list).index(index).child("resources");
            for field in ["requests", "limits"] {
                if is_shorter(now, before, field) {
                    let why = format!("resource {field} cannot be removed");
                    errors.push(Error::forbidden(&path.child(field), why));
                }
            }
        }
    }
    for (now, before) in pairs(new, old, CONTAINERS) {
        if !is_only_resized(now, before) {
            let why = "only cpu and memory resources are mutable";
            errors.push(Error::forbidden(&path, why));
        }
    }
    for (index, (now, before)) in pairs(new, old, INIT_CONTAINERS).enumerate() {
        validate_init(
            now,
            before,
            &path.child(INIT_CONTAINERS).index(index),
            &mut errors,
        );
    }
    errors
}

fn pairs<'a>(
    new: &'a Value,
    old: &'a Value,
    list: &'static str,
) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    list_at(new, &["spec", list])
        .iter()
        .zip(list_at(old, &["spec", list]))
}

/// Whether the node tells what its containers have: those that do not cannot resize them.
fn is_supported(pod: &Value) -> bool {
    list_at(pod, &["status", "containerStatuses"])
        .iter()
        .find(|status| struct_at(status, &["state", "running"]).is_some())
        .is_none_or(|status| struct_at(status, &["resources"]).is_some())
}

fn validate_order(
    new: &Value,
    old: &Value,
    list: &'static str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child(list);
    let (now, before) = (list_at(new, &["spec", list]), list_at(old, &["spec", list]));
    if now.len() != before.len() {
        let why = format!("{list} may not be added or removed on resize");
        errors.push(Error::forbidden(&path, why));
        return;
    }
    for (index, (now, before)) in now.iter().zip(before).enumerate() {
        if str_at(now, &["name"]) != str_at(before, &["name"]) {
            let why = format!("{list} may not be renamed or reordered on resize");
            let path = path.index(index).child("name");
            errors.push(Error::forbidden(&path, why));
        }
    }
}

fn validate_init(now: &Value, before: &Value, path: &Path, errors: &mut ErrorList) {
    if !is_only_resized(now, before) {
        let why = "only cpu and memory resources for init or sidecar containers are mutable";
        errors.push(Error::forbidden(path, why));
    }
    let restarts = |policy: &Value| str_at(policy, &["restartPolicy"]) == "RestartContainer";
    let changed = !same(Some(now), Some(before));
    if changed && !pod_spec::is_sidecar(now) && list_at(now, &["resizePolicy"]).iter().any(restarts)
    {
        let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        errors.push(Error::forbidden(path, why));
    }
}

/// What the pod states as a whole, beside its containers.
fn validate_whole(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let at = |pod| struct_at(pod, &["spec", "resources"]);
    let (Some(now), before) = (at(new), at(old)) else {
        return;
    };
    let empty = Value::Object(Map::new());
    let before = before.unwrap_or(&empty);
    for field in ["requests", "limits"] {
        if lacks(map_at(now, &[field]), map_at(before, &[field])) {
            let why = format!("pod-level resource {field} cannot be removed");
            errors.push(Error::forbidden(&path.child("resources").child(field), why));
        }
    }
    if !same(Some(&masked(now, before)), Some(before)) {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.push(Error::forbidden(path, why));
    }
}

fn is_shorter(now: &Value, before: &Value, field: &str) -> bool {
    let of = |container| map_at(container, &["resources", field]);
    lacks(of(now), of(before))
}

fn lacks(now: Option<&Map<String, Value>>, before: Option<&Map<String, Value>>) -> bool {
    let names = before.into_iter().flat_map(Map::keys);
    names
        .into_iter()
        .any(|name| now.is_none_or(|now| !now.contains_key(name)))
}

/// Whether a container differs in nothing but amounts of what can be resized.
fn is_only_resized(now: &Value, before: &Value) -> bool {
    let empty = Value::Object(Map::new());
    let of = |container: &Value| container.get("resources").unwrap_or(&empty).clone();
    let mut now = now.clone();
    let resources = masked(&of(&now), &of(before));
    if let Some(map) = now.as_object_mut() {
        map.insert("resources".to_owned(), resources);
    }
    same(Some(&now), Some(before))
}

/// Resources with the amounts of `before` of what can be resized.
fn masked(now: &Value, before: &Value) -> Value {
    let mut now = now.clone();
    for field in ["requests", "limits"] {
        let Some(amounts) = child_mut(&mut now, field) else {
            continue;
        };
        for name in RESIZABLE {
            match map_at(before, &[field]).and_then(|amounts| amounts.get(name)) {
                Some(amount) => amounts.insert(name.to_owned(), amount.clone()),
                None => amounts.remove(name),
            };
        }
        // One that is there and empty is one that is not there.
        if amounts.is_empty()
            && let Some(map) = now.as_object_mut()
        {
            map.remove(field);
        }
    }
    now
}

#[cfg(test)]
mod tests;
