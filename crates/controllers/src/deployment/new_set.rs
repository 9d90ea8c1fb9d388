//! The ReplicaSet of a Deployment's template.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_meta::names::DNS1123_SUBDOMAIN_MAX_LENGTH;

use super::template;
use crate::owners;

/// The ReplicaSet of the deployment's template. Its name follows from the template, so that making it twice fails.
pub(super) fn new_replica_set(deployment: &Deployment, status: &DeploymentStatus) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let hash = template::hash(&spec.template, status.collision_count);
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let mut template = spec.template;
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(template::HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector
        .match_labels
        .get_or_insert_default()
        .insert(template::HASH_LABEL.to_owned(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(replica_set_name(name, &hash)),
            namespace: deployment.metadata.namespace.clone(),
            owner_references: Some(vec![owners::controller_reference(deployment)]),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// A long name of a Deployment is cut, so that there is room for the hash; upstream's `generateReplicaSetName`.
fn replica_set_name(deployment: &str, hash: &str) -> String {
    let room = DNS1123_SUBDOMAIN_MAX_LENGTH.saturating_sub(hash.len().saturating_add(1));
    let cut = deployment.get(..room).unwrap_or(deployment);
    format!("{cut}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_leaves_room_for_the_hash() {
        assert_eq!(replica_set_name("web", "7869d87bd9"), "web-7869d87bd9");
        let long = replica_set_name(&"a".repeat(250), "7869d87bd9");
        assert_eq!(long, format!("{}-7869d87bd9", "a".repeat(242)));
    }
}
