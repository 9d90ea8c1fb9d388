//! Admission policies: the parts that validating and mutating ones have in common.
//!
//! ```text
//! watch cache --Source--> Hook { Policy (compiled once), its Bindings }
//!                           | matches the request?  each binding?  its params
//!                           v
//!                      Asked { policy, binding, param } --> evaluator of the plugin
//! ```
//!
//! As upstream's `apiserver/pkg/admission/plugin/policy/generic`. A change of a policy or a binding is in force with the request
//! after it; expressions are compiled when the first request matches, and kept by uid and generation.

mod found;
mod hook;
pub mod input;
pub mod merge;
pub mod mutations;
mod params;
mod source;
#[cfg(test)]
mod tests;
pub mod validations;

use std::sync::Arc;

use knarr_auth::objects::Objects;
use knarr_meta::status::Status;
use serde_json::Value;

pub use self::{
    hook::{Binding, Hook, Policy},
    source::Source,
};
use crate::{
    matching::{Matched, Namespace, is_exempt},
    not_ready,
    request::AdmissionRequest,
};

/// Whether some policy may judge a request: cheap, and before anything is made for it.
pub fn any_matches<C>(source: &Source<C>, request: &AdmissionRequest<'_>) -> bool {
    let (hooks, unknown) = (source.current(), !source.is_whole());
    if (hooks.is_empty() && !unknown) || is_exempt(request) {
        return false;
    }
    let matches = |hook: &Hook<C>| {
        let matched = hook.policy.criteria.resource_matches(request);
        !matches!(matched, Ok(None))
    };
    unknown || hooks.iter().any(matches)
}

/// A policy that is asked about a request, through a binding, with a parameter.
#[derive(Debug)]
pub struct Asked<C> {
    pub policy: Arc<Policy<C>>,
    pub binding: Arc<Binding>,
    pub matched: Matched,
    pub param: Option<Arc<Value>>,
}

/// Why a policy could not be asked; what follows is its failure policy's.
#[derive(Debug)]
pub struct Misconfigured<C> {
    pub policy: Arc<Policy<C>>,
    pub binding: Option<Arc<Binding>>,
    pub why: String,
}

/// What is to be asked about a request, in the order of names.
pub struct Questions<C> {
    pub asked: Vec<Asked<C>>,
    pub misconfigured: Vec<Misconfigured<C>>,
}

/// Which policies are asked about a request, and what keeps others from being asked.
///
/// # Errors
/// 403 while some cannot be read.
pub fn questions<C>(
    source: &Source<C>,
    request: &AdmissionRequest<'_>,
    namespace: &Namespace<'_>,
    objects: &dyn Objects,
) -> Result<Questions<C>, Status> {
    if !source.is_whole() {
        return Err(not_ready(request));
    }
    let mut questions = Questions {
        asked: Vec::new(),
        misconfigured: Vec::new(),
    };
    for hook in source.current().iter() {
        let wrong = |binding, why: String| {
            let before = match &binding {
                None => "failed to configure policy",
                Some(_) => "failed to configure binding",
            };
            Misconfigured {
                policy: hook.policy.clone(),
                binding,
                why: format!("{before}: {why}"),
            }
        };
        let matched = match hook.policy.criteria.matches(request, namespace) {
            Ok(Some(matched)) => matched,
            Ok(None) => continue,
            Err(status) => {
                questions.misconfigured.push(wrong(None, status.message));
                continue;
            }
        };
        let kind = match params::kind(&hook.policy, request.kinds) {
            Ok(kind) => kind,
            Err(why) => {
                questions.misconfigured.push(wrong(None, why));
                continue;
            }
        };
        for binding in &hook.bindings {
            let found =
                binding_matches(binding, request, namespace).and_then(|matches| match matches {
                    true => params::of(binding, kind.as_ref(), request, objects),
                    false => Ok(Vec::new()),
                });
            match found {
                Ok(found) => questions.asked.extend(found.into_iter().map(|param| Asked {
                    policy: hook.policy.clone(),
                    binding: binding.clone(),
                    matched: matched.clone(),
                    param,
                })),
                Err(why) => questions
                    .misconfigured
                    .push(wrong(Some(binding.clone()), why)),
            }
        }
    }
    Ok(questions)
}

fn binding_matches(
    binding: &Binding,
    request: &AdmissionRequest<'_>,
    namespace: &Namespace<'_>,
) -> Result<bool, String> {
    let Some(criteria) = &binding.criteria else {
        return Ok(true);
    };
    let matched = criteria.matches(request, namespace);
    matched
        .map(|matched| matched.is_some())
        .map_err(|status: Status| status.message)
}
