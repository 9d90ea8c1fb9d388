//! AuthorizationConfiguration: a file, or what flags say in its place.

use std::{
    collections::BTreeSet,
    path::{Path as FilePath, PathBuf},
    time::Duration,
};

use knarr_cel::{Env, Program};
use knarr_config::ConfigFile;
use knarr_meta::{
    field::{self, Error as FieldError, ErrorList, Path},
    names,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{
    Error, Options, review,
    webhook::{FailurePolicy, Settings},
};

const FILE_BYTES: u64 = 4 << 20;
const VERSIONS: [&str; 2] = [
    "apiserver.config.k8s.io/v1",
    "apiserver.config.k8s.io/v1beta1",
];
const KIND: &str = "AuthorizationConfiguration";
/// What a file may name, in the order in which upstream lists it.
const TYPES: [&str; 3] = ["Node", "RBAC", "Webhook"];
const MAX_CONDITIONS: usize = 64;
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// Upstream's defaults.
const AUTHORIZED_TTL: Duration = Duration::from_secs(5 * 60);
const UNAUTHORIZED_TTL: Duration = Duration::from_secs(30);

/// One of the chain.
#[derive(Debug)]
pub struct Authorizer {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Node,
    Rbac,
    Webhook(Box<Settings>),
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    authorizers: Vec<AuthorizerFile>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct AuthorizerFile {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    webhook: Option<WebhookFile>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct WebhookFile {
    #[serde(rename = "authorizedTTL", deserialize_with = "duration")]
    authorized_ttl: Option<Duration>,
    cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL", deserialize_with = "duration")]
    unauthorized_ttl: Option<Duration>,
    cache_unauthorized_requests: Option<bool>,
    #[serde(deserialize_with = "duration")]
    timeout: Option<Duration>,
    subject_access_review_version: String,
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: ConnectionInfo,
    match_conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct ConnectionInfo {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Condition {
    expression: String,
}

/// `5m0s`; none where it is zero.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let parsed: jiff::SignedDuration = text.parse().map_err(serde::de::Error::custom)?;
    let duration = Duration::try_from(parsed).map_err(serde::de::Error::custom)?;
    Ok((!duration.is_zero()).then_some(duration))
}

/// A file of this kind.
pub fn file(path: &FilePath) -> ConfigFile {
    ConfigFile::new(path, FILE_BYTES)
}

/// Reads a file.
pub fn read(file: &ConfigFile) -> Result<Vec<Authorizer>, Error> {
    Ok(file.parse(parse)?)
}

/// Parses a file, strictly: a field that nobody knows may have been meant to keep somebody out.
fn parse(text: &[u8]) -> Result<Vec<Authorizer>, String> {
    let tree: Value = serde_saphyr::from_slice(text).map_err(|error| error.to_string())?;
    let file: File =
        serde_json::from_value(tree).map_err(|error| format!("strict decoding error: {error}"))?;
    if file.kind != KIND || !VERSIONS.contains(&&*file.api_version) {
        return Err(format!(
            "no kind {:?} is registered for version {:?}",
            file.kind, file.api_version
        ));
    }
    let (authorizers, errors) = validate(&file);
    match errors.is_empty() {
        true => Ok(authorizers),
        false => Err(field::aggregate(&errors)),
    }
}

/// What flags say.
pub fn of_flags(options: &Options) -> Result<Vec<Authorizer>, Error> {
    let modes = match options.modes.is_empty() {
        true => vec!["Node".to_owned(), "RBAC".to_owned()],
        false => options.modes.clone(),
    };
    let failed = |why: String| Err(Error::Flags(why));
    let mut seen = BTreeSet::new();
    if let Some(twice) = modes.iter().find(|mode| !seen.insert(mode.as_str())) {
        return failed(format!(
            "authorization-mode {twice:?} is specified more than once"
        ));
    }
    if options.webhook.is_some() && !seen.contains("Webhook") {
        let why = "cannot specify --authorization-webhook-config-file without mode Webhook";
        return failed(why.to_owned());
    }
    let mut authorizers = Vec::new();
    for mode in &modes {
        let kind = match (mode.as_str(), &options.webhook) {
            ("Node", _) => Kind::Node,
            ("RBAC", _) => Kind::Rbac,
            ("Webhook", Some(flags)) => Kind::Webhook(Box::new(Settings {
                kubeconfig: flags.config_file.clone(),
                version: "v1".to_owned(),
                timeout: MAX_TIMEOUT,
                authorized_ttl: flags.authorized_ttl,
                unauthorized_ttl: flags.unauthorized_ttl,
                failure_policy: FailurePolicy::NoOpinion,
                conditions: Vec::new(),
            })),
            ("Webhook", None) => {
                let why = "authorization-mode Webhook's authorization config file not passed";
                return failed(why.to_owned());
            }
            (other, _) => {
                return failed(format!("authorization-mode {other:?} is not a valid mode"));
            }
        };
        authorizers.push(Authorizer {
            name: mode.to_lowercase(),
            kind,
        });
    }
    Ok(authorizers)
}

fn validate(file: &File) -> (Vec<Authorizer>, ErrorList) {
    let path = Path::new("authorizers");
    let (mut authorizers, mut errors) = (Vec::new(), Vec::new());
    if file.authorizers.is_empty() {
        let why = "at least one authorization mode must be defined";
        errors.push(FieldError::required(&path, why));
    }
    for (at, one) in file.authorizers.iter().enumerate() {
        let (path, before) = (path.index(at), &file.authorizers[..at]);
        if !is_type(one, before, &path.child("type"), &mut errors) {
            continue;
        }
        name(&one.name, before, &path.child("name"), &mut errors);
        let kind = match (&*one.kind, &one.webhook) {
            ("Webhook", None) => {
                let why = "required when type=Webhook";
                errors.push(FieldError::required(&path.child("webhook"), why));
                None
            }
            ("Webhook", Some(webhook)) => settings(webhook, &path, &mut errors),
            (_, Some(_)) => {
                let why = "may only be specified when type=Webhook";
                errors.push(FieldError::invalid(&path.child("webhook"), "non-null", why));
                None
            }
            ("Node", None) => Some(Kind::Node),
            _ => Some(Kind::Rbac),
        };
        authorizers.extend(kind.map(|kind| Authorizer {
            name: one.name.clone(),
            kind,
        }));
    }
    (authorizers, errors)
}

fn is_type(
    one: &AuthorizerFile,
    before: &[AuthorizerFile],
    path: &Path,
    errors: &mut ErrorList,
) -> bool {
    let kind = &*one.kind;
    let wrong = if kind.is_empty() {
        FieldError::required(path, "")
    } else if !TYPES.contains(&kind) {
        FieldError::not_supported(path, kind, &TYPES)
    } else if kind != "Webhook" && before.iter().any(|other| other.kind == kind) {
        FieldError::duplicate(path, kind)
    } else {
        return true;
    };
    errors.push(wrong);
    false
}

fn name(name: &str, before: &[AuthorizerFile], path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if before.iter().any(|other| other.name == name) {
        errors.push(FieldError::duplicate(path, name));
    } else {
        let wrong = names::dns1123_subdomain(name);
        if !wrong.is_empty() {
            let why = format!("authorizer name is invalid: {}", wrong.join(", "));
            errors.push(FieldError::invalid(path, name, why));
        }
    }
}

/// Those of a webhook; paths are those of its authorizer, as upstream's.
fn settings(webhook: &WebhookFile, path: &Path, errors: &mut ErrorList) -> Option<Kind> {
    let before = errors.len();
    let timeout = webhook.timeout.unwrap_or_default();
    if timeout.is_zero() {
        errors.push(FieldError::required(&path.child("timeout"), ""));
    } else if timeout > MAX_TIMEOUT {
        let told = format!("{timeout:?}");
        let why = "must be > 0s and <= 30s";
        errors.push(FieldError::invalid(&path.child("timeout"), told, why));
    }
    let versions = path.child("subjectAccessReviewVersion");
    one_of(
        &webhook.subject_access_review_version,
        &["v1", "v1beta1"],
        &versions,
        errors,
    );
    let version = &*webhook.match_condition_subject_access_review_version;
    let versions = path.child("matchConditionSubjectAccessReviewVersion");
    match version {
        "" if !webhook.match_conditions.is_empty() => {
            let why = "required if match conditions are specified";
            errors.push(FieldError::required(&versions, why));
        }
        "" | "v1" => {}
        other => errors.push(FieldError::not_supported(&versions, other, &["v1"])),
    }
    let policies = ["NoOpinion", "Deny"];
    one_of(
        &webhook.failure_policy,
        &policies,
        &path.child("failurePolicy"),
        errors,
    );
    let kubeconfig = connection(
        &webhook.connection_info,
        &path.child("connectionInfo"),
        errors,
    );
    let conditions = conditions(&webhook.match_conditions, path, errors);
    let ttl = |cached: Option<bool>, ttl: Option<Duration>, default| match cached {
        Some(false) => Duration::ZERO,
        _ => ttl.unwrap_or(default),
    };
    let settings = Settings {
        kubeconfig: kubeconfig?,
        version: webhook.subject_access_review_version.clone(),
        timeout,
        authorized_ttl: ttl(
            webhook.cache_authorized_requests,
            webhook.authorized_ttl,
            AUTHORIZED_TTL,
        ),
        unauthorized_ttl: ttl(
            webhook.cache_unauthorized_requests,
            webhook.unauthorized_ttl,
            UNAUTHORIZED_TTL,
        ),
        failure_policy: match &*webhook.failure_policy {
            "Deny" => FailurePolicy::Deny,
            _ => FailurePolicy::NoOpinion,
        },
        conditions,
    };
    (errors.len() == before).then(|| Kind::Webhook(Box::new(settings)))
}

fn one_of(value: &str, known: &[&str], path: &Path, errors: &mut ErrorList) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !known.contains(&value) {
        errors.push(FieldError::not_supported(path, value, known));
    }
}

fn connection(info: &ConnectionInfo, path: &Path, errors: &mut ErrorList) -> Option<PathBuf> {
    let file_path = path.child("kubeConfigFile");
    match &*info.kind {
        "" => errors.push(FieldError::required(&path.child("type"), "")),
        "KubeConfigFile" => {}
        // The server that would be asked is this one.
        other => {
            let known = ["KubeConfigFile"];
            errors.push(FieldError::not_supported(
                &path.child("type"),
                other,
                &known,
            ));
        }
    }
    let Some(file) = info
        .kube_config_file
        .as_ref()
        .filter(|file| !file.as_os_str().is_empty())
    else {
        errors.push(FieldError::required(&file_path, ""));
        return None;
    };
    let told = file.display().to_string();
    if !file.is_absolute() {
        errors.push(FieldError::invalid(
            &file_path,
            told,
            "must be an absolute path",
        ));
        return None;
    }
    match std::fs::metadata(file) {
        Ok(found) if found.is_file() => return Some(file.clone()),
        Ok(_) => errors.push(FieldError::invalid(
            &file_path,
            told,
            "must be a regular file",
        )),
        Err(error) => {
            let why = format!("error loading file: {error}");
            errors.push(FieldError::invalid(&file_path, told, why));
        }
    }
    None
}

fn conditions(conditions: &[Condition], path: &Path, errors: &mut ErrorList) -> Vec<Program> {
    let path = path.child("matchConditions");
    if conditions.len() > MAX_CONDITIONS {
        errors.push(FieldError::too_many(
            &path,
            conditions.len(),
            MAX_CONDITIONS,
        ));
        return Vec::new();
    }
    let env = Env::default().with("request", review::spec_type().clone());
    let mut programs = Vec::new();
    for (at, condition) in conditions.iter().enumerate() {
        let (path, source) = (path.index(at).child("expression"), &*condition.expression);
        if source.trim().is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if conditions[..at]
            .iter()
            .any(|other| other.expression == source)
        {
            errors.push(FieldError::duplicate(&path, source));
        } else {
            match Program::compile(source, &env) {
                Ok(program) if program.result.is_bool() => programs.push(program),
                Ok(_) => errors.push(FieldError::invalid(&path, source, "must evaluate to bool")),
                Err(error) => {
                    let why = format!("compilation failed: {error}");
                    errors.push(FieldError::invalid(&path, source, why));
                }
            }
        }
    }
    programs
}

#[cfg(test)]
mod tests;
