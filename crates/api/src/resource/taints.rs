//! What keeps claims from devices, and claims that come all the same.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::str_at,
    time,
};
use serde_json::{Map, Value};

use crate::{tree, validate};

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// The time of a taint that says none.
pub(super) fn default(taint: &mut Map<String, Value>) {
    tree::default_value(taint, "timeAdded", now());
}

/// The present second.
pub(super) fn now() -> String {
    time::now_seconds()
}

/// A taint; `old` has the effect that need not be right any more.
pub(super) fn validate(taint: &Value, old: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    let text = |field| str_at(taint, &[field]);
    let key = text("key");
    validate::each(errors, &path.child("key"), key, names::qualified_name(key));
    let value = text("value");
    validate::each(
        errors,
        &path.child("value"),
        value,
        names::label_value(value),
    );
    let effect = text("effect");
    if old.is_none_or(|old| str_at(old, &["effect"]) != effect) {
        validate::one_of(errors, &path.child("effect"), effect, &EFFECTS, true);
    }
}

/// A toleration.
pub(super) fn validate_toleration(toleration: &Value, path: &Path, errors: &mut ErrorList) {
    let text = |field| str_at(toleration, &[field]);
    validate::optional(errors, toleration, "key", path, names::qualified_name);
    let (at, value) = (path.child("value"), text("value"));
    match text("operator") {
        "Exists" if !value.is_empty() => {
            let why = "must be empty for operator `Exists`";
            errors.push(Error::invalid(&at, value, why));
        }
        "Exists" => {}
        "Equal" => validate::each(errors, &at, value, names::label_value(value)),
        operator => {
            let path = path.child("operator");
            validate::one_of(errors, &path, operator, &["Equal", "Exists"], true);
        }
    }
    let effect = text("effect");
    validate::one_of(errors, &path.child("effect"), effect, &EFFECTS, false);
}
