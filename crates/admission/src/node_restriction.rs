//! NodeRestriction: what the Node authorizer lets a kubelet write is held here to its own Node, its own pods and their tokens. So are
//! the parts of a node that act under an account of their own.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use knarr_auth::{
    authz::node::{NODES_GROUP, identity, references},
    node_accounts,
    objects::Objects,
    request::Authorizer,
};
use knarr_meta::{field::quote, object, status::Status};
use serde_json::Value;

use self::{
    answer::{Answer, Refusal, find, need, node_of, shown},
    own_node::own_node,
    pod_certificate::PodCertificates,
};
use super::{MIRROR_ANNOTATION, forbidden, is};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

mod answer;
mod local_volume;
mod own_node;
mod pod_certificate;

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The plugin.
pub struct NodeRestriction {
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl AdmissionPlugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        let node = request.user.groups.iter().any(|group| group == NODES_GROUP)
            && identity(request.user).is_some();
        request.operation != Operation::Connect && (node || is_local_volume(request))
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let node = identity(request.user).unwrap_or_default();
        let answer = if let Some(node) = local_volume::provisioner(request.user) {
            local_volume::check(&*self.objects, node, request)
        } else if node.is_empty() {
            Err(format!(
                "could not determine node from user {}",
                quote(&request.user.name)
            )
            .into())
        } else {
            self.decide(node, request)
        };
        answer.map_err(|refusal| match refusal {
            Refusal::Forbidden(why) => forbidden(request, why),
            Refusal::Status(status) => status,
        })
    }
}

impl NodeRestriction {
    /// `authorizer` tells which signers a node may ask for whatever its pods say.
    pub fn new(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        NodeRestriction {
            objects,
            authorizer,
        }
    }

    fn decide(&self, node: &str, request: &AdmissionRequest<'_>) -> Answer {
        match (
            &*request.kind.group,
            &*request.kind.resource,
            request.subresource,
        ) {
            ("", "pods", "") => self.pod(node, request),
            ("", "pods", "status") => pod_status(node, request),
            ("", "pods", "eviction") => self.eviction(node, request),
            ("", "pods", other) => Err(format!(
                "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
                quote(other)
            )
            .into()),
            ("", "nodes", _) => own_node(node, request),
            ("", "persistentvolumeclaims", "status") => claim_status(node, request),
            ("", "persistentvolumeclaims", _) => Err("may only update PVC status".into()),
            ("", "serviceaccounts", "token") => self.token(node, request),
            ("certificates.k8s.io", "podcertificaterequests", _) => {
                let asked = PodCertificates {
                    objects: &*self.objects,
                    authorizer: &*self.authorizer,
                };
                asked.check(node, request)
            }
            ("resource.k8s.io", "resourceslices", _) => slice(node, request),
            // Reviews and evictions may come under the name of their own kind.
            _ if is(request, "coordination.k8s.io", "leases") => lease(node, request),
            _ if is(request, "storage.k8s.io", "csinodes") => need(
                request.name == node,
                || "can only access CSINode with the same name as the requesting node",
            ),
            _ => Ok(()),
        }
    }

    fn pod(&self, node: &str, request: &AdmissionRequest<'_>) -> Answer {
        let quoted = quote(node);
        match request.operation {
            Operation::Create => self.mirror_pod(node, request),
            Operation::Delete => {
                let pod = find(&*self.objects, "pods", request.namespace, request.name)?;
                need(node_of(&pod) == node, || {
                    format!("node {quoted} can only delete pods with spec.nodeName set to itself")
                })
            }
            other => Err(format!(
                "unexpected operation {}, node {quoted} can only create and delete mirror pods",
                shown(other)
            )
            .into()),
        }
    }

    fn mirror_pod(&self, node: &str, request: &AdmissionRequest<'_>) -> Answer {
        let Some(pod) = request.object.as_deref() else {
            return Ok(());
        };
        let quoted = quote(node);
        need(object::annotation(pod, MIRROR_ANNOTATION).is_some(), || {
            format!(
                "pod does not have \"{MIRROR_ANNOTATION}\" annotation, node {quoted} can only create mirror pods"
            )
        })?;
        need(node_of(pod) == node, || {
            format!("node {quoted} can only create pods with spec.nodeName set to itself")
        })?;
        let own =
            || format!("node {quoted} can only create pods with an owner reference set to itself");
        let owner =
            match object::list_at(pod, &["metadata", "ownerReferences"]) {
                [owner] => owner,
                [] => return Err(own().into()),
                _ => return Err(format!(
                    "node {quoted} can only create pods with a single owner reference set to itself"
                )
                .into()),
            };
        let at = |field| object::str_at(owner, &[field]);
        need(
            (at("apiVersion"), at("kind"), at("name")) == ("v1", "Node", node),
            own,
        )?;
        need(object::bool_at(owner, &["controller"]), || {
            format!(
                "node {quoted} can only create pods with a controller owner reference set to itself"
            )
        })?;
        need(!object::bool_at(owner, &["blockOwnerDeletion"]), || {
            format!("node {quoted} must not set blockOwnerDeletion on an owner reference")
        })?;
        let stored = find(&*self.objects, "nodes", "", node)?;
        need(object::uid(&stored) == at("uid"), || {
            format!(
                "node {node} UID mismatch: expected {} got {}",
                at("uid"),
                object::uid(&stored)
            )
        })?;

        let references = references(pod);
        for (refers, what) in [
            (!references.service_account.is_empty(), "a service account"),
            (!references.secrets.is_empty(), "secrets"),
            (!references.config_maps.is_empty(), "configmaps"),
            (!references.claims.is_empty(), "persistentvolumeclaims"),
            (
                !object::list_at(pod, &["spec", "resourceClaims"]).is_empty(),
                "resourceclaims",
            ),
        ] {
            need(!refers, || {
                format!("node {quoted} can not create pods that reference {what}")
            })?;
        }
        Ok(())
    }

    fn eviction(&self, node: &str, request: &AdmissionRequest<'_>) -> Answer {
        need(request.operation == Operation::Create, || {
            format!("unexpected operation {}", shown(request.operation))
        })?;
        let named = request.object.as_deref().map_or("", object::name);
        let name = if request.name.is_empty() {
            named
        } else {
            request.name
        };
        need(
            !name.is_empty(),
            || "could not determine pod from request data",
        )?;
        let pod = find(&*self.objects, "pods", request.namespace, name)?;
        need(node_of(&pod) == node, || {
            format!("node {node} can only evict pods with spec.nodeName set to itself")
        })
    }

    fn token(&self, node: &str, request: &AdmissionRequest<'_>) -> Answer {
        let Some(asked) = request.object.as_deref() else {
            return Ok(());
        };
        if request.operation != Operation::Create {
            return Ok(());
        }
        if node_accounts::contains(request.namespace, request.name) && !is_bound_to_pod(asked) {
            return self.account_token(node, asked);
        }
        let at = |field| object::str_at(asked, &["spec", "boundObjectRef", field]);
        let bound = at("apiVersion") == "v1" && at("kind") == "Pod" && !at("name").is_empty();
        need(bound, || "node requested token not bound to a pod")?;
        let uid = at("uid");
        need(
            !uid.is_empty(),
            || "node requested token with a pod binding without a uid",
        )?;
        let pod = find(&*self.objects, "pods", request.namespace, at("name"))?;
        need(object::uid(&pod) == uid, || {
            format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            )
        })?;
        need(
            node_of(&pod) == node,
            || "node requested token bound to a pod scheduled on a different node",
        )?;
        // A kubelet may not mint tokens for audiences that its pod never asked for.
        let projected: BTreeSet<&str> = object::list_at(&pod, &["spec", "volumes"])
            .iter()
            .flat_map(|volume| object::list_at(volume, &["projected", "sources"]))
            .map(|source| object::str_at(source, &["serviceAccountToken", "audience"]))
            .collect();
        for audience in object::list_at(asked, &["spec", "audiences"])
            .iter()
            .filter_map(Value::as_str)
        {
            need(audience.is_empty() || projected.contains(audience), || {
                format!("audience {} not found in pod spec volume", quote(audience))
            })?;
        }
        Ok(())
    }

    /// A token for a part of the node that is no pod: it ends with the Node object, and is for the API server.
    fn account_token(&self, node: &str, asked: &Value) -> Answer {
        let at = |field| object::str_at(asked, &["spec", "boundObjectRef", field]);
        let bound = (at("apiVersion"), at("kind"), at("name")) == ("v1", "Node", node);
        need(bound, || {
            format!(
                "node requested token not bound to a pod or to node {}",
                quote(node)
            )
        })?;
        let stored = find(&*self.objects, "nodes", "", node)?;
        need(
            !at("uid").is_empty() && object::uid(&stored) == at("uid"),
            || {
                format!(
                    "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                    at("uid")
                )
            },
        )?;
        let audiences = object::list_at(asked, &["spec", "audiences"]);
        need(
            audiences.is_empty(),
            || "node requested token bound to itself for another audience than the API server",
        )
    }
}

fn is_bound_to_pod(asked: &Value) -> bool {
    object::str_at(asked, &["spec", "boundObjectRef", "kind"]) == "Pod"
}

fn is_local_volume(request: &AdmissionRequest<'_>) -> bool {
    is(request, "", "persistentvolumes") && local_volume::provisioner(request.user).is_some()
}

fn pod_status(node: &str, request: &AdmissionRequest<'_>) -> Answer {
    need(request.operation == Operation::Update, || {
        format!("unexpected operation {}", shown(request.operation))
    })?;
    let (Some(pod), Some(old)) = (request.object.as_deref(), request.old) else {
        return Ok(());
    };
    let quoted = quote(node);
    need(node_of(old) == node, || {
        format!(
            "node {quoted} can only update pod status for pods with spec.nodeName set to itself"
        )
    })?;
    need(object::labels(pod).eq(object::labels(old)), || {
        format!("node {quoted} cannot update labels through pod status")
    })?;
    // Which claims are a pod's decides what its node may read.
    for (field, what) in [
        ("resourceClaimStatuses", "resource claim statues"),
        (
            "extendedResourceClaimStatus",
            "extended resource claim status",
        ),
        (
            "nodeAllocatableResourceClaimStatuses",
            "node allocatable resource claim statuses",
        ),
    ] {
        let of = |pod| object::at(pod, &["status", field]).filter(|v| !v.is_null());
        need(of(pod) == of(old), || {
            format!("node {quoted} cannot update {what}")
        })?;
    }
    Ok(())
}

/// The authorizer knows neither what is created nor each that a deletion of many reaches.
fn slice(node: &str, request: &AdmissionRequest<'_>) -> Answer {
    let (slice, verb) = match request.operation {
        Operation::Create => (request.object.as_deref(), "create"),
        Operation::Delete => (request.old, "delete"),
        Operation::Update | Operation::Connect => return Ok(()),
    };
    need(slice.is_some_and(|slice| node_of(slice) == node), || {
        format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")
    })
}

fn claim_status(node: &str, request: &AdmissionRequest<'_>) -> Answer {
    need(request.operation == Operation::Update, || {
        format!("unexpected operation {}", shown(request.operation))
    })?;
    let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else {
        return Ok(());
    };
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for (part, fields) in [
            ("metadata", &["resourceVersion", "managedFields"][..]),
            (
                "status",
                &[
                    "capacity",
                    "conditions",
                    "allocatedResources",
                    "allocatedResourceStatuses",
                ][..],
            ),
        ] {
            if let Some(part) = claim.get_mut(part).and_then(Value::as_object_mut) {
                part.retain(|field, _| !fields.contains(&field.as_str()));
            }
        }
        claim
    };
    need(rest(new) == rest(old), || {
        format!(
            "node {} is not allowed to update fields other than status.capacity and status.conditions",
            quote(node)
        )
    })
}

fn lease(node: &str, request: &AdmissionRequest<'_>) -> Answer {
    need(request.namespace == LEASE_NAMESPACE, || {
        format!("can only access leases in the \"{LEASE_NAMESPACE}\" system namespace")
    })?;
    let name = match (request.operation, request.object.as_deref()) {
        (Operation::Create, Some(lease)) => object::name(lease),
        _ => request.name,
    };
    need(
        name == node,
        || "can only access node lease with the same name as the requesting node",
    )
}
