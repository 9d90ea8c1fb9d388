//! ResourceClaims: who may ask for devices as their administrator, and who may say what a claim was given.
//!
//! Upstream does this in the strategies of the kinds (`pkg/registry/resource/utils.go`); here it is a validating plugin, which sees
//! the same two objects and gives the same errors. A patch is an update to it: either verb on the part of the status will do.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use knarr_api::resource::GROUP;
use knarr_auth::{
    UserInfo,
    objects::Objects,
    request::{Authorizer, Decision, RequestInfo},
};
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    object::{at, bool_at, list_at, struct_at},
    status::Status,
};
use serde_json::Value;

use super::{is, read};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";
/// What a token that is bound to a pod says of the pod's node.
const NODE_EXTRA: &str = "authentication.kubernetes.io/node-name";
const VERBS: [&str; 2] = ["update", "patch"];

/// The plugin.
pub struct ResourceClaims {
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl AdmissionPlugin for ResourceClaims {
    fn name(&self) -> &'static str {
        "ResourceClaims"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        let claims = is(request, GROUP, "resourceclaims");
        match request.operation {
            Operation::Create => claims || is(request, GROUP, "resourceclaimtemplates"),
            Operation::Update => claims && request.subresource == "status",
            Operation::Delete | Operation::Connect => false,
        }
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(new) = request.object.as_deref() else {
            return Ok(());
        };
        let errors = match (request.operation, request.old) {
            (Operation::Create, _) => self.judge_spec(request, new),
            (_, Some(old)) => self.judge_status(request, new, old),
            _ => Vec::new(),
        };
        if errors.is_empty() {
            return Ok(());
        }
        let kind = GroupKind::new(request.kind.group.clone(), request.kind.kind.clone());
        Err(Status::invalid(kind, request.name, errors))
    }
}

impl ResourceClaims {
    pub fn new(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        ResourceClaims {
            objects,
            authorizer,
        }
    }

    /// The path is that of a claim also where it is a template's, as upstream's.
    fn judge_spec(&self, request: &AdmissionRequest<'_>, new: &Value) -> Vec<Error> {
        let path: &[&str] = match &*request.kind.resource {
            "resourceclaims" => &["spec", "devices", "requests"],
            _ => &["spec", "spec", "devices", "requests"],
        };
        let asks = |asked: &Value| bool_at(asked, &["exactly", "adminAccess"]);
        let index = list_at(new, path).iter().position(asks);
        let path = Path::new("spec").child("devices").child("requests");
        self.judge_admin(request, index, &path)
    }

    fn judge_status(&self, request: &AdmissionRequest<'_>, new: &Value, old: &Value) -> Vec<Error> {
        let granted = |object: &Value| {
            let results = list_at(object, &["status", "allocation", "devices", "results"]);
            let admin = |result: &Value| bool_at(result, &["adminAccess"]);
            results.iter().position(admin)
        };
        let path = Path::new("status").child("allocation").child("devices");
        let mut errors = match granted(old) {
            Some(_) => Vec::new(),
            None => self.judge_admin(request, granted(new), &path.child("results")),
        };
        errors.extend(self.judge_binding(request.user, new, old));
        if struct_at(new, &["status", "allocation"]).is_some() {
            errors.extend(self.judge_devices(request, new, old));
        }
        errors
    }

    /// Only namespaces of administrators may have devices that are others' at the same time.
    fn judge_admin(
        &self,
        request: &AdmissionRequest<'_>,
        index: Option<usize>,
        path: &Path,
    ) -> Vec<Error> {
        let Some(index) = index else {
            return Vec::new();
        };
        let path = path.index(index).child("adminAccess");
        let namespace = read(&*self.objects, "", "namespaces", "", request.namespace);
        let Some(namespace) = namespace else {
            let why = "could not retrieve namespace to verify admin access";
            return vec![Error::internal(&path, why)];
        };
        if knarr_meta::object::label(&namespace, ADMIN_LABEL) == Some("true") {
            return Vec::new();
        }
        let why = format!(
            "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
        );
        vec![Error::forbidden(&path, why)]
    }

    fn judge_binding(&self, user: &UserInfo, new: &Value, old: &Value) -> Option<Error> {
        let same = |field| {
            let of = |object| at(object, &["status", field]).filter(|v| !v.is_null());
            of(new) == of(old)
        };
        if same("allocation") && same("reservedFor") {
            return None;
        }
        let asked = RequestInfo {
            subresource: "binding",
            ..asked()
        };
        let refused = self.refused(user, &asked, &VERBS)?;
        let path = Path::new("status").child("allocation");
        let why = format!(
            "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"update\" permission: {refused}"
        );
        Some(Error::forbidden(&path, why))
    }

    fn judge_devices(
        &self,
        request: &AdmissionRequest<'_>,
        new: &Value,
        old: &Value,
    ) -> Vec<Error> {
        let drivers = changed_drivers(new, old);
        if drivers.is_empty() {
            return Vec::new();
        }
        let arbitrary = ["arbitrary-node:update", "arbitrary-node:patch"];
        let all = [
            "associated-node:update",
            "associated-node:patch",
            "arbitrary-node:update",
            "arbitrary-node:patch",
        ];
        let node = allocated_node(new);
        let verbs = match node.is_some_and(|node| runs_on(request.user, node)) {
            true => &all[..],
            false => &arbitrary,
        };
        let path = Path::new("status").child("devices");
        let judge = |driver| {
            let asked = RequestInfo {
                subresource: "driver",
                namespace: request.namespace,
                name: driver,
                ..asked()
            };
            let refused = self.refused(request.user, &asked, verbs)?;
            let verbs = verbs.join(" ");
            let why = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: {refused}"
            );
            Some(Error::forbidden(&path, why))
        };
        drivers.into_iter().filter_map(judge).collect()
    }

    /// Why the user may do none of these; `None` where one is allowed.
    fn refused(&self, user: &UserInfo, asked: &RequestInfo<'_>, verbs: &[&str]) -> Option<String> {
        let mut first = None;
        for verb in verbs {
            let asked = RequestInfo {
                verb,
                ..asked.clone()
            };
            match self.authorizer.authorize(user, &asked) {
                Decision::Allow { .. } => return None,
                Decision::Deny { reason } | Decision::NoOpinion { reason } => {
                    first
                        .get_or_insert_with(|| knarr_auth::authz::forbidden(user, &asked, &reason));
                }
            }
        }
        first.map(|status| status.message)
    }
}

fn asked<'a>() -> RequestInfo<'a> {
    RequestInfo {
        is_resource: true,
        group: GROUP,
        version: "v1",
        resource: "resourceclaims",
        ..RequestInfo::default()
    }
}

/// Drivers of which an entry came, went or changed.
fn changed_drivers<'o>(new: &'o Value, old: &'o Value) -> BTreeSet<&'o str> {
    let of = |object| list_at(object, &["status", "devices"]);
    let (new, old) = (of(new), of(old));
    let came = new.iter().filter(|device| !old.contains(device));
    let went = old.iter().filter(|device| !new.contains(device));
    let drivers = came.chain(went);
    drivers
        .map(|device| knarr_meta::object::str_at(device, &["driver"]))
        .collect()
}

/// The one node that an allocation is for.
fn allocated_node(claim: &Value) -> Option<&str> {
    let terms = ["status", "allocation", "nodeSelector", "nodeSelectorTerms"];
    let [term] = list_at(claim, &terms) else {
        return None;
    };
    let expressions = list_at(term, &["matchExpressions"]);
    let ([], [field]) = (expressions, list_at(term, &["matchFields"])) else {
        return None;
    };
    let text = |name| knarr_meta::object::str_at(field, &[name]);
    let [value] = list_at(field, &["values"]) else {
        return None;
    };
    (text("key") == "metadata.name" && text("operator") == "In").then_some(value.as_str()?)
}

/// Whether a service account's token says that its pod is on the node.
fn runs_on(user: &UserInfo, node: &str) -> bool {
    let nodes = user.extra.get(NODE_EXTRA);
    user.name.starts_with("system:serviceaccount:")
        && nodes.is_some_and(|nodes| matches!(&nodes[..], [only] if only == node))
}

#[cfg(test)]
mod tests;
