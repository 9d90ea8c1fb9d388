//! The server's authorizer, as expressions ask it.

use std::{borrow::Cow, fmt, sync::Arc};

use knarr_auth::{
    UserInfo, authn,
    request::{Authorizer, Decision, RequestInfo, Selectors},
};
use knarr_cel::authz::{self, Check, Subject};

/// An authorizer for the user of a request.
pub struct OfUser {
    pub authorizer: Arc<dyn Authorizer>,
    pub user: UserInfo,
}

impl fmt::Debug for OfUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "authorizer for {:?}", self.user.name)
    }
}

impl authz::Authorizer for OfUser {
    fn authorize(&self, subject: &Subject, check: &Check<'_>) -> authz::Decision {
        let account;
        let user = match subject {
            Subject::Requester => &self.user,
            Subject::ServiceAccount { namespace, name } => {
                account = authn::service_account(namespace, name);
                &account
            }
        };
        let request = match *check {
            Check::Path { path, verb } => RequestInfo {
                path,
                verb,
                ..RequestInfo::default()
            },
            Check::Resource { of, verb } => RequestInfo {
                is_resource: true,
                verb,
                group: &of.group,
                version: "*",
                namespace: &of.namespace,
                resource: &of.resource,
                subresource: &of.subresource,
                name: &of.name,
                // One that cannot be read selects everything, which needs more rights, not fewer: as upstream.
                selectors: Cow::Owned(
                    Selectors::parse(&of.label_selector, &of.field_selector).unwrap_or_default(),
                ),
                ..RequestInfo::default()
            },
        };
        let (allowed, reason) = match self.authorizer.authorize(user, &request) {
            Decision::Allow { reason } => (true, reason),
            Decision::Deny { reason } | Decision::NoOpinion { reason } => (false, reason),
        };
        authz::Decision {
            allowed,
            reason,
            error: None,
        }
    }
}
