//! Nobody grants what they do not hold: the check on writes of roles and bindings.
//!
//! Upstream does this in the storage of the RBAC kinds; here it is the last validating admission plugin, which sees the same
//! object. Members of `system:masters`, users with the verb `escalate` on the role or `bind` on the referenced role, and
//! writes that touch only ownerReferences and finalizers pass.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use knarr_auth::{
    UserInfo,
    authz::{
        cover, is_master, quote_all,
        rbac::{GROUP, Rbac, RoleRef, not_found},
        rules::Rule,
    },
    request::{Authorizer, Decision, RequestInfo},
};
use knarr_meta::{GroupResource, field::quote, status::Status};
use serde_json::Value;

use crate::{
    only_gc_fields,
    request::{AdmissionPlugin, AdmissionRequest, Operation},
};

/// The plugin.
pub struct RbacEscalation {
    rbac: Arc<Rbac>,
    authorizer: Arc<dyn Authorizer>,
}

impl RbacEscalation {
    /// `authorizer` answers for the verbs `escalate` and `bind`.
    pub fn new(rbac: Arc<Rbac>, authorizer: Arc<dyn Authorizer>) -> Self {
        RbacEscalation { rbac, authorizer }
    }

    fn may(&self, request: &AdmissionRequest<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let asked = RequestInfo {
            is_resource: true,
            verb,
            group: GROUP,
            version: "*",
            namespace: request.namespace,
            resource,
            name,
            ..RequestInfo::default()
        };
        matches!(
            self.authorizer.authorize(request.user, &asked),
            Decision::Allow { .. }
        )
    }

    /// Fails with upstream's message when `wanted` holds more than the user does in `namespace`.
    fn confirm(&self, user: &UserInfo, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
        let held = self.rbac.held(user, namespace);
        let missing = cover::missing(held.rules(), wanted)
            .map_err(|cover::TooComplex| "the rules are too complex to compare".to_owned())?;
        if missing.parts.is_empty() {
            return Ok(());
        }
        let lines: BTreeSet<String> = cover::join_verbs(missing.parts)
            .iter()
            .map(Rule::compact)
            .collect();
        let mut lines = lines.into_iter().collect::<Vec<_>>().join("\n");
        if missing.more {
            lines.push_str("\nand more");
        }
        let (name, groups) = (quote(&user.name), quote_all(&user.groups));
        let mut message = format!(
            "user {name} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{lines}"
        );
        if !held.errors.is_empty() {
            message = format!("{message}; resolution errors: [{}]", held.errors.join(", "));
        }
        Err(message)
    }

    fn role(&self, request: &AdmissionRequest<'_>, role: &Value) -> Result<(), String> {
        if self.may(request, "escalate", &request.kind.resource, request.name) {
            return Ok(());
        }
        let wanted: Vec<Rule> = parse(&role["rules"])?;
        self.confirm(request.user, request.namespace, &wanted)?;
        let aggregates = |role: &Value| {
            role["aggregationRule"]["clusterRoleSelectors"]
                .as_array()
                .is_some_and(|s| !s.is_empty())
        };
        if aggregates(role) || request.old.is_some_and(aggregates) {
            let all = || vec!["*".to_owned()];
            let everything = [
                Rule {
                    verbs: all(),
                    api_groups: all(),
                    resources: all(),
                    ..Rule::default()
                },
                Rule {
                    verbs: all(),
                    non_resource_urls: all(),
                    ..Rule::default()
                },
            ];
            self.confirm(request.user, request.namespace, &everything)
                .map_err(|_| {
                    "must have cluster-admin privileges to use the aggregationRule".to_owned()
                })?;
        }
        Ok(())
    }

    fn binding(&self, request: &AdmissionRequest<'_>, binding: &Value) -> Result<(), Refusal> {
        let role: RoleRef = parse(&binding["roleRef"]).map_err(Refusal::Forbidden)?;
        let resource = match role.kind.as_str() {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            // Validation has the words for this.
            _ => return Ok(()),
        };
        if self.may(request, "bind", resource, &role.name) {
            return Ok(());
        }
        let wanted = self
            .rbac
            .role_rules(&role, request.namespace)
            .ok_or_else(|| Refusal::NoRole(role.clone()))?;
        self.confirm(request.user, request.namespace, &wanted)
            .map_err(Refusal::Forbidden)
    }
}

enum Refusal {
    Forbidden(String),
    /// Upstream answers 404 for a role that the user may not bind blindly.
    NoRole(RoleRef),
}

fn parse<T: serde::de::DeserializeOwned + Default>(value: &Value) -> Result<T, String> {
    match value {
        Value::Null => Ok(T::default()),
        value => serde_json::from_value(value.clone()).map_err(|error| error.to_string()),
    }
}

#[async_trait]
impl AdmissionPlugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RbacEscalation"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        request.kind.group == GROUP
            && request.subresource.is_empty()
            && matches!(request.operation, Operation::Create | Operation::Update)
            && !is_master(request.user)
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(object) = request.object.as_deref() else {
            return Ok(());
        };
        if request.old.is_some_and(|old| only_gc_fields(object, old)) {
            return Ok(());
        }
        let refused = match &*request.kind.resource {
            "roles" | "clusterroles" => self.role(request, object).map_err(Refusal::Forbidden),
            "rolebindings" | "clusterrolebindings" => self.binding(request, object),
            _ => Ok(()),
        };
        refused.map_err(|refusal| match refusal {
            Refusal::Forbidden(message) => {
                let name = object["metadata"]["name"].as_str().unwrap_or(request.name);
                Status::forbidden(
                    GroupResource::new(GROUP, request.kind.resource.clone()),
                    name,
                    message,
                )
            }
            Refusal::NoRole(role) => {
                tracing::debug!(missing = %not_found(&role), "binding refers to no role");
                Status::not_found(
                    GroupResource::new(GROUP, role.kind.to_lowercase()),
                    &role.name,
                )
            }
        })
    }
}

#[cfg(test)]
mod tests;
