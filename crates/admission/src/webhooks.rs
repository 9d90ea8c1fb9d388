//! Admission webhooks: servers of others that mutate a write or refuse it.
//!
//! ```text
//! configurations (watch cache) --> Source: hooks, compiled once a change
//! request --> Criteria, Conditions --> review --> POST --> verdict: allowed, patch, warnings
//! ```
//!
//! Those that mutate are called one after the other, in the order of their configurations' names, each with what the one before it
//! made; those that validate are called at once. A configuration is in force for the first request after its write was
//! acknowledged, since requests see what was acknowledged before them. Behaviour and wording are those of upstream's
//! `apiserver/pkg/admission/plugin/webhook`.

mod annotations;
mod call;
mod hook;
mod mutating;
mod review;
mod source;
#[cfg(test)]
mod tests;
mod validating;

use std::{borrow::Cow, sync::Arc};

use knarr_auth::{objects::Objects, request::Authorizer};
use knarr_meta::{Gvr, status::Status};
use knarr_webhook::Clients;
use serde_json::Value;

use self::{
    call::Invocation,
    hook::{FailurePolicy, Hook},
    source::Source,
};
pub use self::{mutating::MutatingWebhooks, validating::ValidatingWebhooks};
use crate::{
    matching::{
        Activation, Matched, Namespace, Outcome, is_exempt, request_value, requested_resource,
        versioned,
    },
    request::AdmissionRequest,
};

/// What calling webhooks takes.
#[derive(Clone)]
pub struct Calls {
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
    clients: Arc<Clients>,
}

impl Calls {
    pub fn new(
        objects: Arc<dyn Objects>,
        authorizer: Arc<dyn Authorizer>,
        clients: Arc<Clients>,
    ) -> Calls {
        Calls {
            objects,
            authorizer,
            clients,
        }
    }

    /// How a hook is to be called for a request; `None`: it is not.
    ///
    /// # Errors
    /// 404 where the request's namespace is not there, 403 where match conditions fail.
    async fn invocation<'h>(
        &self,
        hook: &'h Hook,
        request: &AdmissionRequest<'_>,
        namespace: &Namespace<'_>,
    ) -> Result<Option<Invocation<'h>>, Status> {
        let Some(matched) = hook.criteria.matches(request, namespace)? else {
            return Ok(None);
        };
        let value = request_value(request, &matched);
        if !hook.conditions.is_empty() {
            let object = in_version(request, &matched, request.object.as_deref()).await?;
            let old = in_version(request, &matched, request.old).await?;
            let outcome = {
                let authorizer = &self.authorizer;
                let null = Value::Null;
                let activation = Activation::new(request, &value, &object, &old, &null, authorizer);
                hook.conditions.evaluate(&activation.bindings())
            };
            match outcome {
                Outcome::Match => {}
                Outcome::NoMatch(_) => return Ok(None),
                Outcome::Failed(_) if hook.failure_policy == FailurePolicy::Ignore => {
                    return Ok(None);
                }
                Outcome::Failed(why) => {
                    let Gvr {
                        group, resource, ..
                    } = requested_resource(request);
                    let resource = knarr_meta::GroupResource::new(group, resource);
                    return Err(Status::forbidden(resource, request.name, why));
                }
            }
        }
        Ok(Some(Invocation {
            hook,
            matched,
            request: value,
        }))
    }
}

/// An object of a request in the version that matched; null where there is none.
async fn in_version<'v>(
    request: &AdmissionRequest<'_>,
    matched: &Matched,
    object: Option<&'v Value>,
) -> Result<Cow<'v, Value>, Status> {
    match object {
        Some(object) => versioned(request, matched, object).await,
        None => Ok(Cow::Owned(Value::Null)),
    }
}

/// Whether one of the hooks may have to be called: by resource and operation alone.
fn concerns(source: &Source, request: &AdmissionRequest<'_>) -> bool {
    let hooks = &source.view().hooks;
    // What cannot be said now is told as an error when the hook is looked at.
    let concerns = |hook: &Arc<Hook>| !matches!(hook.criteria.resource_matches(request), Ok(None));
    let unknown = !source.is_whole();
    (unknown || !hooks.is_empty()) && !is_exempt(request) && (unknown || hooks.iter().any(concerns))
}
