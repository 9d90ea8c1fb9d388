//! Roles and bindings: what is stored keeps what an administrator added, and gets what it lacks.
//!
//! As upstream's `component-helpers/auth/rbac/reconciliation`: permissions are only ever added, an object annotated
//! `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone, and a binding whose roleRef differs is made anew
//! (roleRef is immutable).

use knarr_auth::{
    authz::{cover, rbac::GROUP, rules::Rule},
    policy::{AUTOUPDATE, policy},
};
use knarr_meta::object;
use serde_json::Value;

use super::{Error, Merge, Wanted, kind};

pub(super) fn roles_and_bindings() -> Result<Vec<Wanted>, Error> {
    let resource = |namespace: &str, cluster, namespaced| {
        kind(
            GROUP,
            "v1",
            if namespace.is_empty() {
                cluster
            } else {
                namespaced
            },
        )
    };
    let policy = policy();
    let mut wanted = Vec::new();
    for role in policy.roles {
        wanted.push(Wanted {
            kind: resource(&role.namespace, "clusterroles", "roles")?,
            object: role.object(),
            namespace: role.namespace,
            name: role.name,
            merge: merge_role,
        });
    }
    for binding in policy.bindings {
        wanted.push(Wanted {
            kind: resource(&binding.namespace, "clusterrolebindings", "rolebindings")?,
            object: binding.object(),
            namespace: binding.namespace,
            name: binding.name,
            merge: merge_binding,
        });
    }
    Ok(wanted)
}

fn is_protected(stored: &Value) -> bool {
    object::annotation(stored, AUTOUPDATE) == Some("false")
}

/// Adds labels and annotations that are missing; true if any was.
pub(super) fn add_metadata(stored: &mut Value, wanted: &Value) -> bool {
    let mut changed = false;
    for field in ["labels", "annotations"] {
        let Some(wanted) = object::map_at(wanted, &["metadata", field]) else {
            continue;
        };
        for (key, value) in wanted {
            if object::at(stored, &["metadata", field, key]).is_some() {
                continue;
            }
            let map = stored
                .get_mut("metadata")
                .and_then(|metadata| object::child_mut(metadata, field));
            if let Some(map) = map {
                map.insert(key.clone(), value.clone());
                changed = true;
            }
        }
    }
    changed
}

fn append(stored: &mut Value, field: &str, items: Vec<Value>) {
    let Some(stored) = stored.as_object_mut() else {
        return;
    };
    match stored.get_mut(field).and_then(Value::as_array_mut) {
        Some(list) => list.extend(items),
        None => {
            stored.insert(field.into(), items.into());
        }
    }
}

fn parse_rules(role: &Value) -> Vec<Rule> {
    role.get("rules")
        .cloned()
        .and_then(|rules| serde_json::from_value(rules).ok())
        .unwrap_or_default()
}

pub(super) fn merge_role(stored: &mut Value, wanted: &Value) -> Merge {
    if is_protected(stored) {
        return Merge::Fine;
    }
    let mut changed = add_metadata(stored, wanted);
    if let Some(selectors) =
        object::at(wanted, &["aggregationRule", "clusterRoleSelectors"]).and_then(Value::as_array)
    {
        let has = object::list_at(stored, &["aggregationRule", "clusterRoleSelectors"]).to_vec();
        let missing: Vec<Value> = selectors
            .iter()
            .filter(|selector| !has.contains(selector))
            .cloned()
            .collect();
        if !missing.is_empty()
            && let Some(rule) = object::child_mut(stored, "aggregationRule")
        {
            let all: Vec<Value> = has.into_iter().chain(missing).collect();
            rule.insert("clusterRoleSelectors".into(), all.into());
            changed = true;
        }
        // The rules of a gatherer are its controller's.
    } else {
        let held = parse_rules(stored);
        let missing = cover::missing(held.iter(), &parse_rules(wanted));
        let missing = cover::join_verbs(missing.map(|m| m.parts).unwrap_or_else(|_| {
            tracing::warn!(
                role = object::name(stored),
                "a role is too complex to be completed"
            );
            Vec::new()
        }));
        if !missing.is_empty() {
            append(
                stored,
                "rules",
                missing
                    .iter()
                    .filter_map(|rule| serde_json::to_value(rule).ok())
                    .collect(),
            );
            changed = true;
        }
    }
    if changed { Merge::Changed } else { Merge::Fine }
}

pub(super) fn merge_binding(stored: &mut Value, wanted: &Value) -> Merge {
    if is_protected(stored) {
        return Merge::Fine;
    }
    if stored.get("roleRef") != wanted.get("roleRef") {
        return Merge::Replace;
    }
    let mut changed = add_metadata(stored, wanted);
    let has = object::list_at(stored, &["subjects"]);
    let missing: Vec<Value> = object::list_at(wanted, &["subjects"])
        .iter()
        .filter(|s| !has.contains(s))
        .cloned()
        .collect();
    if !missing.is_empty() {
        append(stored, "subjects", missing);
        changed = true;
    }
    if changed { Merge::Changed } else { Merge::Fine }
}
