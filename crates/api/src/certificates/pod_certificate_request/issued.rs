//! Validation of what a signer answers: upstream's `ValidatePodCertificateRequestStatusUpdate`.

use jiff::{SignedDuration, Timestamp};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{i64_at, list_at, str_at, struct_at},
    time,
};
use knarr_x509::{Certificate, Request, pem};
use serde_json::{Value, json};

use super::{DENIED, FAILED, ISSUED, bytes, outcome};
use crate::{tree, validate};

const CHAIN_BYTES: usize = 100 * 1024;
/// How far the beginning of a certificate may be from now.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
const MIN_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// Between the beginning and the refresh, and between that and the end.
const REFRESH_MARGIN: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn validate_status(new: &Value, old: &Value, now: Timestamp) -> ErrorList {
    let mut errors = validate_conditions(new);
    if !errors.is_empty() {
        return errors;
    }
    let (after, before) = (status(new), status(old));
    let path = Path::new("status");
    let mut same = |a: &Value, b: &Value, why: &str| {
        if !tree::same(Some(a), Some(b)) {
            errors.push(Error::invalid_whole(&path, why));
        }
    };
    if outcome(old).is_some() {
        let why = "immutable after PodCertificateRequest is issued, denied, or failed";
        same(after, before, why);
        return errors;
    }
    match outcome(new) {
        Some(ISSUED) => {
            if let Err(wrong) = validate_issued(new, old, now) {
                errors.extend(wrong);
            }
        }
        Some(_) => {
            let only = json!({"conditions": list_at(new, &["status", "conditions"])});
            let why = "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
            same(after, &only, why);
        }
        None => {
            let why =
                "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"";
            same(after, before, why);
        }
    }
    errors
}

fn status(object: &Value) -> &Value {
    struct_at(object, &["status"]).unwrap_or(&Value::Null)
}

/// At most one of the conditions that there are, and it is true.
fn validate_conditions(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("conditions");
    let conditions = list_at(object, &["status", "conditions"]);
    let mut known = 0;
    for (index, condition) in conditions.iter().enumerate() {
        // With the dot that upstream has here.
        let path = path.child(format!("[{index}]"));
        let (kind, value) = (str_at(condition, &["type"]), str_at(condition, &["status"]));
        if !matches!(kind, ISSUED | DENIED | FAILED) {
            let all = [ISSUED, DENIED, FAILED];
            errors.push(Error::not_supported(&path.child("type"), kind, &all));
            continue;
        }
        known += 1;
        if known > 1 {
            let why = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(Error::invalid(&path.child("type"), kind, why));
        }
        if value != "True" {
            errors.push(Error::not_supported(
                &path.child("status"),
                value,
                &["True"],
            ));
        }
    }
    validate::conditions(conditions, &path, &mut errors);
    errors
}

/// The first thing that is wrong, as upstream tells it.
fn validate_issued(new: &Value, old: &Value, now: Timestamp) -> Result<(), ErrorList> {
    let text = str_at(new, &["status", "certificateChain"]);
    let path = Path::new("status").child("certificateChain");
    if text.len() > CHAIN_BYTES {
        return Err(vec![Error::too_long(&path, CHAIN_BYTES)]);
    }
    let invalid = |why: &str| vec![Error::invalid(&path, text, why)];
    let mut blocks = pem::blocks(text.as_bytes());
    let leaf = blocks
        .next()
        .ok_or_else(|| invalid("issued certificate chain must contain at least one certificate"))?;
    if leaf.label != pem::CERTIFICATE {
        return Err(invalid(
            "issued certificate chain must consist entirely of CERTIFICATE PEM blocks",
        ));
    }
    let leaf = Certificate::from_der(&leaf.der)
        .map_err(|_| invalid("leaf certificate does not parse as valid X.509"))?;
    let mut errors = validate_names(&leaf, &path);
    let stub = bytes(old, &["spec", "stubPKCS10Request"]).unwrap_or_default();
    let Ok(request) = Request::from_der(&stub) else {
        let path = Path::new("spec").child("stubPKCS10Request");
        errors.push(Error::invalid_whole(&path, "must be a valid PKCS#10 CSR"));
        return Err(errors);
    };
    if request.public_key != leaf.public_key {
        errors.extend(invalid(
            "leaf certificate was not issued to the requested public key",
        ));
        return Err(errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    validate_times(new, &leaf, now)?;
    for block in blocks {
        if block.label != pem::CERTIFICATE {
            return Err(invalid(
                "issued certificate chain must consist entirely of CERTFICATE PEM blocks",
            ));
        }
        Certificate::from_der(&block.der)
            .map_err(|_| invalid("intermediate certificate does not parse as valid X.509"))?;
    }
    Ok(())
}

fn validate_names(leaf: &Certificate, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in &leaf.dns_names {
        let mut refuse = |why: &str| errors.push(Error::invalid(path, &**name, why));
        if name.is_empty() {
            refuse("leaf certificate should not contain empty DNSName");
        }
        if name.contains("..") {
            refuse("leaf certificate's DNSName should not contain '..'");
        }
        if name.starts_with('.') || name.ends_with('.') {
            refuse("leaf certificate's DNSName should not start or end with '.'");
        }
    }
    for address in &leaf.email_addresses {
        let mut parts = address.splitn(2, '@');
        let full = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
        let whole = full(parts.next()) && full(parts.next());
        if !whole || address.contains(char::is_whitespace) {
            let why = "leaf certificate should not contain invalid EmailAddress";
            errors.push(Error::invalid(path, &**address, why));
        }
    }
    errors
}

/// The times in the status against those in the certificate.
fn validate_times(new: &Value, leaf: &Certificate, now: Timestamp) -> Result<(), ErrorList> {
    let path = |field: &'static str| Path::new("status").child(field);
    let text = |field| str_at(new, &["status", field]);
    let mut missing = ErrorList::new();
    let consistent = "must be present and consistent with the issued certificate";
    let mut time = |field, why| {
        let time = time::parse(text(field));
        if time.is_none() {
            missing.push(Error::required(&path(field), why));
        }
        time.unwrap_or_default()
    };
    let not_before = time("notBefore", consistent);
    let not_after = time("notAfter", consistent);
    let refresh = time(
        "beginRefreshAt",
        "must be present and in the range [notbefore+10min, notafter-10min]",
    );
    if !missing.is_empty() {
        return Err(missing);
    }
    let invalid = |field, why: &str| Err(vec![Error::invalid(&path(field), text(field), why)]);
    if not_before != leaf.not_before {
        return invalid(
            "notBefore",
            "must be set to the NotBefore time encoded in the leaf certificate",
        );
    }
    if now.duration_since(not_before).abs() >= SKEW {
        return invalid(
            "notBefore",
            "must be set to within 5 minutes of kube-apiserver's current time",
        );
    }
    if not_after != leaf.not_after {
        return invalid(
            "notAfter",
            "must be set to the NotAfter time encoded in the leaf certificate",
        );
    }
    let life = not_after.duration_since(not_before);
    let most = i64_at(new, &["spec", "maxExpirationSeconds"]).unwrap_or_default();
    let too = |why: String| {
        let nanos = i64::try_from(life.as_nanos()).unwrap_or(i64::MAX);
        Err(vec![Error::invalid(&path("certificateChain"), nanos, why)])
    };
    if life < MIN_LIFE {
        return too("leaf certificate lifetime must be >= 1 hour".to_owned());
    }
    if life > SignedDuration::from_secs(most) {
        return too(format!(
            "leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})"
        ));
    }
    if refresh.duration_since(not_before) < REFRESH_MARGIN {
        return invalid(
            "beginRefreshAt",
            "must be at least 10 minutes after status.notBefore",
        );
    }
    if not_after.duration_since(refresh) < REFRESH_MARGIN {
        return invalid(
            "beginRefreshAt",
            "must be at least 10 minutes before status.notAfter",
        );
    }
    Ok(())
}
