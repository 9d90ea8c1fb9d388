//! Validation of a job's spec, as it stands in jobs and in templates of jobs.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    labels::Selector,
    names,
    object::{self, at, i64_at, label, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::Value;

use super::{INDEXED, NON_INDEXED, is_indexed, policies};
use crate::{core::pod_spec, validate, warnings::Warnings};

const MAX_INDEXED_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
/// More completions than these ask for lower limits of what runs and fails.
const MANY_COMPLETIONS: i64 = 100_000;
const PARALLELISM_OF_MANY: i64 = 10_000;
const FAILED_INDEXES_OF_MANY: i64 = 10_000;
const MAX_MANAGED_BY_BYTES: usize = 63;

/// A job's spec, its selector and that the selector is that of its pods.
pub(super) fn validate_with_selector(job: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = job.get("spec").unwrap_or(&Value::Null);
    validate(spec, &path, errors);
    let selector = struct_at(spec, &["selector"]);
    match selector {
        None => errors.push(Error::required(&path.child("selector"), "")),
        Some(selector) => validate_label_selector(selector, &path.child("selector"), errors),
    }
    let template = spec.get("template").unwrap_or(&Value::Null);
    if let Ok(parsed) = Selector::from_value(selector)
        && !parsed.matches_with(|key| label(template, key))
    {
        errors.push(Error::invalid(
            &path.child("template").child("metadata").child("labels"),
            at(template, &["metadata", "labels"])
                .cloned()
                .unwrap_or_default(),
            "`selector` does not match template `labels`",
        ));
    }
}

/// A spec but for its selector.
pub(crate) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let limits = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    validate::none_negative(errors, spec, &limits, path);
    let number = |field: &str| i64_at(spec, &[field]);
    if number("maxFailedIndexes").is_some() && number("backoffLimitPerIndex").is_none() {
        errors.push(Error::required(
            &path.child("backoffLimitPerIndex"),
            "when maxFailedIndexes is specified",
        ));
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        validate_manager(manager, &path.child("managedBy"), errors);
    }
    match str_at(spec, &["completionMode"]) {
        INDEXED => validate_indexed(spec, path, errors),
        mode => {
            // Templates of jobs may leave it to the job.
            if mode != NON_INDEXED && spec.get("completionMode").is_some_and(|m| !m.is_null()) {
                let modes = [NON_INDEXED, INDEXED];
                errors.push(Error::not_supported(
                    &path.child("completionMode"),
                    mode,
                    &modes,
                ));
                return validate_rest(spec, path, errors);
            }
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(limit) = number(field) {
                    let message = "requires indexed completion mode";
                    errors.push(Error::invalid(&path.child(field), limit, message));
                }
            }
        }
    }
    validate_rest(spec, path, errors);
}

fn validate_rest(spec: &Value, path: &Path, errors: &mut ErrorList) {
    policies::validate_failure(spec, &path.child("podFailurePolicy"), errors);
    policies::validate_success(spec, &path.child("successPolicy"), errors);
    policies::validate_replacement(spec, &path.child("podReplacementPolicy"), errors);
    let template = spec.get("template").unwrap_or(&Value::Null);
    let path = path.child("template");
    pod_spec::validate_template(template, &path, errors);
    let path = path.child("spec").child("restartPolicy");
    let restart = str_at(template, &["spec", "restartPolicy"]);
    match restart {
        "Always" | "" => errors.push(Error::required(
            &path,
            "valid values: \"OnFailure\", \"Never\"",
        )),
        "OnFailure" if struct_at(spec, &["podFailurePolicy"]).is_some() => {
            let message = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(Error::invalid(&path, restart, message));
        }
        "OnFailure" | "Never" => {}
        _ => errors.push(Error::not_supported(
            &path,
            restart,
            &["OnFailure", "Never"],
        )),
    }
}

/// A name with a domain in front: `acme.io/foo`.
fn validate_manager(manager: &str, path: &Path, errors: &mut ErrorList) {
    match manager.split_once('/') {
        _ if manager.is_empty() => errors.push(Error::required(path, "")),
        Some((domain, name)) if !domain.is_empty() && !name.is_empty() => {
            validate::each(errors, path, domain, names::dns1123_subdomain(domain));
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
            if !name.bytes().all(allowed) {
                let message =
                    names::regex_message("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
                errors.push(Error::invalid(path, name, message));
            }
        }
        _ => errors.push(Error::invalid(
            path,
            manager,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        )),
    }
    if manager.len() > MAX_MANAGED_BY_BYTES {
        errors.push(Error::too_long(path, MAX_MANAGED_BY_BYTES));
    }
}

fn validate_indexed(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let number = |field: &str| i64_at(spec, &[field]);
    let (completions, parallelism) = (number("completions"), number("parallelism"));
    let failed = number("maxFailedIndexes");
    if completions.is_none() {
        errors.push(Error::required(
            &path.child("completions"),
            "when completion mode is Indexed",
        ));
    }
    let mut at_most = |field: &'static str, value: Option<i64>, limit: i64, what: String| {
        if let Some(value) = value.filter(|value| *value > limit) {
            let message = format!("must be less than or equal to {what}");
            errors.push(Error::invalid(&path.child(field), value, message));
        }
    };
    let limit = MAX_INDEXED_PARALLELISM;
    let what = format!("{limit} when completion mode is Indexed");
    at_most("parallelism", parallelism, limit, what);
    if let Some(completions) = completions {
        at_most(
            "maxFailedIndexes",
            failed,
            completions,
            "completions".to_owned(),
        );
    }
    let limit = MAX_FAILED_INDEXES;
    at_most("maxFailedIndexes", failed, limit, limit.to_string());
    let many = completions.is_some_and(|completions| completions > MANY_COMPLETIONS);
    if many && number("backoffLimitPerIndex").is_some() {
        validate_many(parallelism, failed, path, errors);
    }
}

/// Limits of what keeps a status short when there are many indexes.
fn validate_many(
    parallelism: Option<i64>,
    failed: Option<i64>,
    path: &Path,
    errors: &mut ErrorList,
) {
    if failed.is_none() {
        errors.push(Error::required(
            &path.child("maxFailedIndexes"),
            format!("must be specified when completions is above {MANY_COMPLETIONS}"),
        ));
    }
    for (field, value, limit) in [
        ("parallelism", parallelism, PARALLELISM_OF_MANY),
        ("maxFailedIndexes", failed, FAILED_INDEXES_OF_MANY),
    ] {
        if let Some(value) = value.filter(|value| *value > limit) {
            let message = format!(
                "must be less than or equal to {limit} when completions are above {MANY_COMPLETIONS} and used with \
                 backoff limit per index"
            );
            errors.push(Error::invalid(&path.child(field), value, message));
        }
    }
}

/// That the pods of an indexed job, whose names and host names end in their index, can have such names.
pub(super) fn validate_name_for_indexes(job: &Value, errors: &mut ErrorList) {
    let spec = job.get("spec").unwrap_or(&Value::Null);
    let completions = i64_at(spec, &["completions"]).unwrap_or_default();
    if !is_indexed(spec) || completions <= 0 {
        return;
    }
    let name = object::name(job);
    let longest = format!("{name}-{}", completions - 1);
    if !names::dns1123_label(&longest).is_empty() {
        errors.push(Error::invalid(
            &Path::new("metadata").child("name"),
            name,
            format!("will not able to create pod with invalid DNS label: {longest}"),
        ));
    }
}

/// Warns of a job that is too large to be tracked, and of what its pods give reason for.
pub(crate) fn warn(spec: &Value, path: &Path, out: &mut Warnings) {
    let above = |field: &str, limit: i64| i64_at(spec, &[field]).unwrap_or_default() > limit;
    if is_indexed(spec)
        && above("completions", MANY_COMPLETIONS)
        && above("parallelism", PARALLELISM_OF_MANY)
    {
        out.at(
            path,
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes \
             might not be able to track completedIndexes when a big number of indexes fail",
        );
    }
    if let Some(template) = struct_at(spec, &["template"]) {
        pod_spec::warnings::of_template(template, &path.child("template"), out);
    }
}
