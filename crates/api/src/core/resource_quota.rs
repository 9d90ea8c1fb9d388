//! ResourceQuota.

mod scopes;
pub mod usage;

use knarr_meta::{
    field::{ErrorList, Path},
    object::{at, map_at},
};
use serde_json::{Map, Value};

use super::{
    amounts::{self, amounts},
    pod_spec::canonicalize_resources,
};
use crate::{
    apps,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "ResourceQuota",
    resource: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/resourcequotas"),
    definition: "io.k8s.api.core.v1.ResourceQuota",
    strategy: &ResourceQuota,
    aliases: &[],
};

struct ResourceQuota;

const COLUMNS: &[Column] = &[
    NAME,
    column("Request", "string", "What is used and may be requested."),
    column("Limit", "string", "What is used and may be limits."),
    AGE,
];

impl Strategy for ResourceQuota {
    fn default(&self, object: &mut Value) {
        for (part, field) in [("spec", "hard"), ("status", "hard"), ("status", "used")] {
            let part = object.get_mut(part).and_then(Value::as_object_mut);
            if let Some(list) = part.and_then(|part| tree::existing(part, field)) {
                canonicalize_resources(list);
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        validate_amounts(object, "spec", "hard", &path, &mut errors);
        scopes::validate(object, &path, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part == Part::Status {
            let mut errors = ErrorList::new();
            for field in ["hard", "used"] {
                validate_amounts(new, "status", field, &Path::new("status"), &mut errors);
            }
            return errors;
        }
        let mut errors = self.validate_create(new);
        let of = |object| at(object, &["spec", "scopes"]);
        if scopes::names(new) != scopes::names(old) {
            let path = Path::new("spec").child("scopes");
            validate::immutable(&mut errors, &path, of(new), of(old));
        }
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        let hard = amounts(object, &["spec", "hard"]);
        let mut warnings = Vec::new();
        for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
            let long = format!("requests.{name}");
            let short = matches!(name, "cpu" | "memory").then_some(name);
            let names = [Some(long.as_str()), short].into_iter().flatten();
            let request = names
                .filter_map(|name| Some((name, hard.get(name)?)))
                .next();
            let limit = format!("limits.{name}");
            if let (Some((name, request)), Some(most)) = (request, hard.get(&limit))
                && request > most
            {
                warnings.push(format!(
                    "ResourceQuota {name} ({request}) should be less than {limit} ({most})"
                ));
            }
        }
        warnings
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let (hard, used) = (
            amounts(object, &["status", "hard"]),
            amounts(object, &["status", "used"]),
        );
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, most) in &hard {
            let used = used.get(name).cloned().unwrap_or_default();
            let cell = format!("{name}: {used}/{most}");
            match name.starts_with("limits.") {
                true => limits.push(cell),
                false => requests.push(cell),
            }
        }
        vec![
            table::name(object),
            requests.join(", ").into(),
            limits.join(", ").into(),
            table::age(object, now),
        ]
    }
}

/// A map of resources to amounts in `part` of a quota.
fn validate_amounts(
    object: &Value,
    part: &str,
    field: &'static str,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (name, value) in map_at(object, &[part, field]).into_iter().flatten() {
        let path = path.child(field).key(name);
        amounts::validate_quota_name(name, &path, errors);
        amounts::validate_amount(name, value, &path, errors);
    }
}

#[cfg(test)]
mod tests;
