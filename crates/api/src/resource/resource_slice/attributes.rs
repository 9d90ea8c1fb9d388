//! Attributes of devices: one value of one type.

use knarr_meta::field::{Error, ErrorList, Path};
use serde_json::Value;

const MAX_VALUE_BYTES: usize = 64;
/// The fields of an attribute, one of which it has, as upstream declares them.
const MEMBERS: [&str; 8] = [
    "int", "bool", "string", "version", "ints", "bools", "strings", "versions",
];

/// One attribute.
pub(super) fn validate(attribute: &Value, path: &Path, errors: &mut ErrorList) {
    let value = |field| attribute.get(field).filter(|value| !value.is_null());
    if let Some(text) = value("string").and_then(Value::as_str) {
        validate_length(text, &path.child("string"), errors);
    }
    if let Some(version) = value("version").and_then(Value::as_str) {
        let path = path.child("version");
        if !is_semver(version) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(Error::invalid(&path, version, why));
        }
        validate_length(version, &path, errors);
    }
    let set: Vec<&str> = MEMBERS
        .into_iter()
        .filter(|member| value(member).is_some())
        .collect();
    let members = MEMBERS.map(|member| format!("`{member}`")).join(", ");
    match set[..] {
        [] => {
            let why = format!("must specify one of: {members}");
            errors.push(Error::invalid(path, "", why));
        }
        [_] => {}
        _ => {
            let why = format!("must specify exactly one of: {members}");
            let shown = format!("{{{}}}", set.join(", "));
            errors.push(Error::invalid(path, shown, why));
        }
    }
}

fn validate_length(text: &str, path: &Path, errors: &mut ErrorList) {
    if text.len() > MAX_VALUE_BYTES {
        errors.push(Error::too_long(path, MAX_VALUE_BYTES));
    }
}

/// `1.2.3-pre.1+build.5`
pub(super) fn is_semver(text: &str) -> bool {
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match rest.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (rest, None),
    };
    let word = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !part.is_empty() && part.bytes().all(allowed)
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let number =
        |part: &str| !part.is_empty() && digits(part) && (part == "0" || !part.starts_with('0'));
    let pre_part = |part: &str| word(part) && (!digits(part) || number(part));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(pre_part))
        && build.is_none_or(|build| build.split('.').all(word))
}
