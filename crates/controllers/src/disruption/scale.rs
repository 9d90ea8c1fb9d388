//! How many pods the controllers of some pods want.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_client::{Informer, Informers, Object, errors};
use kube::api::DynamicObject;
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource};
use kube::{Api, Resource};

use crate::owners::controller_of;
use crate::runner::{Synced, synced};

/// What the controllers of some pods want together.
pub(super) struct Scale {
    pub replicas: i32,
    /// Some of the pods have no controller.
    pub unmanaged: bool,
}

/// Finds controllers: those of the program's own workloads in informers, others by their `scale` subresource.
pub(super) struct Scales {
    client: kube::Client,
    replication_controllers: Informer<ReplicationController>,
    replica_sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
    stateful_sets: Informer<StatefulSet>,
}

/// A controller by its uid, and the replicas it wants.
type Found = Option<(String, i32)>;

impl Scales {
    pub(super) fn new(client: kube::Client, informers: &Informers) -> Self {
        Self {
            client,
            replication_controllers: informers.informer(),
            replica_sets: informers.informer(),
            deployments: informers.informer(),
            stateful_sets: informers.informer(),
        }
    }

    pub(super) fn synced(&self) -> Vec<Synced> {
        vec![
            synced(&self.replication_controllers),
            synced(&self.replica_sets),
            synced(&self.deployments),
            synced(&self.stateful_sets),
        ]
    }

    /// Asks each controller once.
    ///
    /// # Errors
    /// For a pod whose controller is not there, or cannot be scaled.
    pub(super) async fn of(&self, namespace: &str, pods: &[Arc<Pod>]) -> Result<Scale, String> {
        let mut scales: HashMap<String, i32> = HashMap::new();
        let mut asked = HashSet::new();
        let mut unmanaged = false;
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                unmanaged = true;
                continue;
            };
            if !asked.insert(owner.uid.as_str()) {
                continue;
            }
            let Some((uid, replicas)) = self.find(namespace, owner).await? else {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                return Err(format!("found no controllers for pod {name:?}"));
            };
            scales.insert(uid, replicas);
        }
        let replicas = scales
            .values()
            .fold(0, |sum: i32, n| sum.saturating_add(*n));
        Ok(Scale {
            replicas,
            unmanaged,
        })
    }

    async fn find(&self, namespace: &str, owner: &OwnerReference) -> Result<Found, String> {
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let own = match (group, owner.kind.as_str()) {
            ("", "ReplicationController") => {
                let replicas = |c: &ReplicationController| c.spec.as_ref()?.replicas;
                of_informer(&self.replication_controllers, namespace, owner, replicas)
            }
            ("apps" | "extensions", "ReplicaSet") => self.of_replica_set(namespace, owner),
            ("apps", "StatefulSet") => {
                let replicas = |set: &StatefulSet| set.spec.as_ref()?.replicas;
                of_informer(&self.stateful_sets, namespace, owner, replicas)
            }
            _ => None,
        };
        match own {
            Some(found) => Ok(Some(found)),
            None => self.of_scale(namespace, group, owner).await,
        }
    }

    /// A Deployment's ReplicaSets count as the Deployment.
    fn of_replica_set(&self, namespace: &str, owner: &OwnerReference) -> Found {
        let set = self.replica_sets.get(namespace, &owner.name);
        let set = set.filter(|set| set.metadata.uid.as_ref() == Some(&owner.uid))?;
        match controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") {
            Some(owner) => {
                let replicas = |d: &Deployment| d.spec.as_ref()?.replicas;
                of_informer(&self.deployments, namespace, owner, replicas)
            }
            None => {
                let replicas = set.spec.as_ref()?.replicas.unwrap_or(1);
                Some((owner.uid.clone(), replicas))
            }
        }
    }

    /// Any other kind: which resource that is, and what its `scale` says, only the server knows.
    async fn of_scale(
        &self,
        namespace: &str,
        group: &str,
        owner: &OwnerReference,
    ) -> Result<Found, String> {
        let text = |error: kube::Error| errors::message(&error);
        let version = &owner.api_version;
        let kind = GroupVersionKind::gvk(
            group,
            version.rsplit('/').next().unwrap_or_default(),
            &owner.kind,
        );
        let served = kube::discovery::pinned_kind(&self.client, &kind).await;
        let (resource, capabilities) = served.map_err(|_| {
            format!(
                "no matches for kind {:?} in version {version:?}",
                owner.kind
            )
        })?;
        if !scalable(&capabilities) {
            let name = dotted(&resource);
            return Err(format!("{name} does not implement the scale subresource"));
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let scale = api.get_scale(&owner.name).await;
        let scale = errors::optional(scale).map_err(text)?;
        let same = scale.filter(|scale| scale.metadata.uid.as_ref() == Some(&owner.uid));
        Ok(same.map(|scale| {
            let replicas = scale.spec.and_then(|s| s.replicas).unwrap_or(0);
            (owner.uid.clone(), replicas)
        }))
    }
}

fn scalable(capabilities: &ApiCapabilities) -> bool {
    let mut subresources = capabilities.subresources.iter();
    subresources.any(|(resource, _)| resource.plural == "scale")
}

fn dotted(resource: &ApiResource) -> String {
    match resource.group.as_str() {
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    }
}

fn of_informer<K>(
    informer: &Informer<K>,
    namespace: &str,
    owner: &OwnerReference,
    replicas: impl Fn(&K) -> Option<i32>,
) -> Found
where
    K: Resource<DynamicType = ()> + Object,
{
    let controller = informer.get(namespace, &owner.name)?;
    if controller.meta().uid.as_ref() != Some(&owner.uid) {
        return None;
    }
    Some((owner.uid.clone(), replicas(&controller).unwrap_or(1)))
}
