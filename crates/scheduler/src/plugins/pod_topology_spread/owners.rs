//! Which pods are of one kind with a pod that does not say so itself: those of its Services and its controller.

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, StatefulSet},
        core::v1::{ReplicationController, Service},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use knarr_client::Informer;
use knarr_meta::labels::{Requirement, Selector};

use crate::pod_info::PodInfo;

/// What has pods.
#[derive(Clone)]
pub struct Owners {
    pub services: Informer<Service>,
    pub replication_controllers: Informer<ReplicationController>,
    pub replica_sets: Informer<ReplicaSet>,
    pub stateful_sets: Informer<StatefulSet>,
}

impl Owners {
    /// Selects what the pod's Services and its controller select (upstream `helper.DefaultSelector`); everything where it
    /// has neither.
    pub fn selector(&self, pod: &PodInfo) -> Selector {
        let mut requirements: Vec<Requirement> = Vec::new();
        for service in self.services.list_in(&pod.namespace) {
            let labels = service.spec.as_ref().and_then(|spec| spec.selector.clone());
            let Some(labels) = labels else {
                continue;
            };
            let selector = Selector::from_set(labels);
            if selector.matches_with(|key| pod.labels.get(key)) {
                requirements.extend(selector.requirements().iter().cloned());
            }
        }
        requirements.extend(self.of_controller(pod).unwrap_or_default());
        requirements.dedup();
        Selector::new(requirements)
    }

    fn of_controller(&self, pod: &PodInfo) -> Option<Vec<Requirement>> {
        let owners = pod.whole()?.metadata.owner_references.iter().flatten();
        let mut controllers = owners.filter(|owner| owner.controller == Some(true));
        let owner = controllers.next()?;
        let (namespace, name) = (pod.namespace.as_str(), owner.name.as_str());
        let structured = |selector: &LabelSelector| {
            let selector = Selector::from_label_selector(selector).ok()?;
            Some(selector.requirements().to_vec())
        };
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => {
                let owner = self.replication_controllers.get(namespace, name)?;
                let labels = owner.spec.as_ref()?.selector.clone()?;
                Some(Selector::from_set(labels).requirements().to_vec())
            }
            ("apps/v1", "ReplicaSet") => {
                let owner = self.replica_sets.get(namespace, name)?;
                structured(&owner.spec.as_ref()?.selector)
            }
            ("apps/v1", "StatefulSet") => {
                let owner = self.stateful_sets.get(namespace, name)?;
                structured(&owner.spec.as_ref()?.selector)
            }
            _ => None,
        }
    }
}
