//! What updates of a claim may change: its volume and its class once, its size upwards while it is bound.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{annotation, at, list_at, map_at, str_at},
    object_meta::IMMUTABLE,
};
use serde_json::Value;

use crate::{
    core::persistent::{CLASS_ANNOTATION, quantity, validate_amount},
    tree, validate,
};

const REQUEST: &[&str] = &["spec", "resources", "requests", "storage"];
const RESIZES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let moved = class_moves_to_field(new, old);
    let noted = |object| annotation(object, CLASS_ANNOTATION).map(str::to_owned);
    if !moved && noted(new) != noted(old) {
        errors.push(Error::invalid(
            &Path::new("metadata")
                .child("annotations")
                .child(CLASS_ANNOTATION),
            noted(new).unwrap_or_default(),
            IMMUTABLE,
        ));
    }
    let changes = changes(new, old, moved);
    if !changes.is_empty() {
        errors.push(Error::forbidden(
            &path,
            format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                changes.join("\n")
            ),
        ));
    }
    let size = |object| quantity(object, REQUEST).unwrap_or_default();
    let held = quantity(old, &["status", "capacity", "storage"]).unwrap_or_default();
    if size(new) < size(old) && size(new) <= held {
        let path = path.child("resources").child("requests").child("storage");
        let why = "field can not be less than status.capacity";
        errors.push(Error::forbidden(&path, why));
    }
    // Upstream leaves "spec" out of this path.
    let mode = |object| at(object, &["spec", "volumeMode"]);
    validate::immutable(errors, &Path::new("volumeMode"), mode(new), mode(old));
    validate_attributes_class(new, old, &path.child("volumeAttributesClassName"), errors);
}

/// The annotation's class becomes the field's.
fn class_moves_to_field(new: &Value, old: &Value) -> bool {
    let Some(before) = annotation(old, CLASS_ANNOTATION) else {
        return false;
    };
    class(old).is_none()
        && class(new) == Some(before)
        && annotation(new, CLASS_ANNOTATION).is_none_or(|now| now == before)
}

fn class(object: &Value) -> Option<&str> {
    at(object, &["spec", "storageClassName"])?.as_str()
}

/// Fields of the spec that differ and may not, one a line.
fn changes(new: &Value, old: &Value, class_moved: bool) -> Vec<String> {
    let spec = |object: &Value| map_at(object, &["spec"]).cloned().unwrap_or_default();
    let (mut now, mut before) = (spec(new), spec(old));
    if tree::text(&before, "volumeName").is_empty() {
        now.remove("volumeName");
        before.remove("volumeName");
    }
    let noted = annotation(old, CLASS_ANNOTATION);
    let first = class(old).is_none()
        && class(new).is_some_and(|now| noted.is_none_or(|noted| noted == now));
    if class_moved || first {
        now.remove("storageClassName");
    }
    if str_at(new, &["status", "phase"]) == "Bound" {
        for spec in [&mut now, &mut before] {
            spec.remove("volumeAttributesClassName");
        }
        // Another size is no change; to ask for nothing at all is one.
        let size = at(old, REQUEST).cloned();
        let requests = tree::existing(&mut now, "resources")
            .and_then(|resources| tree::existing(resources, "requests"))
            .filter(|requests| !requests.is_empty());
        if let Some(requests) = requests {
            requests.remove("storage");
            requests.extend(size.map(|size| ("storage".to_owned(), size)));
        }
    }
    let mut fields: Vec<&String> = now.keys().chain(before.keys()).collect();
    fields.sort_unstable();
    fields.dedup();
    let show = |value: Option<&Value>| value.map_or_else(|| "null".to_owned(), Value::to_string);
    fields
        .into_iter()
        // An empty class is a class: it says that there is to be none.
        .filter(|field| match field.as_str() {
            "storageClassName" => now.get(*field) != before.get(*field),
            _ => !tree::same(now.get(*field), before.get(*field)),
        })
        .map(|field| {
            let (before, now) = (show(before.get(field)), show(now.get(field)));
            format!("  {field}: - {before} + {now}")
        })
        .collect()
}

/// A class of attributes that has been applied can be replaced, not taken away.
fn validate_attributes_class(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    if str_at(old, &["status", "currentVolumeAttributesClassName"]).is_empty() {
        return;
    }
    let class = |object| at(object, &["spec", "volumeAttributesClassName"]);
    if class(new) == class(old) {
        return;
    }
    let what = match class(new).and_then(Value::as_str) {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return,
    };
    let why = format!(
        "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
    );
    errors.push(Error::forbidden(path, why));
}

/// An update through `/status`.
pub(super) fn validate_status(new: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if list_at(new, &["spec", "accessModes"]).is_empty() {
        errors.push(Error::required(&Path::new("Spec").child("accessModes"), ""));
    }
    let path = Path::new("status");
    for list in ["capacity", "allocatedResources"] {
        for (name, amount) in map_at(new, &["status", list]).into_iter().flatten() {
            let path = path.child(list);
            if list == "allocatedResources" && !may_resize(name) {
                let name = name.as_str();
                errors.push(Error::not_supported(&path, name, &["storage"]));
                continue;
            }
            validate_amount(amount, &path.key(name.clone()), &mut errors);
        }
    }
    let statuses = map_at(new, &["status", "allocatedResourceStatuses"]);
    let statuses_path = path.child("allocatedResourceStatuses");
    for (name, status) in statuses.into_iter().flatten() {
        let status = status.as_str().unwrap_or_default();
        if !may_resize(name) {
            let name = name.as_str();
            errors.push(Error::not_supported(&statuses_path, name, &["storage"]));
        }
        if !RESIZES.contains(&status) {
            // Upstream names the resource here, not the status.
            let name = name.as_str();
            errors.push(Error::not_supported(&statuses_path, name, RESIZES));
        }
    }
    errors
}

/// Storage, and what others than Kubernetes count.
fn may_resize(resource: &str) -> bool {
    resource == "storage" || (resource.contains('/') && !resource.contains("kubernetes.io/"))
}
