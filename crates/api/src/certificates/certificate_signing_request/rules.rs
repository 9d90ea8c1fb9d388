//! Validation of requests: upstream's `pkg/apis/certificates/validation`.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path, quote},
    object::{at, i64_at, list_at, str_at},
};
use knarr_x509::{Certificate, Request, pem, usage};
use serde_json::Value;

use super::{
    APPROVAL, APPROVED, DENIED, FAILED, LEGACY_UNKNOWN, bytes, conditions, conditions::of,
};
use crate::{certificates::validate_signer_name, kind::Part};

const MIN_SECONDS: i64 = 600;
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// What is wrong with the object that is stored already, and is not held against who changes something else.
#[derive(Default)]
pub(super) struct Tolerated {
    both_approved_and_denied: bool,
    legacy_signer: bool,
    duplicate_conditions: bool,
    empty_condition_type: bool,
    certificate: bool,
    unknown_usages: bool,
    duplicate_usages: bool,
}

impl Tolerated {
    fn of(new: &Value, old: &Value) -> Tolerated {
        let has = |kind| of(old, kind).next().is_some();
        let kinds = || conditions(old).iter().map(|c| str_at(c, &["type"]));
        let usages = usages(old);
        Tolerated {
            both_approved_and_denied: has(APPROVED) && has(DENIED),
            legacy_signer: str_at(old, &["spec", "signerName"]) == LEGACY_UNKNOWN,
            duplicate_conditions: has_duplicate(kinds()),
            empty_condition_type: kinds().any(str::is_empty),
            certificate: certificate(new) == certificate(old)
                || validate_certificate(certificate(old), old).is_err(),
            unknown_usages: usages.iter().any(|usage| !usage::is_known(usage)),
            duplicate_usages: has_duplicate(usages.iter().copied()),
        }
    }
}

fn has_duplicate<'a>(mut texts: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = HashSet::new();
    texts.any(|text| !seen.insert(text))
}

fn usages(object: &Value) -> Vec<&str> {
    let usages = list_at(object, &["spec", "usages"]).iter();
    usages
        .map(|usage| usage.as_str().unwrap_or_default())
        .collect()
}

/// In base64.
fn certificate(object: &Value) -> &str {
    str_at(object, &["status", "certificate"])
}

pub(super) fn validate(object: &Value, tolerated: &Tolerated) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = Path::new("spec");
    let request = bytes(object, &["spec", "request"]);
    if let Err(error) = Request::from_pem(&request).and_then(|request| request.verify()) {
        // Bytes that nobody said are none in Go, and shown as such.
        let shown = at(object, &["spec", "request"])
            .cloned()
            .unwrap_or_default();
        errors.push(Error::invalid(
            &spec.child("request"),
            shown,
            error.to_string(),
        ));
    }
    validate_usages(object, tolerated, &spec.child("usages"), &mut errors);
    let signer = str_at(object, &["spec", "signerName"]);
    let path = spec.child("signerName");
    if signer == LEGACY_UNKNOWN && !tolerated.legacy_signer {
        let why = "the legacy signerName is not allowed via this API version";
        errors.push(Error::invalid(&path, signer, why));
    } else {
        validate_signer_name(signer, &path, &mut errors);
    }
    if let Some(seconds) = i64_at(object, &["spec", "expirationSeconds"])
        && seconds < MIN_SECONDS
    {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(
            &spec.child("expirationSeconds"),
            seconds,
            why,
        ));
    }
    validate_conditions(object, tolerated, &mut errors);
    if !tolerated.certificate
        && let Err(why) = validate_certificate(certificate(object), object)
    {
        let path = Path::new("status").child("certificate");
        errors.push(Error::invalid(&path, "<certificate data>", why));
    }
    errors
}

/// Usages that are complained about, of either kind: more than there are. Each complaint names all that are known.
const USAGES_TOLD: usize = 64;

fn validate_usages(object: &Value, tolerated: &Tolerated, path: &Path, errors: &mut ErrorList) {
    let usages = usages(object);
    if usages.is_empty() {
        errors.push(Error::required(path, ""));
    }
    if !tolerated.unknown_usages {
        let names = usage::names();
        let unknown = (usages.iter().enumerate()).filter(|(_, usage)| !usage::is_known(usage));
        for (index, usage) in unknown.take(USAGES_TOLD) {
            errors.push(Error::not_supported(&path.index(index), *usage, &names));
        }
    }
    if !tolerated.duplicate_usages {
        let mut seen = HashSet::new();
        let again = (usages.iter().enumerate()).filter(|(_, usage)| !seen.insert(*usage));
        for (index, usage) in again.take(USAGES_TOLD) {
            errors.push(Error::duplicate(&path.index(index), *usage));
        }
    }
}

fn validate_conditions(object: &Value, tolerated: &Tolerated, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let (mut seen, mut decided) = (HashSet::new(), HashSet::new());
    for (index, condition) in conditions(object).iter().enumerate() {
        let text = |field| str_at(condition, &[field]);
        let (kind, status) = (text("type"), text("status"));
        let path_of = |field: &'static str| path.index(index).child(field);
        if kind.is_empty() && !tolerated.empty_condition_type {
            errors.push(Error::required(&path_of("type"), ""));
        }
        let allowed: &[&str] = match kind {
            APPROVED | DENIED | FAILED => &["True"],
            _ => &STATUSES,
        };
        if status.is_empty() {
            errors.push(Error::required(&path_of("status"), ""));
        } else if !allowed.contains(&status) {
            errors.push(Error::not_supported(&path_of("status"), status, allowed));
        }
        if matches!(kind, APPROVED | DENIED) && !tolerated.both_approved_and_denied {
            decided.insert(kind);
            if decided.len() == 2 {
                let why = "Approved and Denied conditions are mutually exclusive";
                errors.push(Error::invalid(&path, kind, why));
            }
        }
        if !seen.insert(kind) && !tolerated.duplicate_conditions {
            errors.push(Error::duplicate(&path_of("type"), kind));
        }
    }
}

/// Nothing, or PEM blocks that are certificates.
fn validate_certificate(base64: &str, object: &Value) -> Result<(), String> {
    if base64.is_empty() {
        return Ok(());
    }
    let mut found = false;
    for block in pem::blocks(&bytes(object, &["status", "certificate"])) {
        if block.label != pem::CERTIFICATE {
            let label = quote(&block.label);
            return Err(format!(
                "only CERTIFICATE PEM blocks are allowed, found {label}"
            ));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".to_owned());
        }
        Certificate::from_der(&block.der).map_err(|error| error.to_string())?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err("must contain at least one CERTIFICATE PEM block".to_owned())
    }
}

pub(super) fn validate_update(new: &Value, old: &Value, part: Part) -> ErrorList {
    let mut errors = validate(new, &Tolerated::of(new, old));
    let path = Path::new("status").child("conditions");
    let count = |object: &Value, kind: &str| of(object, kind).count();
    for kind in [APPROVED, DENIED, FAILED] {
        if count(new, kind) < count(old, kind) {
            let why = format!("updates may not remove a condition of type {}", quote(kind));
            errors.push(Error::forbidden(&path, why));
        }
    }
    // What was there is what it was, whatever was asked for, unless some came or went.
    if part != APPROVAL {
        for kind in [APPROVED, DENIED] {
            if count(new, kind) > count(old, kind) {
                let why = format!("updates may not add a condition of type {}", quote(kind));
                errors.push(Error::forbidden(&path, why));
            }
        }
    }
    // Only the status brings a certificate, and only one.
    if part == Part::Status && certificate(new) != certificate(old) && !certificate(old).is_empty()
    {
        let path = Path::new("status").child("certificate");
        let why = "updates may not modify existing certificate content";
        errors.push(Error::forbidden(&path, why));
    }
    errors
}
