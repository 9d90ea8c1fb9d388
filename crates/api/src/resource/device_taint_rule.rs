//! DeviceTaintRule.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, child_mut, list_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{GROUP, names, taints};
use crate::{
    apps,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "DeviceTaintRule",
    resource: "devicetaintrules",
    singular: "devicetaintrule",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/devicetaintrules"),
    definition: "io.k8s.api.resource.v1.DeviceTaintRule",
    strategy: &DeviceTaintRule,
    aliases: &[],
};

const MAX_CONDITIONS: usize = 8;
const EFFECT: &[&str] = &["spec", "taint", "effect"];
const TIME_ADDED: &[&str] = &["spec", "taint", "timeAdded"];

const COLUMNS: &[Column] = &[
    NAME,
    column("Key", "string", "The key of the taint."),
    column("Value", "string", "The value of the taint."),
    column("Effect", "string", "What the taint does to claims."),
    column("TimeAdded", "string", "How long the taint has its effect."),
    AGE,
];

struct DeviceTaintRule;

fn taint_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    tree::existing(child_mut(object, "spec")?, "taint")
}

impl Strategy for DeviceTaintRule {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = child_mut(object, "spec")
            && let Some(taint) = tree::child(spec, "taint")
        {
            taints::default(taint);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
        if part == Part::Status {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                tree::keep_metadata(new, old, field);
            }
            return;
        }
        // The time is that of the effect, not of the rule: tolerations count from it.
        let same_time = at(new, TIME_ADDED) == at(old, TIME_ADDED);
        if same_time
            && str_at(new, EFFECT) != str_at(old, EFFECT)
            && let Some(taint) = taint_mut(new)
        {
            taint.insert("timeAdded".to_owned(), taints::now().into());
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        validate_rule(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        match part {
            Part::Main => validate_rule(new, Some(old)),
            _ => validate_status(new),
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let taint = |field| Value::from(str_at(object, &["spec", "taint", field]));
        let added = match str_at(object, TIME_ADDED) {
            "" => String::new(),
            added => now.since(added),
        };
        vec![
            table::name(object),
            taint("key"),
            taint("value"),
            taint("effect"),
            added.into(),
            table::age(object, now),
        ]
    }
}

fn validate_rule(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    if let Some(selector) = struct_at(object, &["spec", "deviceSelector"]) {
        let path = path.child("deviceSelector");
        let rules = [
            ("driver", names::driver as fn(&str, &Path, &mut ErrorList)),
            ("pool", names::pool),
            ("device", names::label),
        ];
        for (field, rule) in rules {
            if let Some(name) = selector.get(field).and_then(Value::as_str) {
                rule(name, &path.child(field), &mut errors);
            }
        }
    }
    let of = |object| at(object, &["spec", "taint"]).unwrap_or(&Value::Null);
    let path = path.child("taint");
    taints::validate(of(object), old.map(of), &path, &mut errors);
    errors
}

fn validate_status(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("conditions");
    let conditions = list_at(object, &["status", "conditions"]);
    validate::conditions(conditions, &path, &mut errors);
    if conditions.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(&path, conditions.len(), MAX_CONDITIONS));
    }
    errors
}
