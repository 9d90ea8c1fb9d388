//! Validation of the sources of projected volumes.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, i64_at, list_at, map_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::Value;

use super::{
    Within,
    files::{validate_downward_file, validate_key_to_path, validate_mode, validate_not_reserved},
};
use crate::{
    certificates::{
        MIN_POD_CERTIFICATE_SECONDS, cluster_trust_bundle, max_pod_certificate_seconds,
        validate_signer_name, validate_user_annotations,
    },
    validate,
};

const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;

const SOURCES: [&str; 6] = [
    "secret",
    "configMap",
    "downwardAPI",
    "serviceAccountToken",
    "clusterTrustBundle",
    "podCertificate",
];

const KEY_TYPES: [&str; 6] = [
    "RSA3072",
    "RSA4096",
    "ECDSAP256",
    "ECDSAP384",
    "ECDSAP521",
    "ED25519",
];

/// Where sources put their files.
const CERTIFICATE_PATHS: [&str; 3] = ["credentialBundlePath", "keyPath", "certificateChainPath"];

pub(super) fn validate_projected(
    source: &Value,
    within: Within,
    path: &Path,
    errors: &mut ErrorList,
) {
    validate_mode(source, "defaultMode", path, errors);
    let mut taken = Taken {
        path,
        within,
        files: HashSet::new(),
    };
    for (index, projection) in list_at(source, &["sources"]).iter().enumerate() {
        let source_path = path.child("sources").index(index);
        let mut count = 0;
        for kind in SOURCES {
            if let Some(part) = struct_at(projection, &[kind]) {
                count += 1;
                validate_source(part, kind, &source_path.child(kind), &mut taken, errors);
            }
        }
        if count > 1 {
            errors.push(Error::forbidden(
                &source_path,
                "may not specify more than 1 volume type per source",
            ));
        }
    }
}

/// The files that sources have put into the volume.
struct Taken<'a> {
    /// The volume's.
    path: &'a Path,
    within: Within,
    files: HashSet<&'a str>,
}

impl<'a> Taken<'a> {
    /// `shown` is what upstream names where the file is there already.
    fn take(&mut self, file: &'a str, shown: &str, errors: &mut ErrorList) {
        if !file.is_empty() && !self.files.insert(file) {
            errors.push(Error::invalid(
                self.path,
                shown,
                "conflicting duplicate paths",
            ));
        }
    }
}

fn validate_source<'a>(
    part: &'a Value,
    kind: &str,
    path: &Path,
    taken: &mut Taken<'a>,
    errors: &mut ErrorList,
) {
    match kind {
        "secret" | "configMap" => {
            validate::filled(errors, part, &["name"], path);
            for (index, item) in list_at(part, &["items"]).iter().enumerate() {
                validate_key_to_path(item, &path.child("items").index(index), errors);
                taken.take(str_at(item, &["path"]), str_at(part, &["name"]), errors);
            }
        }
        "downwardAPI" => {
            for item in list_at(part, &["items"]) {
                validate_downward_file(item, path, errors);
                let file = str_at(item, &["path"]);
                taken.take(file, file, errors);
            }
        }
        // Upstream names the volume's path here, not the projection's.
        "serviceAccountToken" => {
            validate_token(part, path, taken.path, errors);
            if taken.within != Within::StoredPod {
                let file = str_at(part, &["path"]);
                validate_not_reserved(file, &taken.path.child("path"), errors);
            }
        }
        "clusterTrustBundle" => {
            validate_trust_bundle(part, path, errors);
            let file = str_at(part, &["path"]);
            taken.take(file, file, errors);
        }
        _ => {
            validate_certificate(part, path, errors);
            validate_certificate_files(part, path, taken, errors);
        }
    }
}

fn validate_token(part: &Value, path: &Path, volume: &Path, errors: &mut ErrorList) {
    let seconds = i64_at(part, &["expirationSeconds"]).unwrap_or_default();
    let seconds_path = path.child("expirationSeconds");
    if seconds < MIN_TOKEN_SECONDS {
        errors.push(Error::invalid(
            &seconds_path,
            seconds,
            "may not specify a duration less than 10 minutes",
        ));
    } else if seconds > MAX_TOKEN_SECONDS {
        errors.push(Error::invalid(
            &seconds_path,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    validate::filled(errors, part, &["path"], volume);
}

fn validate_trust_bundle(part: &Value, path: &Path, errors: &mut ErrorList) {
    let text = |field| at(part, &[field]).and_then(Value::as_str);
    let selector = struct_at(part, &["labelSelector"]);
    match (text("name"), text("signerName")) {
        (Some(_), Some(_)) => {
            let why = "only one of name and signerName may be used";
            errors.push(Error::invalid(path, part.clone(), why));
        }
        (Some(name), None) => {
            let name_path = path.child("name");
            if name.is_empty() {
                errors.push(Error::required(&name_path, "must be a valid object name"));
            }
            // A name with a colon is that of a signer's bundle.
            let signer = name
                .rsplit_once(':')
                .map(|(signer, _)| signer.replace(':', "/"))
                .unwrap_or_default();
            for why in cluster_trust_bundle::validate_name(&signer, name, false) {
                let why = format!("not a valid clustertrustbundlename: {why}");
                errors.push(Error::invalid(&name_path, name, why));
            }
            if let Some(selector) = selector {
                let why = "labelSelector must be unset if name is specified";
                let path = path.child("labelSelector");
                errors.push(Error::invalid(&path, selector.clone(), why));
            }
        }
        (None, Some(signer)) => {
            let signer_path = path.child("signerName");
            if signer.is_empty() {
                errors.push(Error::required(&signer_path, "must be a valid signer name"));
            }
            validate_signer_name(signer, &signer_path, errors);
            if let Some(selector) = selector {
                validate_label_selector(selector, &path.child("labelSelector"), errors);
            }
        }
        (None, None) => {
            let why = "either name or signerName must be specified";
            errors.push(Error::required(path, why));
        }
    }
    validate::filled(errors, part, &["path"], path);
    validate_not_reserved(str_at(part, &["path"]), &path.child("path"), errors);
}

fn validate_certificate(part: &Value, path: &Path, errors: &mut ErrorList) {
    let signer = str_at(part, &["signerName"]);
    validate_signer_name(signer, &path.child("signerName"), errors);
    if let Some(annotations) = map_at(part, &["userAnnotations"]) {
        validate_user_annotations(annotations, &path.child("userAnnotations"), errors);
    }
    let key_type = str_at(part, &["keyType"]);
    if !KEY_TYPES.contains(&key_type) {
        let path = path.child("keyType");
        errors.push(Error::not_supported(&path, key_type, &KEY_TYPES));
    }
    if let Some(seconds) = i64_at(part, &["maxExpirationSeconds"]) {
        let path = path.child("maxExpirationSeconds");
        let (min, max) = (
            MIN_POD_CERTIFICATE_SECONDS,
            max_pod_certificate_seconds(signer),
        );
        let mut refuse = |why: String| errors.push(Error::invalid(&path, seconds, why));
        if seconds < min {
            refuse(format!(
                "if provided, maxExpirationSeconds must be >= {min}"
            ));
        }
        if seconds > max {
            refuse(format!(
                "if provided, maxExpirationSeconds must be <= {max}"
            ));
        }
    }
}

fn validate_certificate_files<'a>(
    part: &'a Value,
    path: &Path,
    taken: &mut Taken<'a>,
    errors: &mut ErrorList,
) {
    let mut found = false;
    for field in CERTIFICATE_PATHS {
        let file = str_at(part, &[field]);
        if file.is_empty() {
            continue;
        }
        found = true;
        validate_not_reserved(file, &path.child(field), errors);
        taken.take(file, file, errors);
    }
    if !found {
        errors.push(Error::required(
            path,
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
        ));
    }
}
