//! The strategy of RoleBindings and ClusterRoleBindings.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, namespace, str_at},
};
use serde_json::Value;

use super::GROUP;
use crate::{
    kind::{Column, Part, Scope, Strategy},
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree, validate,
};

pub(super) struct Binding {
    pub(super) scope: Scope,
}

const COLUMNS: &[Column] = &[
    NAME,
    column("Role", "string", "The role that is granted."),
    AGE,
    wide("Users", "string", "Users it is granted to."),
    wide("Groups", "string", "Groups it is granted to."),
    wide(
        "ServiceAccounts",
        "string",
        "Service accounts it is granted to.",
    ),
];

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else {
            return;
        };
        // Upstream's is there even where nobody gave one.
        if let Some(role) = tree::child(map, "roleRef") {
            tree::default_str(role, "apiGroup", GROUP);
        }
        for subject in tree::items(map, "subjects") {
            if matches!(tree::text(subject, "kind"), "User" | "Group") {
                tree::default_str(subject, "apiGroup", GROUP);
            }
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::path_segment(name, generate_prefix)
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_binding(object, self.scope, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        if !tree::same(new.get("roleRef"), old.get("roleRef")) {
            errors.push(Error::invalid(
                &Path::new("roleRef"),
                new.get("roleRef").cloned().unwrap_or_default(),
                knarr_meta::object_meta::IMMUTABLE,
            ));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        cells(object, now)
    }
}

fn validate_binding(object: &Value, scope: Scope, errors: &mut ErrorList) {
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
    let supported: &[&str] = if scope == Scope::Namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    if !supported.contains(&kind) {
        errors.push(Error::not_supported(&path.child("kind"), kind, supported));
    }
    let role = object.get("roleRef").unwrap_or(&Value::Null);
    validate::required(errors, role, "name", &path, |name| {
        names::path_segment(name, false)
    });
    for (index, subject) in list_at(object, &["subjects"]).iter().enumerate() {
        validate_subject(subject, scope, &Path::new("subjects").index(index), errors);
    }
}

fn validate_subject(subject: &Value, scope: Scope, path: &Path, errors: &mut ErrorList) {
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
            if scope == Scope::Cluster && str_at(subject, &["namespace"]).is_empty() {
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

/// Name, role, age, users, groups and service accounts.
fn cells(object: &Value, now: &Now) -> Vec<Value> {
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
