//! What claims ask for: the spec of ResourceClaims and of their templates.

use std::collections::BTreeMap;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names::{dns1123_subdomain, long_name},
    object::{i64_at, list_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{
    bounded, names,
    selectors::{self, Expressions},
    taints,
};
use crate::{tree, validate};

pub(super) const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
pub(super) const MAX_CONFIGS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;

const EXACT_COUNT: &str = "ExactCount";
const ALL: &str = "All";

/// Requests for devices: what is asked exactly, and the alternatives of the others.
fn requests(spec: &mut Map<String, Value>, mut each: impl FnMut(&mut Map<String, Value>)) {
    let Some(devices) = tree::existing(spec, "devices") else {
        return;
    };
    for request in tree::items(devices, "requests") {
        if let Some(exactly) = tree::existing(request, "exactly") {
            each(exactly);
        }
        tree::items(request, "firstAvailable").for_each(&mut each);
    }
}

/// One device for each request that says nothing else.
pub(super) fn default(spec: &mut Map<String, Value>) {
    requests(spec, |request| {
        tree::default_str(request, "allocationMode", EXACT_COUNT);
        if tree::text(request, "allocationMode") == EXACT_COUNT {
            tree::default_number(request, "count", 1);
        }
        for toleration in tree::items(request, "tolerations") {
            tree::default_str(toleration, "operator", "Equal");
        }
    });
}

/// `spec` of a claim at `path`.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("devices");
    let devices = spec.get("devices").unwrap_or(&Value::Null);
    let known = selectors::request_names(devices);
    let mut expressions = Expressions::default();
    bounded::set(
        list_at(devices, &["requests"]),
        MAX_REQUESTS,
        &path.child("requests"),
        errors,
        |request| str_at(request, &["name"]).to_owned(),
        |request, path, errors| validate_request(request, &mut expressions, path, errors),
    );
    bounded::slice(
        list_at(devices, &["constraints"]),
        MAX_CONSTRAINTS,
        &path.child("constraints"),
        errors,
        |constraint, path, errors| validate_constraint(constraint, &known, path, errors),
    );
    bounded::slice(
        list_at(devices, &["config"]),
        MAX_CONFIGS,
        &path.child("config"),
        errors,
        |config, path, errors| {
            validate_request_names(config, &known, path, errors);
            selectors::validate_config(config, false, path, errors);
        },
    );
}

/// `requests` of a constraint or a configuration.
pub(super) fn validate_request_names(
    owner: &Value,
    known: &BTreeMap<&str, Vec<&str>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    bounded::set(
        list_at(owner, &["requests"]),
        MAX_REQUESTS,
        &path.child("requests"),
        errors,
        bounded::text,
        |name, path, errors| {
            let name = name.as_str().unwrap_or_default();
            selectors::validate_request_name(name, known, path, errors);
        },
    );
}

fn validate_request<'o>(
    request: &'o Value,
    expressions: &mut Expressions<'o>,
    path: &Path,
    errors: &mut ErrorList,
) {
    names::label(str_at(request, &["name"]), &path.child("name"), errors);
    let name = |alternative: &Value| str_at(alternative, &["name"]).to_owned();
    let exactly = struct_at(request, &["exactly"]);
    let alternatives = list_at(request, &["firstAvailable"]);
    match (exactly, alternatives) {
        (None, []) => errors.push(Error::required(
            path,
            "exactly one of `exactly` or `firstAvailable` is required",
        )),
        (Some(exactly), alternatives) if !alternatives.is_empty() => {
            errors.push(Error::invalid(
                path,
                Value::Null,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            ));
            // What is declared with the types is looked at all the same.
            validate_mode(exactly, &path.child("exactly"), errors);
            bounded::set(
                alternatives,
                MAX_ALTERNATIVES,
                &path.child("firstAvailable"),
                errors,
                name,
                |alternative, path, errors| {
                    validate::required(errors, alternative, "deviceClassName", path, long_name);
                    validate_mode(alternative, path, errors);
                },
            );
        }
        (Some(exactly), _) => {
            let at = path.child("exactly");
            validate::required(errors, exactly, "deviceClassName", &at, dns1123_subdomain);
            validate_devices(exactly, expressions, &path.child("exactly"), errors);
        }
        (None, alternatives) => bounded::set(
            alternatives,
            MAX_ALTERNATIVES,
            &path.child("firstAvailable"),
            errors,
            name,
            |alternative, path, errors| {
                names::label(str_at(alternative, &["name"]), &path.child("name"), errors);
                // Declared with the type of alternatives, and not with that of what is asked exactly.
                validate::required(errors, alternative, "deviceClassName", path, long_name);
                validate_devices(alternative, expressions, path, errors);
            },
        ),
    }
}

fn validate_mode(request: &Value, path: &Path, errors: &mut ErrorList) {
    let mode = str_at(request, &["allocationMode"]);
    if ![ALL, EXACT_COUNT].contains(&mode) {
        let path = path.child("allocationMode");
        errors.push(Error::not_supported(&path, mode, &[ALL, EXACT_COUNT]));
    }
}

/// Which devices, and how many.
fn validate_devices<'o>(
    request: &'o Value,
    expressions: &mut Expressions<'o>,
    path: &Path,
    errors: &mut ErrorList,
) {
    validate_mode(request, path, errors);
    let list = list_at(request, &["selectors"]);
    let at = path.child("selectors");
    selectors::validate(list, false, expressions, &at, errors);
    let count = i64_at(request, &["count"]).unwrap_or_default();
    let count_path = path.child("count");
    match str_at(request, &["allocationMode"]) {
        ALL if count != 0 => {
            let why = format!("must not be specified when allocationMode is '{ALL}'");
            errors.push(Error::invalid(&count_path, count, why));
        }
        EXACT_COUNT if count <= 0 => {
            errors.push(Error::invalid(
                &count_path,
                count,
                "must be greater than zero",
            ));
        }
        _ => {}
    }
    let path = path.child("tolerations");
    for (index, toleration) in list_at(request, &["tolerations"]).iter().enumerate() {
        taints::validate_toleration(toleration, &path.index(index), errors);
    }
}

fn validate_constraint(
    constraint: &Value,
    known: &BTreeMap<&str, Vec<&str>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    validate_request_names(constraint, known, path, errors);
    let fields = ["matchAttribute", "distinctAttribute"];
    let set: Vec<_> = fields
        .into_iter()
        .filter_map(|field| Some((field, constraint.get(field)?.as_str()?)))
        .collect();
    for (field, name) in &set {
        names::fully_qualified(name, &path.child(*field), errors);
    }
    if set.is_empty() {
        errors.push(Error::required(
            path,
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        ));
    }
}
