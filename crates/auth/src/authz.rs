//! Authorization: may this user do this?
//!
//! [`Authz`] asks the privileged group `system:masters` first, then, unless told another order, the Node authorizer for kubelets and
//! RBAC; what nobody allows is denied. Every answer of these comes from indexes in memory that are rebuilt lazily, when the revision of the
//! watched resources has moved; a request never waits for a read. The same index serves the reviews of
//! `authorization.k8s.io`, impersonation and the escalation check on writes of roles and bindings.
//!
//! Rejected: asking the API for every check (a hop a request), and rebuilding on a timer (a binding must count for the very
//! next request).

use std::sync::Arc;

use arc_swap::ArcSwap;
use knarr_meta::{GroupResource, field::quote, status::Status};

use crate::{
    UserInfo,
    objects::Objects,
    request::{Authorizer, Decision, RequestInfo},
};

pub mod cover;
pub mod node;
pub mod rbac;
pub mod review;
pub mod rules;
#[cfg(test)]
mod tests;

/// Members may do everything, whatever the roles say: the way in when roles are broken.
pub const MASTERS: &str = "system:masters";

/// The chain of authorizers.
pub struct Authz {
    node: node::NodeAuthorizer,
    rbac: Arc<rbac::Rbac>,
    order: ArcSwap<Vec<Step>>,
}

/// One of the chain.
pub enum Step {
    Node,
    Rbac,
    Other(Arc<dyn Authorizer>),
}

impl Authz {
    /// Both authorizers read from the watch cache.
    pub fn new(objects: Arc<dyn Objects>) -> Authz {
        Authz {
            node: node::NodeAuthorizer::new(objects.clone()),
            rbac: Arc::new(rbac::Rbac::new(objects)),
            order: ArcSwap::from_pointee(vec![Step::Node, Step::Rbac]),
        }
    }

    /// Asks these from now on, in this order.
    pub fn set_order(&self, order: Vec<Step>) {
        self.order.store(Arc::new(order));
    }

    /// The RBAC index, for reviews and escalation checks.
    pub fn rbac(&self) -> &Arc<rbac::Rbac> {
        &self.rbac
    }
}

impl Authorizer for Authz {
    fn authorize(&self, user: &UserInfo, request: &RequestInfo<'_>) -> Decision {
        if is_master(user) {
            return Decision::Allow {
                reason: String::new(),
            };
        }
        let mut reasons = Vec::new();
        for step in self.order.load().iter() {
            let decision = match step {
                Step::Node => self.node.authorize(user, request),
                Step::Rbac => self.rbac.authorize(user, request),
                Step::Other(authorizer) => authorizer.authorize(user, request),
            };
            match decision {
                Decision::NoOpinion { reason } if reason.is_empty() => {}
                Decision::NoOpinion { reason } => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion {
            reason: reasons.join("\n"),
        }
    }
}

/// True for members of `system:masters`.
pub fn is_master(user: &UserInfo) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}

/// `Ok` when allowed, else the 403 a client gets.
pub fn check(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    request: &RequestInfo<'_>,
) -> Result<(), Status> {
    settle(authorizer.authorize(user, request), user, request)
}

/// `Ok` when it was decided to allow, else the 403 a client gets.
pub fn settle(
    decision: Decision,
    user: &UserInfo,
    request: &RequestInfo<'_>,
) -> Result<(), Status> {
    match decision {
        Decision::Allow { .. } => Ok(()),
        Decision::Deny { reason } | Decision::NoOpinion { reason } => {
            Err(forbidden(user, request, &reason))
        }
    }
}

/// Upstream's 403: `pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "default"`.
pub fn forbidden(user: &UserInfo, request: &RequestInfo<'_>, reason: &str) -> Status {
    let (name, verb) = (quote(&user.name), request.verb);
    let mut message = if request.is_resource {
        let mut resource = request.resource.to_owned();
        if !request.subresource.is_empty() {
            resource = format!("{resource}/{}", request.subresource);
        }
        let place = if request.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {}", quote(request.namespace))
        };
        let (resource, group) = (quote(&resource), quote(request.group));
        format!("User {name} cannot {verb} resource {resource} in API group {group} {place}")
    } else {
        format!("User {name} cannot {verb} path {}", quote(request.path))
    };
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    let resource = GroupResource::new(request.group.to_owned(), request.resource.to_owned());
    Status::forbidden(resource, request.name, message)
}

/// `["a" "b"]`, as Go prints a slice of strings with `%q`.
pub fn quote_all<S: AsRef<str>>(items: &[S]) -> String {
    format!(
        "[{}]",
        items
            .iter()
            .map(|item| quote(item.as_ref()))
            .collect::<Vec<_>>()
            .join(" ")
    )
}
