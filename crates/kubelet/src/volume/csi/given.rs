//! What a driver is given besides the volume: secrets, and what it wants to know of the pod.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret, SecretReference, ServiceAccountTokenProjection};
use knarr_client::errors;
use kube::Api;
use serde::Serialize;

use super::{
    places::{Lifecycle, Strings},
    settings::Settings,
};
use crate::{
    context::{self, Context},
    volume::READ_TIMEOUT,
};

const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

/// The entries of a Secret; none where none is named.
pub(super) async fn secret(
    client: &kube::Client,
    reference: Option<&SecretReference>,
) -> Result<Strings, String> {
    let Some(reference) = reference else {
        return Ok(Strings::new());
    };
    let name = reference.name.as_deref().unwrap_or_default();
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |why: &str| {
        format!(
            "kubernetes.io/csi: failed to find the secret {name} in the namespace {namespace} with error: {why}"
        )
    };
    let found = tokio::time::timeout(READ_TIMEOUT, api.get(name)).await;
    let found = found.map_err(|_| failed("context deadline exceeded"))?;
    let found = found.map_err(|error| failed(&errors::message(&error)))?;
    let mut entries = Strings::new();
    for (key, value) in found.data.into_iter().flatten() {
        // The protocol has text only.
        let text = String::from_utf8(value.0).map_err(|_| failed(&format!("{key} is not text")))?;
        entries.insert(key, text);
    }
    Ok(entries)
}

/// What the volume's context says of the pod.
pub(super) fn pod_info(pod: &Pod, lifecycle: Lifecycle) -> Strings {
    let spec = pod.spec.as_ref();
    let account = spec.and_then(|spec| spec.service_account_name.as_deref());
    let ephemeral = lifecycle == Lifecycle::Ephemeral;
    [
        ("csi.storage.k8s.io/pod.name", context::name(pod)),
        ("csi.storage.k8s.io/pod.namespace", context::namespace(pod)),
        ("csi.storage.k8s.io/pod.uid", context::uid(pod)),
        (
            "csi.storage.k8s.io/serviceAccount.name",
            account.unwrap_or_default(),
        ),
        (
            "csi.storage.k8s.io/ephemeral",
            if ephemeral { "true" } else { "false" },
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// A token as drivers read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenStatus {
    token: String,
    expiration_timestamp: Timestamp,
}

/// Tokens of the pod's account for the audiences that the driver wants them for, and when they are to be renewed.
pub(super) async fn tokens(
    ctx: &Context,
    pod: &Pod,
    settings: &Settings,
) -> Result<Option<(Strings, Timestamp)>, String> {
    let mut statuses = BTreeMap::new();
    let mut refresh_at = Timestamp::MAX;
    for wanted in &settings.tokens {
        let source = ServiceAccountTokenProjection {
            audience: Some(wanted.audience.clone()),
            expiration_seconds: wanted.expiration_seconds,
            path: String::new(),
        };
        let token = ctx.tokens.get(pod, &source).await?;
        refresh_at = refresh_at.min(token.refresh_at);
        let one = TokenStatus {
            expiration_timestamp: token.expires_at,
            token: token.text,
        };
        statuses.insert(wanted.audience.as_str(), one);
    }
    if statuses.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(&statuses).map_err(|error| error.to_string())?;
    Ok(Some((
        Strings::from([(TOKENS.to_owned(), text)]),
        refresh_at,
    )))
}
