//! The kinds that keep a number of pods of one template: ReplicaSets, and ReplicationControllers, which are seen as such.

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{
    ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus,
};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Serialize, de::DeserializeOwned};

/// A kind that the controller serves.
pub(crate) trait Replicated:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// As owner references name it.
    const KIND: &'static str;
    /// Name of the loop.
    const NAME: &'static str;
    /// The service account, and the source of events.
    const ACCOUNT: &'static str;
    /// Whether the status has a count of pods on their way out.
    const TELLS_TERMINATING: bool;

    fn as_set(&self) -> Cow<'_, ReplicaSet>;

    /// The object with this status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Replicated for ReplicaSet {
    const KIND: &'static str = "ReplicaSet";
    const NAME: &'static str = "replicaset";
    const ACCOUNT: &'static str = "replicaset-controller";
    const TELLS_TERMINATING: bool = true;

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Borrowed(self)
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        ReplicaSet {
            status: Some(status),
            ..self.clone()
        }
    }
}

impl Replicated for ReplicationController {
    const KIND: &'static str = "ReplicationController";
    const NAME: &'static str = "replicationcontroller";
    const ACCOUNT: &'static str = "replication-controller";
    const TELLS_TERMINATING: bool = false;

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Owned(ReplicaSet {
            metadata: self.metadata.clone(),
            spec: self.spec.clone().map(|spec| ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: spec.replicas,
                selector: LabelSelector {
                    match_labels: spec.selector,
                    match_expressions: None,
                },
                template: spec.template,
            }),
            status: self.status.clone().map(|status| ReplicaSetStatus {
                available_replicas: status.available_replicas,
                conditions: status
                    .conditions
                    .map(|all| all.into_iter().map(of_set).collect()),
                fully_labeled_replicas: status.fully_labeled_replicas,
                observed_generation: status.observed_generation,
                ready_replicas: status.ready_replicas,
                replicas: status.replicas,
                ..ReplicaSetStatus::default()
            }),
        })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        ReplicationController {
            status: Some(ReplicationControllerStatus {
                available_replicas: status.available_replicas,
                conditions: (status.conditions)
                    .map(|all| all.into_iter().map(of_controller).collect()),
                fully_labeled_replicas: status.fully_labeled_replicas,
                observed_generation: status.observed_generation,
                ready_replicas: status.ready_replicas,
                replicas: status.replicas,
            }),
            ..self.clone()
        }
    }
}

fn of_set(condition: ReplicationControllerCondition) -> ReplicaSetCondition {
    ReplicaSetCondition {
        last_transition_time: condition.last_transition_time,
        message: condition.message,
        reason: condition.reason,
        status: condition.status,
        type_: condition.type_,
    }
}

fn of_controller(condition: ReplicaSetCondition) -> ReplicationControllerCondition {
    ReplicationControllerCondition {
        last_transition_time: condition.last_transition_time,
        message: condition.message,
        reason: condition.reason,
        status: condition.status,
        type_: condition.type_,
    }
}

#[cfg(test)]
mod tests;
