//! Names of definitions: within a group, who comes first has a name.

use std::collections::HashSet;

use knarr_api::apiextensions::custom_resource_definition::{
    Condition, condition, is_true, set_condition,
};
use knarr_meta::object::{self, list_at, str_at};
use serde_json::{Map, Value};

/// The names of a group that are taken.
#[derive(Default)]
struct Taken<'a> {
    resources: HashSet<&'a str>,
    kinds: HashSet<&'a str>,
}

impl<'a> Taken<'a> {
    fn of(group: &str, all: impl Iterator<Item = &'a Value>) -> Taken<'a> {
        let mut taken = Taken::default();
        for definition in all.filter(|one| str_at(one, &["spec", "group"]) == group) {
            let accepted = |field: &str| str_at(definition, &["status", "acceptedNames", field]);
            taken
                .resources
                .extend([accepted("plural"), accepted("singular")]);
            let short = list_at(definition, &["status", "acceptedNames", "shortNames"]).iter();
            taken.resources.extend(short.filter_map(Value::as_str));
            taken.kinds.extend([accepted("kind"), accepted("listKind")]);
        }
        taken
    }
}

/// Accepts the names that a definition asks for, as far as no other of its group has them. False where one is taken.
pub(super) fn accept<'a>(definition: &mut Value, all: impl Iterator<Item = &'a Value>) -> bool {
    let empty = Value::Null;
    let asked = object::at(definition, &["spec", "names"])
        .cloned()
        .unwrap_or_default();
    let before = object::at(definition, &["status", "acceptedNames"])
        .unwrap_or(&empty)
        .clone();
    // Names that stay are not looked at, whatever somebody has written into the conditions.
    if asked == before {
        return condition(definition, Condition::NamesAccepted).is_none()
            || is_true(definition, Condition::NamesAccepted);
    }
    let taken = Taken::of(str_at(definition, &["spec", "group"]), all);
    let mut accepted: Map<String, Value> = before.as_object().cloned().unwrap_or_default();
    let mut refused = None;
    for (field, names, reason) in [
        ("plural", &taken.resources, "PluralConflict"),
        ("singular", &taken.resources, "SingularConflict"),
        ("shortNames", &taken.resources, "ShortNamesConflict"),
        ("kind", &taken.kinds, "KindConflict"),
        ("listKind", &taken.kinds, "ListKindConflict"),
    ] {
        match conflict(asked.get(field), before.get(field), names) {
            Some(why) => refused = Some((reason, why)),
            None => put(&mut accepted, field, asked.get(field)),
        }
    }
    put(&mut accepted, "categories", asked.get("categories"));
    if let Some(status) = object::child_mut(definition, "status") {
        status.insert("acceptedNames".to_owned(), accepted.into());
    }
    match &refused {
        Some((reason, why)) => {
            set_condition(definition, Condition::NamesAccepted, "False", reason, why)
        }
        None => {
            let why = "no conflicts found";
            set_condition(
                definition,
                Condition::NamesAccepted,
                "True",
                "NoConflicts",
                why,
            )
        }
    };
    if refused.is_some() && condition(definition, Condition::Established).is_none() {
        let why = "not all names are accepted";
        set_condition(
            definition,
            Condition::Established,
            "False",
            "NotAccepted",
            why,
        );
    }
    refused.is_none()
}

fn put(accepted: &mut Map<String, Value>, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => accepted.insert(field.to_owned(), value.clone()),
        None => accepted.remove(field),
    };
}

/// Why a name, or one of a list, cannot be had.
fn conflict(asked: Option<&Value>, own: Option<&Value>, taken: &HashSet<&str>) -> Option<String> {
    if asked == own {
        return None;
    }
    let names = |value: Option<&Value>| -> Vec<String> {
        match value {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(list)) => list
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    };
    let own = names(own);
    let refused: Vec<String> = names(asked)
        .into_iter()
        .filter(|name| !own.contains(name) && taken.contains(&**name))
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    match refused.len() {
        0 => None,
        1 => refused.into_iter().next(),
        _ => Some(format!("[{}]", refused.join(", "))),
    }
}
