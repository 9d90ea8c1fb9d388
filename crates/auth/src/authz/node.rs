//! The Node authorizer: a kubelet may read and write what its pods need, and nothing of its neighbours.
//!
//! Upstream keeps a graph (secret → pod → node). The edges that matter are few: the pods bound to the asking node. So this
//! keeps, for each node that asks, what its pods refer to, refreshed when pods have changed; a pod is parsed once a version.
//! Rules follow upstream's `node_authorizer.go` of 1.32 and later, where a node lists and watches only its own Node and pods
//! (by field selector).

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use knarr_meta::object;
use parking_lot::Mutex;
use serde_json::Value;

use super::rules::Rule;
use crate::{
    UserInfo,
    objects::{Object, Objects},
    policy,
    request::{Decision, RequestInfo},
};

mod references;

pub use references::{References, references};

/// Group of every kubelet.
pub const NODES_GROUP: &str = "system:nodes";
/// Users' names are this and the node's.
pub const USER_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Node names that are remembered; more ask only when someone makes up nodes, and then memory must not grow.
const MAX_NODES: usize = 20_000;

/// `Some(name)` for a kubelet; the name is empty where the user name does not say it.
pub fn identity(user: &UserInfo) -> Option<&str> {
    if !user.groups.iter().any(|group| group == NODES_GROUP) {
        return None;
    }
    user.name.strip_prefix(USER_PREFIX)
}

#[derive(Debug)]
struct Pod {
    namespace: String,
    name: String,
    node: String,
    references: References,
}

#[derive(Default)]
struct Pods {
    /// Revision of the pods' cache at which this was read.
    at: Option<u64>,
    by_revision: Arc<HashMap<u64, Arc<Pod>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Secret,
    ConfigMap,
    Claim,
    ResourceClaim,
    ServiceAccount,
    Pod,
}

/// The authorizer.
pub struct NodeAuthorizer {
    objects: Arc<dyn Objects>,
    nodes: Mutex<HashMap<String, Arc<Mutex<Pods>>>>,
}

/// What nodes may do to kinds without a rule of their own: the `system:node` ClusterRole, as upstream has it in code.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    policy::cluster_role("system:node")
        .map(|role| role.rules)
        .unwrap_or_default()
});

/// `Err` is the reason.
type Answer = Result<(), String>;

fn need(condition: bool, reason: impl Into<String>) -> Answer {
    if condition {
        Ok(())
    } else {
        Err(reason.into())
    }
}

impl NodeAuthorizer {
    /// Reads pods, and volumes where asked, from the watch cache.
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        NodeAuthorizer {
            objects,
            nodes: Mutex::default(),
        }
    }

    /// No opinion on users who are no nodes.
    pub fn authorize(&self, user: &UserInfo, request: &RequestInfo<'_>) -> Decision {
        let Some(node) = identity(user) else {
            return Decision::NoOpinion {
                reason: String::new(),
            };
        };
        if node.is_empty() {
            let reason = format!(
                "unknown node for user {}",
                knarr_meta::field::quote(&user.name)
            );
            return Decision::NoOpinion { reason };
        }
        match self.decide(node, request) {
            Ok(()) => Decision::Allow {
                reason: String::new(),
            },
            Err(reason) => Decision::NoOpinion { reason },
        }
    }

    fn decide(&self, node: &str, request: &RequestInfo<'_>) -> Answer {
        if request.is_resource {
            match (request.group, request.resource) {
                ("", "secrets") => return self.read(node, Target::Secret, request),
                ("", "configmaps") => return self.read(node, Target::ConfigMap, request),
                ("", "persistentvolumeclaims") if request.subresource == "status" => {
                    need(
                        matches!(request.verb, "update" | "patch"),
                        "can only get/update/patch this type",
                    )?;
                    return self.related(node, Target::Claim, request.namespace, request.name);
                }
                ("", "persistentvolumeclaims") => {
                    get_only(request)?;
                    return self.related(node, Target::Claim, request.namespace, request.name);
                }
                ("", "persistentvolumes") => return self.volume(node, request),
                ("storage.k8s.io", "volumeattachments") => return self.attachment(node, request),
                ("", "serviceaccounts") => return self.service_account(node, request),
                ("", "nodes") => return own_node(node, request),
                ("", "pods") => return self.pod(node, request),
                ("coordination.k8s.io", "leases") => return lease(node, request),
                ("storage.k8s.io", "csinodes") => return csi_node(node, request),
                ("resource.k8s.io", "resourceclaims") => {
                    get_only(request)?;
                    let target = Target::ResourceClaim;
                    return self.related(node, target, request.namespace, request.name);
                }
                ("resource.k8s.io", "resourceslices") => return self.slice(node, request),
                ("certificates.k8s.io", "podcertificaterequests") => {
                    return self.pod_certificate_request(node, request);
                }
                _ => {}
            }
        }
        need(RULES.iter().any(|rule| rule.allows(request)), "")
    }

    fn read(&self, node: &str, target: Target, request: &RequestInfo<'_>) -> Answer {
        need(
            matches!(request.verb, "get" | "list" | "watch"),
            "can only read resources of this type",
        )?;
        need(request.subresource.is_empty(), "cannot read subresource")?;
        need(
            !request.namespace.is_empty(),
            "can only read namespaced object of this type",
        )?;
        let name = one_name(request);
        let related = self.related(node, target, request.namespace, name);
        match related {
            Err(_)
                if target == Target::Secret && self.volume_needs(node, request.namespace, name) =>
            {
                Ok(())
            }
            related => related,
        }
    }

    /// Does a volume of the node's pods need the Secret on the node? Its driver is given it there.
    fn volume_needs(&self, node: &str, namespace: &str, name: &str) -> bool {
        let read = |resource: &'static str, namespace: &str, name: &str| -> Option<Value> {
            let found = self.objects.get("", resource, namespace, name)?;
            serde_json::from_slice(&found.json).ok()
        };
        let pods = self.pods(node);
        let mut claims = pods
            .values()
            .filter(|pod| pod.node == node)
            .flat_map(|pod| {
                let claims = pod.references.claims.iter();
                claims.map(move |claim| (pod.namespace.as_str(), claim.as_str()))
            });
        !name.is_empty()
            && claims.any(|(of, claim)| {
                let volume = read("persistentvolumeclaims", of, claim).and_then(|bound| {
                    let volume = object::str_at(&bound, &["spec", "volumeName"]);
                    read("persistentvolumes", "", volume)
                });
                volume.is_some_and(|volume| {
                    let at = |path: [&str; 3]| object::str_at(&volume, &path).to_owned();
                    // The claim may say what it likes: the volume says whose it is.
                    let own = at(["spec", "claimRef", "namespace"]) == of
                        && at(["spec", "claimRef", "name"]) == claim;
                    own && references::volume_needs(&volume, namespace, name)
                })
            })
    }

    fn service_account(&self, node: &str, request: &RequestInfo<'_>) -> Answer {
        // Kubelets read accounts for image credential plugins.
        if request.verb == "get" && request.subresource.is_empty() {
            return self.related(
                node,
                Target::ServiceAccount,
                request.namespace,
                request.name,
            );
        }
        let individual = request.verb == "create" && !request.name.is_empty();
        need(
            individual,
            "can only create tokens for individual service accounts",
        )?;
        need(
            request.subresource == "token",
            "can only create token subresource of serviceaccount",
        )?;
        self.related(
            node,
            Target::ServiceAccount,
            request.namespace,
            request.name,
        )
    }

    fn pod(&self, node: &str, request: &RequestInfo<'_>) -> Answer {
        match (request.subresource, request.verb) {
            ("", "get") => self.related(node, Target::Pod, request.namespace, request.name),
            ("", "list" | "watch") => need(
                request.selectors.fields.exact("spec.nodeName") == Some(node),
                "can only list/watch pods with spec.nodeName field selector",
            ),
            // NodeRestriction holds these to mirror pods and pods of this node.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Ok(())
            }
            _ => Err(String::new()),
        }
    }

    fn volume(&self, node: &str, request: &RequestInfo<'_>) -> Answer {
        get_only(request)?;
        let claim = self
            .objects
            .get("", "persistentvolumes", "", request.name)
            .and_then(|volume| {
                let volume: Value = serde_json::from_slice(&volume.json).ok()?;
                let at = |field| object::str_at(&volume, &["spec", "claimRef", field]).to_owned();
                Some((at("namespace"), at("name")))
            });
        let (namespace, name) = claim.ok_or_else(|| unrelated(node))?;
        self.related(node, Target::Claim, &namespace, &name)
    }

    fn attachment(&self, node: &str, request: &RequestInfo<'_>) -> Answer {
        get_only(request)?;
        self.names_node(node, request)
    }

    fn pod_certificate_request(&self, node: &str, request: &RequestInfo<'_>) -> Answer {
        need(
            request.subresource.is_empty(),
            "nodes may not access the status subresource of PodCertificateRequests",
        )?;
        match request.verb {
            // NodeRestriction holds it to this node's pods.
            "create" => Ok(()),
            "get" => self.names_node(node, request),
            "list" | "watch" => need(
                request.selectors.fields.exact("spec.nodeName") == Some(node),
                "can only list/watch podcertificaterequests with nodeName field selector",
            ),
            verb => Err(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn slice(&self, node: &str, request: &RequestInfo<'_>) -> Answer {
        need(
            request.subresource.is_empty(),
            "cannot authorize ResourceSlice subresources",
        )?;
        match request.verb {
            // NodeRestriction holds it to slices of this node.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.names_node(node, request),
            "list" | "watch" | "deletecollection" => need(
                request.selectors.fields.exact("spec.nodeName") == Some(node),
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Err(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
                    .to_owned(),
            ),
        }
    }

    /// Is the stored object of this node, by its spec?
    fn names_node(&self, node: &str, request: &RequestInfo<'_>) -> Answer {
        let stored = self.objects.get(
            request.group,
            request.resource,
            request.namespace,
            request.name,
        );
        let stored: Option<Value> = stored.and_then(|o| serde_json::from_slice(&o.json).ok());
        let own = stored.is_some_and(|o| object::str_at(&o, &["spec", "nodeName"]) == node);
        need(own, unrelated(node))
    }

    /// Is there a pod on this node that leads to the object?
    fn related(&self, node: &str, target: Target, namespace: &str, name: &str) -> Answer {
        need(!name.is_empty(), "No Object name found")?;
        let pods = self.pods(node);
        let found = pods
            .values()
            .filter(|pod| pod.node == node && pod.namespace == namespace)
            .any(|pod| match target {
                Target::Pod => pod.name == name,
                Target::Secret => pod.references.secrets.contains(name),
                Target::ConfigMap => pod.references.config_maps.contains(name),
                Target::Claim => pod.references.claims.contains(name),
                Target::ResourceClaim => pod.references.resource_claims.contains(name),
                Target::ServiceAccount => pod.references.service_account == name,
            });
        need(found, unrelated(node))
    }

    /// The pods of a node as of now.
    fn pods(&self, node: &str) -> Arc<HashMap<u64, Arc<Pod>>> {
        let entry = {
            let mut nodes = self.nodes.lock();
            if nodes.len() >= MAX_NODES && !nodes.contains_key(node) {
                nodes.clear();
            }
            nodes.entry(node.to_owned()).or_default().clone()
        };
        let mut pods = entry.lock();
        // Before the read: a change in between makes the next request read again.
        let now = self.objects.revision_of("", "pods");
        if pods.at != Some(now) {
            let listed = self
                .objects
                .list_by_field("", "pods", "spec.nodeName", node)
                .unwrap_or_else(|| self.objects.list("", "pods", ""));
            let old = pods.by_revision.clone();
            let parsed = listed.into_iter().filter_map(|object| {
                let revision = object.revision;
                let pod = old
                    .get(&revision)
                    .cloned()
                    .or_else(|| parse(&object).map(Arc::new))?;
                Some((revision, pod))
            });
            pods.by_revision = Arc::new(parsed.collect());
            pods.at = Some(now);
        }
        pods.by_revision.clone()
    }
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn get_only(request: &RequestInfo<'_>) -> Answer {
    need(
        request.verb == "get",
        "can only get individual resources of this type",
    )?;
    need(request.subresource.is_empty(), "cannot get subresource")
}

/// The only name that the request can reach; empty where it could reach more.
fn one_name<'r>(request: &'r RequestInfo<'_>) -> &'r str {
    match request.name {
        "" => request
            .selectors
            .fields
            .exact("metadata.name")
            .unwrap_or(""),
        name => name,
    }
}

fn own_node(node: &str, request: &RequestInfo<'_>) -> Answer {
    match (request.subresource, request.verb) {
        // NodeRestriction holds writes to the own Node, whose name is not known yet on create.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => {
            let name = one_name(request);
            need(
                !name.is_empty(),
                format!("node '{node}' cannot read all nodes, only its own Node object"),
            )?;
            need(
                name == node,
                format!("node '{node}' cannot read '{name}', only its own Node object"),
            )
        }
        _ => Err(String::new()),
    }
}

fn lease(node: &str, request: &RequestInfo<'_>) -> Answer {
    let verb = matches!(
        request.verb,
        "get" | "create" | "update" | "patch" | "delete"
    );
    need(
        verb,
        "can only get, create, update, patch, or delete a node lease",
    )?;
    need(
        request.namespace == LEASE_NAMESPACE,
        format!("can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"),
    )?;
    // On create the name is in the body: NodeRestriction looks there.
    let own = request.verb == "create" || request.name == node;
    need(
        own,
        "can only access node lease with the same name as the requesting node",
    )
}

fn csi_node(node: &str, request: &RequestInfo<'_>) -> Answer {
    let verb = matches!(
        request.verb,
        "get" | "create" | "update" | "patch" | "delete"
    );
    need(
        verb,
        "can only get, create, update, patch, or delete a CSINode",
    )?;
    need(
        request.subresource.is_empty(),
        "cannot authorize CSINode subresources",
    )?;
    let own = request.verb == "create" || request.name == node;
    need(
        own,
        "can only access CSINode with the same name as the requesting node",
    )
}

fn parse(cached: &Object) -> Option<Pod> {
    let pod: Value = serde_json::from_slice(&cached.json).ok()?;
    Some(Pod {
        namespace: object::namespace(&pod).to_owned(),
        name: object::name(&pod).to_owned(),
        node: object::str_at(&pod, &["spec", "nodeName"]).to_owned(),
        references: references(&pod),
    })
}
