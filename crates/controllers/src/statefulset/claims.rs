//! The claims of a StatefulSet's pods: made before the pods, kept or deleted with them as the set says.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_client::errors;
use kube::api::PostParams;
use kube::{Api, Resource};

use super::{StatefulSetController, identity, plan};
use crate::events::{NORMAL, WARNING};
use crate::owners;
use crate::runner::{Error, Key, uid};

/// Whose deletion deletes a claim.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    set: bool,
    pod: bool,
}

impl Wanted {
    fn of(set: &StatefulSet, ordinal: i32) -> Self {
        let spec = set.spec.as_ref();
        let policy = spec.and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
        let deletes = |when: Option<&String>| when.is_some_and(|policy| policy == "Delete");
        let deleted = deletes(policy.and_then(|p| p.when_deleted.as_ref()));
        let scaled =
            deletes(policy.and_then(|p| p.when_scaled.as_ref())) && !plan::in_range(set, ordinal);
        Self {
            set: deleted && !scaled,
            pod: scaled,
        }
    }
}

/// Whether a policy of the set's is to delete claims at all.
fn may_delete(set: &StatefulSet) -> bool {
    let spec = set.spec.as_ref();
    let policy = spec.and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
    let values = policy.map(|p| [p.when_deleted.as_deref(), p.when_scaled.as_deref()]);
    values.is_some_and(|values| values.contains(&Some("Delete")))
}

fn names<K: Resource<DynamicType = ()>>(reference: &OwnerReference, object: &K) -> bool {
    reference.api_version == K::api_version(&())
        && reference.kind == K::kind(&())
        && Some(&reference.name) == object.meta().name.as_ref()
}

/// A reference to another object of this name: it waits for the garbage collector.
fn is_stale<K: Resource<DynamicType = ()>>(references: &[OwnerReference], object: &K) -> bool {
    let named = references.iter().find(|r| names(r, object));
    named.is_some_and(|reference| reference.uid != uid(object))
}

fn is_ours(set: &StatefulSet, pod: &Pod, reference: &OwnerReference) -> bool {
    reference.uid == uid(set) || reference.uid == uid(pod)
}

/// Somebody else controls the claim, whose deletion the set would decide about.
fn is_foreign(set: &StatefulSet, pod: &Pod, references: &[OwnerReference]) -> bool {
    let mut others = references.iter().filter(|r| !is_ours(set, pod, r));
    may_delete(set) && others.any(|reference| reference.controller == Some(true))
}

/// The references that a claim should have; `None` where they are right, or not the set's to change.
fn references(
    set: &StatefulSet,
    pod: &Pod,
    claim: &PersistentVolumeClaim,
) -> Option<Vec<OwnerReference>> {
    let now = claim
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    if is_stale(now, set) || is_stale(now, pod) {
        return None;
    }
    let has = |uid: &str| now.iter().any(|reference| reference.uid == uid);
    let mut kept: Vec<OwnerReference> = now
        .iter()
        .filter(|r| !names(r, set) && !names(r, pod))
        .cloned()
        .collect();
    if is_foreign(set, pod, now) {
        return (has(uid(set)) || has(uid(pod))).then_some(kept);
    }
    let wanted = Wanted::of(set, identity::ordinal(pod).unwrap_or(-1));
    let mut ours = now.iter().filter(|r| is_ours(set, pod, r));
    let weak = ours.any(|reference| reference.controller != Some(true));
    if !weak && has(uid(set)) == wanted.set && has(uid(pod)) == wanted.pod {
        return None;
    }
    if wanted.set {
        kept.push(owners::controller_reference(set));
    }
    if wanted.pod {
        kept.push(owners::controller_reference(pod));
    }
    Some(kept)
}

impl StatefulSetController {
    fn claims_api(&self, key: &Key) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Makes the pod's claims that are missing. All are tried; the first error is the answer.
    pub(super) async fn make_claims(
        &self,
        key: &Key,
        set: &StatefulSet,
        pod: &Pod,
    ) -> Result<(), Error> {
        let api = self.claims_api(key);
        let mut result = Ok(());
        for (_, claim) in identity::claims(set, identity::ordinal(pod).unwrap_or(-1)) {
            let made = self.make_claim(&api, set, pod, &claim).await;
            result = result.and(made);
        }
        result
    }

    async fn make_claim(
        &self,
        api: &Api<PersistentVolumeClaim>,
        set: &StatefulSet,
        pod: &Pod,
        claim: &PersistentVolumeClaim,
    ) -> Result<(), Error> {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(there) = self.claims.get(namespace, name) {
            if may_delete(set) && is_stale(owned_by(&there), pod) {
                return Err(Error::Again("a claim of an earlier pod is still there"));
            }
            return match there.metadata.deletion_timestamp {
                Some(_) => Err(Error::Other(format!("pvc {name} is being deleted"))),
                None => Ok(()),
            };
        }
        let (owner, pod_name) = (&set.metadata.name, &pod.metadata.name);
        let (owner, pod_name) = (
            owner.as_deref().unwrap_or_default(),
            pod_name.as_deref().unwrap_or_default(),
        );
        match api.create(&PostParams::default(), claim).await {
            Ok(_) => {
                let note =
                    format!("Create Claim {name} Pod {pod_name} in StatefulSet {owner} success");
                self.event(set, NORMAL, "SuccessfulCreate", note);
                Ok(())
            }
            Err(error) if errors::is_already_exists(&error) => Err(error.into()),
            Err(error) => {
                let why = errors::message(&error);
                let note = format!(
                    "Create Claim {name} for Pod {pod_name} in StatefulSet {owner} failed error: {why}"
                );
                self.event(set, WARNING, "FailedCreate", note);
                Err(Error::Other(format!("failed to create PVC {name}: {why}")))
            }
        }
    }

    /// Makes claims go with the set or the pod, or stay, as the set says. Claims that are not there are made elsewhere.
    pub(super) async fn keep_claims(
        &self,
        key: &Key,
        set: &StatefulSet,
        pod: &Pod,
    ) -> Result<(), Error> {
        let api = self.claims_api(key);
        for (_, claim) in identity::claims(set, identity::ordinal(pod).unwrap_or(-1)) {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let Some(there) = self.claims.get(&key.namespace, name) else {
                continue;
            };
            if is_foreign(set, pod, owned_by(&there)) {
                let note = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"
                );
                self.event(set, WARNING, "ConflictingController", note);
            }
            if let Some(references) = references(set, pod, &there) {
                let mut changed = PersistentVolumeClaim::clone(&there);
                changed.metadata.owner_references = Some(references);
                api.replace(name, &PostParams::default(), &changed).await?;
            }
        }
        Ok(())
    }
}

fn owned_by(claim: &PersistentVolumeClaim) -> &[OwnerReference] {
    claim
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
