//! Extended resources that a class of devices stands for. A node that has them from a device plugin needs no claim.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{ContainerExtendedResourceRequest, Pod},
        resource::v1::{DeviceClaim, ResourceClaim, ResourceClaimSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use knarr_devices::{
    claim,
    extended::{self, ClassNames},
};

use super::DynamicResources;
use crate::{framework::Reason, pod_info::PodInfo, snapshot::NodeInfo};

/// Of a claim that is not made yet; nothing in the API can have it (upstream `specialClaimInMemName`).
const IN_MEMORY: &str = "<extended-resources>";

/// The extended resources of a pod that devices may stand for.
pub(super) struct Extended {
    resources: Vec<String>,
    names: Arc<ClassNames>,
    /// The claim of an attempt that failed: it has to go first.
    pub left: Option<Arc<ResourceClaim>>,
}

/// A claim that is made for a pod on a node.
pub(super) struct Claim {
    pub claim: Arc<ResourceClaim>,
    pub mappings: Vec<ContainerExtendedResourceRequest>,
}

impl DynamicResources {
    /// `None` where a pod has none.
    pub(super) fn extended(&self, pod: &PodInfo) -> Option<Extended> {
        let wanted = pod
            .requests
            .scalars
            .iter()
            .filter(|(_, amount)| **amount > 0);
        let mut wanted = wanted.map(|(name, _)| name).peekable();
        wanted.peek()?;
        let names = self.names();
        let resources: Vec<String> = wanted
            .filter(|name| names.class(name).is_some())
            .cloned()
            .collect();
        if resources.is_empty() {
            return None;
        }
        let claims = self.sources.claims.list_in(&pod.namespace);
        let mut left = claims.into_iter();
        let left = left.find(|claim| claim::is_for_extended_resources(claim, &pod.uid));
        Some(Extended {
            resources,
            names,
            left,
        })
    }
}

impl Extended {
    /// Whether a resource is one that devices stand for.
    pub fn has(&self, resource: &str) -> bool {
        self.resources.iter().any(|name| name == resource)
    }

    /// The claim that a pod needs on a node; `None` where the node has the resources itself.
    pub fn claim_on(&self, pod: &Pod, node: &NodeInfo) -> Result<Option<Claim>, Reason> {
        if self.left.is_some() {
            return Err("cannot schedule extended resource claim".into());
        }
        let absent = |name: &&String| {
            let has = node.allocatable.scalars.get(name.as_str());
            has.copied().unwrap_or(0) == 0
        };
        let resources: BTreeSet<String> = self.resources.iter().filter(absent).cloned().collect();
        if resources.is_empty() {
            return Ok(None);
        }
        let found = extended::requests(pod, &resources, &self.names);
        Ok((!found.requests.is_empty()).then(|| Claim {
            claim: Arc::new(claim_for(pod, found.requests)),
            mappings: found.mappings,
        }))
    }
}

/// Under which devices are kept for a claim that is not made yet.
pub(super) fn key(pod: &Pod) -> String {
    format!(
        "{IN_MEMORY}{}",
        pod.metadata.uid.as_deref().unwrap_or_default()
    )
}

fn claim_for(
    pod: &Pod,
    requests: Vec<k8s_openapi::api::resource::v1::DeviceRequest>,
) -> ResourceClaim {
    let meta = &pod.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let marked = (claim::EXTENDED_RESOURCES.to_owned(), "true".to_owned());
    ResourceClaim {
        metadata: ObjectMeta {
            name: Some(IN_MEMORY.to_owned()),
            uid: Some(key(pod)),
            namespace: meta.namespace.clone(),
            generate_name: Some(format!("{name}-extended-resources-")),
            annotations: Some([marked].into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name,
                uid: meta.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        spec: ResourceClaimSpec {
            devices: Some(DeviceClaim {
                requests: Some(requests),
                ..DeviceClaim::default()
            }),
        },
        status: None,
    }
}
