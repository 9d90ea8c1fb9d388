//! rbac.authorization.k8s.io/v1.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, namespace, str_at},
};
use serde_json::Value;

use crate::{table, tree, validate};

pub mod cluster_role;
pub mod cluster_role_binding;
pub mod role;
pub mod role_binding;

const GROUP: &str = "rbac.authorization.k8s.io";

fn validate_rules(object: &Value, namespaced: bool, errors: &mut ErrorList) {
    for (index, rule) in list_at(object, &["rules"]).iter().enumerate() {
        let path = Path::new("rules").index(index);
        let has = |field: &str| !list_at(rule, &[field]).is_empty();
        if !has("verbs") {
            errors.push(Error::required(
                &path.child("verbs"),
                "verbs must contain at least one value",
            ));
        }
        if has("nonResourceURLs") {
            let urls = list_at(rule, &["nonResourceURLs"]);
            if namespaced {
                errors.push(Error::invalid(
                    &path.child("nonResourceURLs"),
                    urls.to_vec(),
                    "namespaced rules cannot apply to non-resource URLs",
                ));
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                errors.push(Error::invalid(
                    &path.child("nonResourceURLs"),
                    urls.to_vec(),
                    "rules cannot apply to both regular resources and non-resource URLs",
                ));
            }
            continue;
        }
        if !has("apiGroups") {
            errors.push(Error::required(
                &path.child("apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if !has("resources") {
            errors.push(Error::required(
                &path.child("resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
}

fn default_binding(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    if let Some(role) = tree::existing(map, "roleRef") {
        tree::default_str(role, "apiGroup", GROUP);
    }
    for subject in tree::items(map, "subjects") {
        if matches!(tree::text(subject, "kind"), "User" | "Group") {
            tree::default_str(subject, "apiGroup", GROUP);
        }
    }
}

fn validate_binding(object: &Value, namespaced: bool, errors: &mut ErrorList) {
    let path = Path::new("roleRef");
    let group = str_at(object, &["roleRef", "apiGroup"]);
    if group != GROUP {
        errors.push(Error::not_supported(
            &path.child("apiGroup"),
            group,
            &[GROUP],
        ));
    }
    let kind = str_at(object, &["roleRef", "kind"]);
    let supported: &[&str] = if namespaced {
        &["ClusterRole", "Role"]
    } else {
        &["ClusterRole"]
    };
    if !supported.contains(&kind) {
        errors.push(Error::not_supported(&path.child("kind"), kind, supported));
    }
    let name = str_at(object, &["roleRef", "name"]);
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    } else {
        validate::each(
            errors,
            &path.child("name"),
            name,
            names::path_segment(name, false),
        );
    }
    for (index, subject) in list_at(object, &["subjects"]).iter().enumerate() {
        validate_subject(
            subject,
            namespaced,
            &Path::new("subjects").index(index),
            errors,
        );
    }
}

fn validate_subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut ErrorList) {
    let name = str_at(subject, &["name"]);
    let group = str_at(subject, &["apiGroup"]);
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    match str_at(subject, &["kind"]) {
        "ServiceAccount" => {
            if !name.is_empty() {
                validate::each(
                    errors,
                    &path.child("name"),
                    name,
                    names::dns1123_subdomain(name),
                );
            }
            if !group.is_empty() {
                errors.push(Error::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && str_at(subject, &["namespace"]).is_empty() {
                errors.push(Error::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(Error::not_supported(
                    &path.child("apiGroup"),
                    group,
                    &[GROUP],
                ));
            }
        }
        kind => errors.push(Error::not_supported(
            &path.child("kind"),
            kind,
            &["ServiceAccount", "User", "Group"],
        )),
    }
}

fn validate_role_ref_kept(new: &Value, old: &Value, errors: &mut ErrorList) {
    if !tree::same(new.get("roleRef"), old.get("roleRef")) {
        errors.push(Error::invalid(
            &Path::new("roleRef"),
            new.get("roleRef").cloned().unwrap_or_default(),
            "cannot change roleRef",
        ));
    }
}

/// Name, role, age, users, groups and service accounts.
fn binding_cells(object: &Value, now: i64) -> Vec<Value> {
    let own = namespace(object);
    let of_kind = |kind: &str| {
        let names: Vec<String> = list_at(object, &["subjects"])
            .iter()
            .filter(|subject| str_at(subject, &["kind"]) == kind)
            .map(|subject| {
                let name = str_at(subject, &["name"]);
                match (kind, str_at(subject, &["namespace"])) {
                    ("ServiceAccount", "") if own.is_empty() => name.to_owned(),
                    ("ServiceAccount", "") => format!("{own}/{name}"),
                    ("ServiceAccount", namespace) => format!("{namespace}/{name}"),
                    _ => name.to_owned(),
                }
            })
            .collect();
        Value::from(names.join(", "))
    };
    let role = format!(
        "{}/{}",
        str_at(object, &["roleRef", "kind"]),
        str_at(object, &["roleRef", "name"])
    );
    vec![
        table::name(object),
        role.into(),
        table::age(object, now),
        of_kind("User"),
        of_kind("Group"),
        of_kind("ServiceAccount"),
    ]
}

#[cfg(test)]
mod tests;
