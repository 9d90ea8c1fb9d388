//! ServiceAccount: every pod runs as an account that exists, and its containers see the account's token.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use knarr_auth::{authz::node::references, objects::Objects};
use knarr_meta::{names, object, status::Status};
use serde_json::{Map, Value, json};

use super::{MIRROR_ANNOTATION, forbidden, is, is_pod, list, parse, spec};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const DEFAULT_ACCOUNT: &str = "default";
/// Prefix of the token volume's name.
const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds that the kubelet asks for; the API server knows this number (see `tokens::request`).
const TOKEN_SECONDS: i64 = 3607;
const VOLUME_MODE: i64 = 0o644;
const ENFORCE_ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
/// A new namespace gets its `default` account from a controller: a pod that comes at once waits this long for it.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_millis(1500);

/// The plugin.
pub struct ServiceAccount {
    objects: Arc<dyn Objects>,
}

impl ServiceAccount {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        ServiceAccount { objects }
    }

    async fn account(&self, request: &AdmissionRequest<'_>, name: &str) -> Result<Value, Status> {
        let namespace = request.namespace;
        let wait = match name {
            DEFAULT_ACCOUNT => DEFAULT_ACCOUNT_WAIT,
            _ => Duration::ZERO,
        };
        let found = self
            .objects
            .appears("", "serviceaccounts", namespace, name, wait)
            .await;
        found.and_then(|found| parse(&found)).ok_or_else(|| {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
            );
            forbidden(request, why)
        })
    }
}

fn is_mirror(pod: &Value) -> bool {
    object::annotation(pod, MIRROR_ANNOTATION).is_some()
}

#[async_trait]
impl AdmissionPlugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        let created = is_pod(request) && request.operation == Operation::Create;
        (created || adds_ephemeral(request)) && request.object.is_some()
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        if adds_ephemeral(request) {
            return Ok(());
        }
        let Some(pod) = request.object.as_deref() else {
            return Ok(());
        };
        // A changed mirror would not match its kubelet's file.
        if is_mirror(pod) {
            return self.validate(request).await;
        }
        let name = match object::str_at(pod, &["spec", "serviceAccountName"]) {
            "" => DEFAULT_ACCOUNT.to_owned(),
            name => name.to_owned(),
        };
        let account = self.account(request, &name).await?;
        let Some(pod) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let spec = spec(pod)?;
        spec.insert("serviceAccountName".into(), name.as_str().into());
        // The deprecated twin that upstream still serves.
        spec.insert("serviceAccount".into(), name.into());
        if automount(&account, spec) {
            mount_token(spec);
        }
        if spec
            .get("imagePullSecrets")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
        {
            let secrets: Vec<Value> = object::list_at(&account, &["imagePullSecrets"])
                .iter()
                .map(|secret| json!({"name": object::str_at(secret, &["name"])}))
                .collect();
            if !secrets.is_empty() {
                spec.insert("imagePullSecrets".into(), secrets.into());
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(pod) = request.object.as_deref() else {
            return Ok(());
        };
        let ephemeral = adds_ephemeral(request);
        if is_mirror(pod) && !ephemeral {
            return validate_mirror(pod).map_err(|why| forbidden(request, why));
        }
        let name = object::str_at(pod, &["spec", "serviceAccountName"]);
        if name.is_empty() && ephemeral {
            let (namespace, pod) = (request.namespace, object::name(pod));
            let why = format!("no service account specified for pod {namespace}/{pod}");
            return Err(forbidden(request, why));
        }
        let account = self.account(request, name).await?;
        if matches!(
            object::annotation(&account, ENFORCE_ANNOTATION),
            Some("true" | "True" | "TRUE" | "t" | "T" | "1")
        ) {
            let limited = match ephemeral {
                true => limit_ephemeral_secrets(&account, pod),
                false => limit_secrets(&account, pod),
            };
            limited.map_err(|why| forbidden(request, why))?;
        }
        Ok(())
    }
}

/// Whether containers join a pod that is there: they are judged like it.
fn adds_ephemeral(request: &AdmissionRequest<'_>) -> bool {
    is(request, "", "pods")
        && request.subresource == "ephemeralcontainers"
        && request.operation == Operation::Update
}

/// The pod's wish, else the account's, else yes.
fn automount(account: &Value, spec: &Map<String, Value>) -> bool {
    let wish = |value: Option<&Value>| value.and_then(Value::as_bool);
    wish(spec.get("automountServiceAccountToken"))
        .or(wish(account.get("automountServiceAccountToken")))
        .unwrap_or(true)
}

fn mount_token(spec: &mut Map<String, Value>) {
    let volumes = spec
        .get("volumes")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let existing = volumes
        .iter()
        .map(|v| object::str_at(v, &["name"]))
        .find(|name| name.starts_with(VOLUME_PREFIX));
    let has_volume = existing.is_some();
    let volume = existing.map_or_else(|| names::generate(VOLUME_PREFIX), String::from);
    let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});

    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(field).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            let occupied = object::list_at(container, &["volumeMounts"])
                .iter()
                .any(|mount| object::str_at(mount, &["mountPath"]) == MOUNT_PATH);
            if occupied {
                continue;
            }
            if let Some(mounts) = container
                .as_object_mut()
                .and_then(|container| list(container, "volumeMounts"))
            {
                mounts.push(mount.clone());
                mounted = true;
            }
        }
    }
    if mounted
        && !has_volume
        && let Some(volumes) = list(spec, "volumes")
    {
        volumes.push(token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": VOLUME_MODE, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

fn validate_mirror(pod: &Value) -> Result<(), &'static str> {
    let references = references(pod);
    if !references.service_account.is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if !references.secrets.is_empty() {
        return Err("a mirror pod may not reference secrets");
    }
    let projects_token = object::list_at(pod, &["spec", "volumes"])
        .iter()
        .any(|volume| {
            object::list_at(volume, &["projected", "sources"])
                .iter()
                .any(|source| source.get("serviceAccountToken").is_some())
        });
    if projects_token {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// The same for containers that join a running pod.
fn limit_ephemeral_secrets(account: &Value, pod: &Value) -> Result<(), String> {
    let mountable: BTreeSet<&str> = object::list_at(account, &["secrets"])
        .iter()
        .map(|secret| object::str_at(secret, &["name"]))
        .collect();
    let refuse = |what: String, secret: &str| {
        let account = object::name(account);
        Err(format!(
            "ephemeral container {what} referencing secret.secretName=\"{secret}\" is not allowed because service account {account} does not reference that secret"
        ))
    };
    let at = |value| object::str_at(value, &["name"]);
    for container in object::list_at(pod, &["spec", "ephemeralContainers"]) {
        for variable in object::list_at(container, &["env"]) {
            let secret = object::str_at(variable, &["valueFrom", "secretKeyRef", "name"]);
            if !secret.is_empty() && !mountable.contains(secret) {
                let what = format!("{} with envVar {}", at(container), at(variable));
                return refuse(what, secret);
            }
        }
        for source in object::list_at(container, &["envFrom"]) {
            let secret = object::str_at(source, &["secretRef", "name"]);
            if !secret.is_empty() && !mountable.contains(secret) {
                return refuse(format!("{} with envFrom", at(container)), secret);
            }
        }
    }
    Ok(())
}

/// For accounts with the annotation: only secrets that the account lists.
fn limit_secrets(account: &Value, pod: &Value) -> Result<(), String> {
    let named = |field: &str| -> BTreeSet<&str> {
        object::list_at(account, &[field])
            .iter()
            .map(|secret| object::str_at(secret, &["name"]))
            .collect()
    };
    let (name, mountable, pulls) = (
        object::name(account),
        named("secrets"),
        named("imagePullSecrets"),
    );
    let refuse = |what: String, secret: &str| {
        Err(format!(
            "{what} secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
        ))
    };
    for volume in object::list_at(pod, &["spec", "volumes"]) {
        let secret = object::str_at(volume, &["secret", "secretName"]);
        if volume.get("secret").is_some() && !mountable.contains(secret) {
            return refuse("volume with".into(), secret);
        }
    }
    for (field, label) in [
        ("initContainers", "init container"),
        ("containers", "container"),
    ] {
        for container in object::list_at(pod, &["spec", field]) {
            for variable in object::list_at(container, &["env"]) {
                let secret = object::str_at(variable, &["valueFrom", "secretKeyRef", "name"]);
                if !secret.is_empty() && !mountable.contains(secret) {
                    let at = |value| object::str_at(value, &["name"]);
                    return refuse(
                        format!(
                            "{label} {} with envVar {} referencing",
                            at(container),
                            at(variable)
                        ),
                        secret,
                    );
                }
            }
        }
    }
    for (index, secret) in object::list_at(pod, &["spec", "imagePullSecrets"])
        .iter()
        .enumerate()
    {
        let secret = object::str_at(secret, &["name"]);
        if !pulls.contains(secret) {
            return Err(format!(
                "imagePullSecrets[{index}].name=\"{secret}\" is not allowed because service account {name} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}
