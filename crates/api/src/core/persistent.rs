//! What volumes and claims share: access modes, volume modes, classes and amounts.

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    object::{annotation, list_at, str_at},
};
use serde_json::Value;

use crate::validate;

/// The class of volumes and claims from before there was a field for it. It stands above the field.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

const SINGLE_POD: &str = "ReadWriteOncePod";
const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", SINGLE_POD];
/// Access modes in the order of tables, with what these call them.
const SHORT_MODES: &[(&str, &str)] = &[
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    (SINGLE_POD, "RWOP"),
];
pub(super) const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const NOT_POSITIVE: &str = "must be greater than zero";

/// The values of `spec.accessModes`; whether there may be none is the caller's rule.
pub(super) fn validate_access_modes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("accessModes");
    let modes = list_at(spec, &["accessModes"]);
    let modes = || modes.iter().map(|mode| mode.as_str().unwrap_or_default());
    for mode in modes().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(Error::not_supported(&path, mode, ACCESS_MODES));
    }
    let shared = modes().any(|mode| mode != SINGLE_POD && ACCESS_MODES.contains(&mode));
    if shared && modes().any(|mode| mode == SINGLE_POD) {
        errors.push(Error::forbidden(
            &path,
            "may not use ReadWriteOncePod with other access modes",
        ));
    }
}

/// Access modes as tables show them: `RWO,ROX`.
pub(super) fn short_modes(object: &Value, part: &str) -> String {
    let modes = list_at(object, &[part, "accessModes"]);
    let has = |mode: &str| modes.iter().any(|m| m.as_str() == Some(mode));
    let shown: Vec<&str> = SHORT_MODES
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect();
    shown.join(",")
}

/// The class that a volume or a claim is of; empty for none.
pub fn class(object: &Value) -> &str {
    annotation(object, CLASS_ANNOTATION)
        .unwrap_or_else(|| str_at(object, &["spec", "storageClassName"]))
}

/// The volume mode as tables show it.
pub(super) fn volume_mode(object: &Value) -> Value {
    crate::table::or(str_at(object, &["spec", "volumeMode"]), "<unset>")
}

/// The amount below a path, where it is one.
pub(super) fn quantity(object: &Value, path: &[&str]) -> Option<Quantity> {
    Quantity::parse(str_at(object, path)).ok()
}

/// An amount of at least something.
pub(super) fn validate_positive(amount: &Value, path: &Path, errors: &mut ErrorList) {
    match Quantity::parse(amount.as_str().unwrap_or_default()) {
        Err(error) => errors.push(Error::invalid(path, amount.clone(), error.to_string())),
        Ok(amount) if amount.is_negative() || amount.is_zero() => {
            errors.push(Error::invalid(path, amount.to_string(), NOT_POSITIVE));
        }
        Ok(_) => {}
    }
}

/// An amount that is not below zero.
pub(super) fn validate_amount(amount: &Value, path: &Path, errors: &mut ErrorList) {
    match Quantity::parse(amount.as_str().unwrap_or_default()) {
        Err(error) => errors.push(Error::invalid(path, amount.clone(), error.to_string())),
        Ok(amount) if amount.is_negative() => errors.push(Error::invalid(
            path,
            amount.value(),
            "must be a valid resource quantity",
        )),
        Ok(_) => {}
    }
}

/// The mode of a volume, where it is said.
pub(super) fn validate_volume_mode(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mode = str_at(spec, &["volumeMode"]);
    validate::one_of(errors, &path.child("volumeMode"), mode, VOLUME_MODES, false);
}
