//! Validation of a claim's spec, of claims and of templates of them.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, list_at, map_at, str_at, struct_at},
    object_meta::{validate_annotations, validate_label_selector, validate_labels},
};
use serde_json::{Value, json};

use crate::{
    core::persistent::{validate_access_modes, validate_positive, validate_volume_mode},
    tree, validate,
};

/// Whether the groups of what a claim is filled from are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    Checked,
    /// The stored claim has one, which may have been made under other rules.
    Stored,
}

impl Groups {
    /// What holds for an update of a claim with this spec.
    pub(super) fn after(old: &Value) -> Groups {
        let mut sources = ["dataSource", "dataSourceRef"].into_iter();
        let has_group = sources.any(|source| at(old, &[source, "apiGroup"]).is_some());
        match has_group {
            true => Groups::Stored,
            false => Groups::Checked,
        }
    }
}

/// A spec of a new claim.
pub(crate) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    validate_with(spec, Groups::Checked, path, errors);
}

/// In upstream's order.
pub(super) fn validate_with(spec: &Value, groups: Groups, path: &Path, errors: &mut ErrorList) {
    if list_at(spec, &["accessModes"]).is_empty() {
        errors.push(Error::required(
            &path.child("accessModes"),
            "at least 1 access mode is required",
        ));
    }
    if let Some(selector) = struct_at(spec, &["selector"]) {
        validate_label_selector(selector, &path.child("selector"), errors);
    }
    validate_access_modes(spec, path, errors);
    validate_size(spec, &path.child("resources").key("storage"), errors);
    let rule = names::dns1123_subdomain;
    validate::optional(errors, spec, "storageClassName", path, rule);
    validate_volume_mode(spec, path, errors);
    validate_data_sources(spec, groups, path, errors);
    validate::optional(errors, spec, "volumeAttributesClassName", path, rule);
}

fn validate_size(spec: &Value, path: &Path, errors: &mut ErrorList) {
    const REQUEST: &[&str] = &["resources", "requests", "storage"];
    match at(spec, REQUEST) {
        None | Some(Value::Null) => errors.push(Error::required(path, "")),
        Some(size) => validate_positive(size, path, errors),
    }
}

fn validate_data_sources(spec: &Value, groups: Groups, path: &Path, errors: &mut ErrorList) {
    for field in ["dataSource", "dataSourceRef"] {
        let Some(source) = struct_at(spec, &[field]) else {
            continue;
        };
        let path = path.child(field);
        validate::filled(errors, source, &["name", "kind"], &path);
        let kind = str_at(source, &["kind"]);
        let group = str_at(source, &["apiGroup"]);
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            errors.push(Error::invalid(
                &path,
                kind,
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ));
        }
        if groups == Groups::Checked {
            validate::optional(errors, source, "apiGroup", &path, names::dns1123_subdomain);
        }
        validate::optional(errors, source, "namespace", &path, names::dns1123_label);
    }
    let (source, reference) = (
        struct_at(spec, &["dataSource"]),
        struct_at(spec, &["dataSourceRef"]),
    );
    if let (Some(source), Some(reference)) = (source, reference) {
        let elsewhere = !str_at(reference, &["namespace"]).is_empty();
        let why = match () {
            () if elsewhere => "may not be specified when dataSourceRef.namespace is specified",
            () if !names_the_same(source, reference) => "must match dataSourceRef",
            () => return,
        };
        // Upstream shows the path of the other field, of whose parts JSON knows none.
        errors.push(Error::invalid(path, json!({}), why));
    }
}

/// Whether a source is what a reference refers to in the claim's namespace: a reference may say that it is this one by `""`.
fn names_the_same(source: &Value, reference: &Value) -> bool {
    let same = |field: &str| tree::same(source.get(field), reference.get(field));
    ["apiGroup", "kind", "name"].into_iter().all(same)
}

/// A template of claims in a pod's volume: its metadata has labels and annotations only.
pub(crate) fn validate_template(template: &Value, path: &Path, errors: &mut ErrorList) {
    template_metadata(template, &path.child("metadata"), errors);
    let spec = template.get("spec").unwrap_or(&Value::Null);
    validate(spec, &path.child("spec"), errors);
}

/// The `metadata` of a template of claims, which `path` leads to.
pub(crate) fn template_metadata(template: &Value, meta_path: &Path, errors: &mut ErrorList) {
    if let Some(annotations) = map_at(template, &["metadata", "annotations"]) {
        validate_annotations(annotations, &meta_path.child("annotations"), errors);
    }
    if let Some(labels) = map_at(template, &["metadata", "labels"]) {
        validate_labels(labels, &meta_path.child("labels"), errors);
    }
    for (field, value) in map_at(template, &["metadata"]).into_iter().flatten() {
        let known = matches!(field.as_str(), "annotations" | "labels");
        if !known && !tree::same(Some(value), None) {
            // Upstream has the names of Go's fields, with their first letter made small.
            let name = match field.as_str() {
                "uid" => "uID".to_owned(),
                other => other.to_owned(),
            };
            errors.push(Error::forbidden(&meta_path.child(name), "cannot be set"));
        }
    }
}
