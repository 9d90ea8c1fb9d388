//! The scale of a target, whatever kind that is.

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use knarr_client::errors;
use knarr_meta::labels::Selector;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::GroupVersionKind;

/// How often a change of the scale is tried when others change the target too.
const ATTEMPTS: usize = 5;

/// Finds the scale, and where it is written.
pub(super) async fn find(
    client: &kube::Client,
    namespace: &str,
    target: &CrossVersionObjectReference,
) -> Result<(Api<DynamicObject>, Scale), String> {
    let api_version = target.api_version.as_deref().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if version.contains('/') {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let served = kube::discovery::pinned_kind(client, &kind).await;
    let (resource, _) =
        served.map_err(|_| format!("no matches for kind {:?} in group {group:?}", target.kind))?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let scale = api.get_scale(&target.name).await;
    let scale = scale.map_err(|error| errors::message(&error))?;
    readable(&scale)?;
    Ok((api, scale))
}

/// A custom resource may say anything in its selector's place.
fn readable(scale: &Scale) -> Result<(), String> {
    let selector = scale.status.as_ref().and_then(|s| s.selector.as_deref());
    let parsed = Selector::parse(selector.unwrap_or_default());
    parsed.map(drop).map_err(|error| {
        let selector = selector.unwrap_or_default();
        format!(
            "received an object from a /scale endpoint which was not convertible to autoscaling Scale: failed to parse target selector: couldn't parse the selector string {selector:?}: {error}"
        )
    })
}

/// How many replicas are asked for.
pub(super) fn replicas(scale: &Scale) -> i32 {
    let spec = scale.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(0)
}

/// Writes the replicas, also where somebody else has written the target meanwhile.
pub(super) async fn put(
    api: &Api<DynamicObject>,
    mut scale: Scale,
    replicas: i32,
) -> Result<(), String> {
    let name = scale.metadata.name.clone().unwrap_or_default();
    let mut attempt = 1;
    loop {
        scale.spec.get_or_insert_default().replicas = Some(replicas);
        let put = api
            .replace_scale(&name, &PostParams::default(), &scale)
            .await;
        let error = match put {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !errors::is_conflict(&error) || attempt == ATTEMPTS {
            return Err(errors::message(&error));
        }
        attempt += 1;
        let latest = api.get_scale(&name).await;
        scale = latest.map_err(|error| errors::message(&error))?;
    }
}
