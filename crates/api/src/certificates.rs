//! The group certificates.k8s.io: who asks a signer for a certificate, what a signer vouches for, and what a pod's kubelet asks for.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
};

pub mod certificate_signing_request;
pub mod cluster_trust_bundle;
pub mod pod_certificate_request;
#[cfg(test)]
mod tests;

pub const GROUP: &str = "certificates.k8s.io";

const DOMAIN_BYTES: usize = 253;
/// A domain, a slash, and a label and a subdomain with a dot between them.
const SIGNER_NAME_BYTES: usize = DOMAIN_BYTES + 1 + 253 + 63 + 1;

/// The longest and the shortest life that a pod may ask a certificate to have, in seconds.
pub(crate) const MIN_POD_CERTIFICATE_SECONDS: i64 = 60 * 60;
const MAX_POD_CERTIFICATE_SECONDS: i64 = 91 * 24 * 60 * 60;
const KUBERNETES_MAX_POD_CERTIFICATE_SECONDS: i64 = 24 * 60 * 60;

/// The longest life of a pod's certificate by this signer, in seconds.
pub(crate) fn max_pod_certificate_seconds(signer: &str) -> i64 {
    let domain = signer.split('/').next().unwrap_or_default();
    if domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") {
        KUBERNETES_MAX_POD_CERTIFICATE_SECONDS
    } else {
        MAX_POD_CERTIFICATE_SECONDS
    }
}

/// A required name as `example.com/name`. Upstream's `ValidateSignerName`.
pub(crate) fn validate_signer_name(signer: &str, path: &Path, errors: &mut ErrorList) {
    if signer.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut segments = signer.split('/');
    let (Some(domain), Some(name), None) = (segments.next(), segments.next(), segments.next())
    else {
        let form =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(Error::invalid(path, signer, form));
        return;
    };
    if domain.len() > DOMAIN_BYTES {
        errors.push(Error::too_long(path, DOMAIN_BYTES));
    }
    validate_labels(domain, names::dns1123_label, path, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path, domain, why));
    }
    validate_labels(name, names::dns1123_subdomain, path, errors);
    if signer.len() > SIGNER_NAME_BYTES {
        errors.push(Error::too_long(path, SIGNER_NAME_BYTES));
    }
}

/// What is wrong with the first wrong label of a segment: the others would be told in the same words.
fn validate_labels(
    segment: &str,
    rule: fn(&str) -> Vec<String>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let wrong = segment
        .split('.')
        .map(|label| (label, rule(label)))
        .find(|(_, wrong)| !wrong.is_empty());
    if let Some((label, wrong)) = wrong {
        errors.extend(wrong.into_iter().map(|why| {
            let why = format!(
                "validating label {}: {why}",
                knarr_meta::field::quote(label)
            );
            Error::invalid(path, segment, why)
        }));
    }
}

/// What pods tell a signer beside. Upstream's `ValidateUserAnnotations`.
pub(crate) fn validate_user_annotations(
    annotations: &serde_json::Map<String, serde_json::Value>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for key in annotations.keys() {
        let key = key.to_lowercase();
        if key.is_empty() {
            errors.push(Error::required(path, ""));
            continue;
        }
        let wrong = names::qualified_name(&key);
        if wrong.is_empty() && !key.contains('/') {
            let form = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.push(Error::invalid(path, &*key, form));
        }
        errors.extend(
            wrong
                .into_iter()
                .map(|why| Error::invalid(path, &*key, why)),
        );
    }
    let bytes: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    let limit = knarr_meta::object_meta::TOTAL_ANNOTATION_SIZE_LIMIT_BYTES;
    if bytes > limit {
        errors.push(Error::too_long(path, limit));
    }
}
