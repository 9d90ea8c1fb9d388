//! What upstream's `ValidateEncryptionConfiguration` refuses, with its paths and words.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_meta::field::{Error, Path};
use serde_json::{Value, json};

use super::{
    EncryptionConfiguration, GroupResource, Key, KeysConfiguration, KmsConfiguration,
    ProviderConfiguration,
};

const AES_KEYS: [usize; 3] = [16, 24, 32];
const SECRETBOX_KEYS: [usize; 1] = [32];
/// Kept in the store without being resources.
const NO_RESOURCES: [&str; 3] = [
    "apiserveripinfo",
    "serviceipallocations",
    "servicenodeportallocations",
];

/// All that is wrong. `reload`: names of plugins have to be unique then, whatever their version.
pub fn validate(file: &EncryptionConfiguration, reload: bool) -> Vec<Error> {
    let root = Path::new("resources");
    let required = |path: &Path| Error::required(path, format!("at least one {path} is required"));
    if file.resources.is_empty() {
        return vec![required(&root)];
    }
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for (n, rule) in file.resources.iter().enumerate() {
        let (resources, providers) = (
            root.index(n).child("resources"),
            root.index(n).child("providers"),
        );
        if rule.resources.is_empty() {
            errors.push(required(&resources));
        }
        errors.extend(overlap(&rule.resources, &resources));
        errors.extend(wrong_names(&rule.resources, &resources));
        if rule.providers.is_empty() {
            errors.push(required(&providers));
        }
        for (n, provider) in rule.providers.iter().enumerate() {
            let path = providers.index(n);
            errors.extend(one_of(provider, &path));
            if let Some(kms) = &provider.kms {
                errors.extend(wrong_kms(kms, &path.child("kms"), &names, reload));
                names.insert(kms.name.clone());
            } else if let Some(keys) = &provider.aesgcm {
                errors.extend(wrong_keys(keys, &path.child("aesgcm"), &AES_KEYS));
            } else if let Some(keys) = &provider.aescbc {
                errors.extend(wrong_keys(keys, &path.child("aescbc"), &AES_KEYS));
            } else if let Some(keys) = &provider.secretbox {
                errors.extend(wrong_keys(keys, &path.child("secretbox"), &SECRETBOX_KEYS));
            }
        }
    }
    errors
}

/// Of one list: resources that are there twice, or that a wildcard beside them means, too.
fn overlap(resources: &[String], path: &Path) -> Vec<Error> {
    let all: Vec<_> = (resources.iter())
        .map(|text| GroupResource::parse(text))
        .collect();
    let pairs = || {
        let others = |i| all.iter().enumerate().filter(move |(j, _)| *j != i);
        (all.iter().enumerate())
            .flat_map(move |(i, one)| others(i).map(move |(_, other)| (one, other)))
    };
    // The first equal pair is a duplicate and nothing else; a further one may be an overlap, too, as upstream has it.
    let duplicate = pairs().position(|(one, other)| one == other);
    let any = GroupResource::all_of("*");
    let wide = pairs().enumerate().any(|(n, (one, other))| {
        let wildcard = one.resource == "*" || other.resource == "*";
        Some(n) != duplicate && (*one == any || (one.group == other.group && wildcard))
    });
    let invalid = |detail: &str| Error::invalid(path, json!(resources), detail);
    let duplicate =
        duplicate.map(|_| invalid("the same resource cannot be specified multiple times"));
    let wide = wide.then(|| {
        invalid("using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked")
    });
    duplicate.into_iter().chain(wide).collect()
}

fn wrong_names(resources: &[String], path: &Path) -> Vec<Error> {
    let wrong = |text: &str| {
        let GroupResource { group, resource } = GroupResource::parse(text);
        Some(if text.to_lowercase() != *text {
            "resource name should not contain capital letters"
        } else if text == "*" {
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        } else if NO_RESOURCES.contains(&text) {
            "resources which do not have REST API/s cannot be encrypted"
        } else if group == "events.k8s.io" {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
        } else if group == "extensions" {
            "'extensions' group has been removed and cannot be used for encryption"
        } else if group == "*" && resource != "*" {
            "encrypting the same resource across groups is not supported"
        } else {
            return None;
        })
    };
    (resources.iter().enumerate())
        .filter_map(|(n, text)| Some(Error::invalid(&path.index(n), text.as_str(), wrong(text)?)))
        .collect()
}

fn one_of(provider: &ProviderConfiguration, path: &Path) -> Option<Error> {
    let given: Vec<&str> = [
        ("kms", provider.kms.is_some()),
        ("aesgcm", provider.aesgcm.is_some()),
        ("aescbc", provider.aescbc.is_some()),
        ("secretbox", provider.secretbox.is_some()),
        ("identity", provider.identity.is_some()),
    ]
    .iter()
    .filter_map(|(name, given)| given.then_some(*name))
    .collect();
    // Keys are in what is wrong: their names only are told.
    let invalid = |detail: &str| Some(Error::invalid(path, json!(given), detail));
    match given.len() {
        0 => invalid(
            "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity",
        ),
        1 => None,
        _ => invalid(
            "more than one provider specified in a single element, should split into different list elements",
        ),
    }
}

fn wrong_keys(keys: &KeysConfiguration, path: &Path, lengths: &[usize]) -> Vec<Error> {
    let path = path.child("keys");
    if keys.keys.is_empty() {
        return vec![Error::required(&path, "at least one keys is required")];
    }
    (keys.keys.iter().enumerate())
        .flat_map(|(n, key)| wrong_key(key, &path.index(n), lengths))
        .collect()
}

fn wrong_key(key: &Key, path: &Path, lengths: &[usize]) -> Vec<Error> {
    let mut errors = Vec::new();
    if key.name.is_empty() {
        let detail = "name is a mandatory field for a key";
        errors.push(Error::required(&path.child("name"), detail));
    }
    let path = path.child("secret");
    if key.secret.is_empty() {
        let detail = "secret is a mandatory field for a key";
        errors.push(Error::required(&path, detail));
        return errors;
    }
    match STANDARD.decode(&key.secret) {
        Err(_) => errors.push(Error::invalid(
            &path,
            "REDACTED",
            "secrets must be base64 encoded",
        )),
        Ok(secret) if !lengths.contains(&secret.len()) => {
            let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
            let detail = format!(
                "secret is not of the expected length, got {}, expected one of [{}]",
                secret.len(),
                lengths.join(" ")
            );
            errors.push(Error::invalid(&path, "REDACTED", detail));
        }
        Ok(_) => {}
    }
    errors
}

fn wrong_kms(
    kms: &KmsConfiguration,
    path: &Path,
    names: &BTreeSet<String>,
    reload: bool,
) -> Vec<Error> {
    let (version, name) = (kms.version(), &*kms.name);
    let mut errors = Vec::new();
    let at = path.child("name");
    if name.is_empty() {
        errors.push(Error::required(
            &at,
            "name is a mandatory field for a provider",
        ));
    }
    if version != "v1" && name.contains(':') {
        let detail = format!("invalid KMS provider name {name}, must not contain ':'");
        errors.push(Error::invalid(&at, name, detail));
    }
    if (reload || version != "v1") && names.contains(name) {
        let detail = format!("duplicate KMS provider name {name}, names must be unique");
        errors.push(Error::invalid(&at, name, detail));
    }
    if kms.timeout().is_none() {
        let given = kms.timeout.clone().unwrap_or_default();
        let detail = "timeout should be a positive value";
        errors.push(Error::invalid(&path.child("timeout"), given, detail));
    }
    errors.extend(wrong_endpoint(&kms.endpoint, &path.child("endpoint")));
    let at = path.child("cachesize");
    match kms.cachesize {
        Some(size) if version != "v1" => {
            errors.push(Error::invalid(
                &at,
                size,
                "cachesize is not supported in v2",
            ));
        }
        Some(0) => {
            let detail = "cachesize should be a positive value, or negative to disable";
            errors.push(Error::invalid(&at, 0, detail));
        }
        _ => {}
    }
    if !matches!(version, "v1" | "v2") {
        let detail =
            "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.push(Error::invalid(&path.child("apiVersion"), version, detail));
    }
    errors
}

fn wrong_endpoint(endpoint: &str, path: &Path) -> Option<Error> {
    let invalid = |detail: String| Some(Error::invalid(path, Value::from(endpoint), detail));
    if endpoint.is_empty() {
        return invalid("endpoint is a mandatory field for a kms".to_owned());
    }
    match endpoint.split_once(':') {
        Some(("unix", _)) => None,
        Some(("", _)) => invalid(format!(
            "invalid endpoint for kms provider, error: parse {endpoint:?}: missing protocol scheme"
        )),
        Some((scheme, _)) if !scheme.contains('/') => invalid(format!(
            "unsupported scheme {scheme:?} for KMS provider, only unix is supported"
        )),
        _ => invalid("unsupported scheme \"\" for KMS provider, only unix is supported".to_owned()),
    }
}
