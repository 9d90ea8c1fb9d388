//! Which devices are meant, as expressions, and what drivers are told besides.

use std::collections::BTreeMap;

use knarr_cel::{Program, Type, devices};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{bounded, names};

const MAX_SELECTORS: usize = 32;
const MAX_EXPRESSION_BYTES: usize = 10 * 1024;
const MAX_PARAMETERS_BYTES: usize = 10 * 1024;

/// Selectors of a class or a request. Those that are stored were valid when they came.
pub(super) fn validate(list: &[Value], stored: bool, path: &Path, errors: &mut ErrorList) {
    bounded::slice(
        list,
        MAX_SELECTORS,
        path,
        errors,
        |selector, path, errors| {
            let Some(cel) = struct_at(selector, &["cel"]) else {
                errors.push(Error::required(&path.child("cel"), ""));
                return;
            };
            if !stored {
                let path = path.child("cel").child("expression");
                validate_expression(str_at(cel, &["expression"]), &path, errors);
            }
        },
    );
}

fn validate_expression(source: &str, path: &Path, errors: &mut ErrorList) {
    if source.len() > MAX_EXPRESSION_BYTES {
        errors.push(Error::too_long(path, MAX_EXPRESSION_BYTES));
        return;
    }
    let why = match Program::compile(source, devices::env()) {
        Err(error) => format!("compilation failed: {error}"),
        Ok(program) if matches!(program.result, Type::Bool | Type::Dyn) => return,
        Ok(program) => format!(
            "must evaluate to bool or the unknown type, not {}",
            program.result
        ),
    };
    errors.push(Error::invalid(path, source, why));
}

/// What is for one driver to understand: `opaque` of a configuration.
pub(super) fn validate_config(config: &Value, stored: bool, path: &Path, errors: &mut ErrorList) {
    let path = path.child("opaque");
    let Some(opaque) = struct_at(config, &["opaque"]) else {
        errors.push(Error::required(&path, ""));
        return;
    };
    names::driver(str_at(opaque, &["driver"]), &path.child("driver"), errors);
    let max = (!stored).then_some(MAX_PARAMETERS_BYTES);
    validate_raw(
        opaque.get("parameters"),
        max,
        &path.child("parameters"),
        errors,
    );
}

/// An object of anyone's.
pub(super) fn validate_raw(
    raw: Option<&Value>,
    max_bytes: Option<usize>,
    path: &Path,
    errors: &mut ErrorList,
) {
    match raw {
        None | Some(Value::Null) => errors.push(Error::required(path, "")),
        Some(value) => {
            if let Some(max) = max_bytes
                && value.to_string().len() > max
            {
                errors.push(Error::too_long(path, max));
            } else if !value.is_object() {
                let why = "must be a valid JSON object";
                errors.push(Error::invalid(path, "<value omitted>", why));
            }
        }
    }
}

/// The requests that a part of a claim is for: each is the claim's.
pub(super) fn request_names(devices: &Value) -> BTreeMap<&str, Vec<&str>> {
    let requests = list_at(devices, &["requests"]).iter();
    let named = requests.map(|request| {
        let subrequests = list_at(request, &["firstAvailable"]).iter();
        let subrequests = subrequests.map(|sub| str_at(sub, &["name"]));
        (str_at(request, &["name"]), subrequests.collect())
    });
    named.collect()
}

/// `request` or `request/subrequest`.
pub(super) fn validate_request_name(
    name: &str,
    known: &BTreeMap<&str, Vec<&str>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    const WHY: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let segments: Vec<&str> = name.split('/').collect();
    if segments.len() <= 2 {
        for segment in &segments {
            names::label(segment, path, errors);
        }
    }
    let found = match segments[..] {
        [request] => known.contains_key(request),
        [request, sub] => known.get(request).is_some_and(|subs| subs.contains(&sub)),
        _ => false,
    };
    if !found {
        errors.push(Error::invalid(path, name, WHY));
    }
}
