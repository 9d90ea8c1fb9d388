//! Conditions in the form that kinds share (metav1.Condition).

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, str_at},
};
use serde_json::Value;

use super::{each, one_of};

const MAX_REASON_BYTES: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// A list of conditions, of which each type is there once.
pub(crate) fn conditions(conditions: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut types = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let type_ = str_at(condition, &["type"]);
        if !types.insert(type_) {
            errors.push(Error::duplicate(&path, type_));
        }
        validate(condition, &path, errors);
    }
}

fn validate(condition: &Value, path: &Path, errors: &mut ErrorList) {
    let text = |field| str_at(condition, &[field]);
    match text("type") {
        "" => errors.push(Error::required(&path.child("type"), "is required")),
        type_ => each(
            errors,
            &path.child("type"),
            type_,
            names::qualified_name(type_),
        ),
    }
    let statuses = ["False", "True", "Unknown"];
    one_of(
        errors,
        &path.child("status"),
        text("status"),
        &statuses,
        true,
    );
    let generation = i64_at(condition, &["observedGeneration"]).unwrap_or_default();
    if generation < 0 {
        errors.push(Error::invalid(
            &path.child("observedGeneration"),
            generation,
            "must be greater than or equal to zero",
        ));
    }
    if text("lastTransitionTime").is_empty() {
        errors.push(Error::required(&path.child("lastTransitionTime"), ""));
    }
    validate_reason(text("reason"), &path.child("reason"), errors);
    if text("message").len() > MAX_MESSAGE_BYTES {
        errors.push(Error::too_long(&path.child("message"), MAX_MESSAGE_BYTES));
    }
}

fn validate_reason(reason: &str, path: &Path, errors: &mut ErrorList) {
    if reason.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let allowed = |b: u8| word(b) || matches!(b, b',' | b':');
    let starts = reason.starts_with(|c: char| c.is_ascii_alphabetic());
    let ends = reason.bytes().next_back().is_some_and(word);
    if !starts || !ends || !reason.bytes().all(allowed) {
        let message = names::regex_message(
            "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
             characters or '_,:', and must end with an alphanumeric character or '_'",
            "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
            &[
                "my_name",
                "MY_NAME",
                "MyName",
                "ReasonA,ReasonB",
                "ReasonA:ReasonB",
            ],
        );
        errors.push(Error::invalid(path, reason, message));
    }
    if reason.len() > MAX_REASON_BYTES {
        errors.push(Error::too_long(path, MAX_REASON_BYTES));
    }
}
