//! MutatingAdmissionPolicy: expressions of the cluster's owners change what is written.
//!
//! Behaviour and words are those of upstream's `apiserver/pkg/admission/plugin/policy/mutating/dispatcher.go`. Policies are asked in
//! the order of their names, each of what the one before it made.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::schema;
use knarr_apply::Schema;
use knarr_auth::{objects::Objects, request::Authorizer};
use knarr_meta::{
    object, patch,
    status::{Reason, Status},
};
use serde_json::Value;

use super::forbidden;
use crate::{
    matching::{Matched, Namespace, Outcome, carries_own_kind, unversioned, versioned},
    policies::{
        Asked, Source, any_matches,
        input::{Input, Subject},
        mutations::{Mutated, Mutation, Mutations},
        questions,
    },
    request::{AdmissionPlugin, AdmissionRequest, Phase},
};

const NAME: &str = "MutatingAdmissionPolicy";
const RESOURCES: [&str; 2] = [
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// The plugin.
pub struct MutatingAdmissionPolicy {
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
    source: Source<Mutations>,
}

/// Why a policy did not do its work.
struct Failed {
    message: String,
    /// Where it is not the one of all refusals.
    reason: Option<Reason>,
}

impl MutatingAdmissionPolicy {
    /// `authorizer` answers expressions that ask it.
    pub fn new(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        MutatingAdmissionPolicy {
            source: Source::new(objects.clone(), RESOURCES),
            objects,
            authorizer,
        }
    }

    fn input<'i>(
        &'i self,
        request: &AdmissionRequest<'_>,
        asked: &'i Asked<Mutations>,
        subject: &'i Subject,
        object: &'i Value,
    ) -> Input<'i> {
        let common = &asked.policy.compiled(Mutations::compile).common;
        let param = asked.param.as_deref();
        Input::new(
            common,
            request,
            subject,
            Some(object),
            param,
            &self.authorizer,
        )
    }

    /// Asks one policy; what it cannot do is added to `failed`.
    async fn ask(
        &self,
        request: &mut AdmissionRequest<'_>,
        namespace: &Namespace<'_>,
        asked: &Asked<Mutations>,
        failed: &mut Vec<Failed>,
    ) -> Result<(), Status> {
        let mutations = asked.policy.compiled(Mutations::compile);
        let Some(before) = request.object.as_deref().cloned() else {
            return Ok(());
        };
        let old = match request.old {
            Some(old) => versioned(request, &asked.matched, old).await?.into_owned(),
            None => Value::Null,
        };
        let subject = Subject::new(request, &asked.matched, old, namespace)?;
        let mut now = versioned(request, &asked.matched, &before)
            .await?
            .into_owned();
        let conditions = &mutations.common.conditions;
        match conditions.evaluate(&self.input(request, asked, &subject, &now).bindings()) {
            Outcome::Match => {}
            Outcome::NoMatch(_) => return Ok(()),
            Outcome::Failed(why) => {
                if !asked.policy.ignores_failure {
                    failed.push(Failed::of(asked, &why, Some(Reason::Invalid)));
                }
                return Ok(());
            }
        }
        let key = key(asked);
        // The second round asks nobody for the first time.
        let reinvocation = &mut *request.reinvocation;
        if reinvocation.is_again() && !reinvocation.of(NAME).is_due(&key) {
            return Ok(());
        }
        for mutation in &mutations.mutations {
            let input = self.input(request, asked, &subject, &now);
            let made = mutate(request, &asked.matched, mutation, &input, &now)?;
            match made {
                Ok(object) => now = object,
                Err(why) if !asked.policy.ignores_failure => {
                    failed.push(Failed::of(asked, &why, Some(Reason::Invalid)));
                }
                Err(_) => {}
            }
        }
        let mut now = unversioned(request, &asked.matched, now).await?;
        if object::at(&now, &["apiVersion"]).is_some() && carries_own_kind(request) {
            request.kind.strategy.default(&mut now);
        }
        if now != before {
            request.reinvocation.of(NAME).changed();
            request.reinvocation.want();
            if let Some(object) = request.object.as_deref_mut() {
                *object = now;
            }
        }
        if mutations.reinvocable {
            request.reinvocation.of(NAME).called(&key);
        }
        Ok(())
    }
}

/// Applies one mutation to an object of the version that matched. Inside: why it cannot be made.
fn mutate(
    request: &AdmissionRequest<'_>,
    matched: &Matched,
    mutation: &Mutation,
    input: &Input<'_>,
    object: &Value,
) -> Result<Result<Value, String>, Status> {
    let kind = matched.kind(request);
    let found = request.kinds.find_kind(&kind);
    let of_table = schema::definition_of_kind(&kind.group, &kind.version, &kind.kind)
        .map(schema::Definition::schema);
    let own = found.and_then(|kind| kind.strategy.apply_schema());
    let merged_by: Option<&dyn Schema> = match (own, of_table) {
        (Some(schema), _) => Some(schema),
        (None, Some(schema)) => Some(schema),
        (None, None) => None,
    };
    let Some(merged_by) = merged_by else {
        return Err(Status::service_unavailable(format!(
            "Resource kind {kind} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available."
        )));
    };
    let Mutated {
        mut object,
        unchecked,
    } = match mutation.apply(input, object, merged_by) {
        Ok(mutated) => mutated,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = patch::check_result(&object) {
        return Ok(Err(why));
    }
    if unchecked {
        let decoded = match found.and_then(|kind| kind.strategy.decode(&mut object)) {
            // Custom resources are decoded without their schema, which drops what it does not know.
            Some(decoded) => decoded.map(|_| Vec::new()),
            None => match of_table {
                Some(schema) => schema::strict::decode(schema, &mut object)
                    .map_err(|error| Status::internal(error.to_string())),
                None => Ok(Vec::new()),
            },
        };
        let unknown = decoded?;
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            return Err(Status::internal(format!(
                "strict decoding error: {unknown}"
            )));
        }
    }
    Ok(Ok(object))
}

/// What is asked again is this policy, through this binding, with this parameter.
fn key(asked: &Asked<Mutations>) -> String {
    let param = asked.param.as_deref();
    let param = param.map_or(("", ""), |param| {
        (object::namespace(param), object::name(param))
    });
    let (policy, binding) = (&asked.policy.name, &asked.binding.name);
    format!("{policy}/{binding}/{}/{}", param.0, param.1)
}

impl Failed {
    fn of(asked: &Asked<Mutations>, why: &str, reason: Option<Reason>) -> Failed {
        Failed {
            message: denied(&asked.policy.name, Some(&asked.binding.name), why),
            reason,
        }
    }
}

fn denied(policy: &str, binding: Option<&str>, why: &str) -> String {
    match binding {
        Some(binding) => {
            format!("policy '{policy}' with binding '{binding}' denied request: {why}")
        }
        None => format!("policy {policy:?} denied request: {why}"),
    }
}

/// The refusal: the first failure's message, all of them as causes.
fn status(request: &AdmissionRequest<'_>, failed: Vec<Failed>) -> Result<(), Status> {
    let Some(first) = failed.first() else {
        return Ok(());
    };
    let mut status = forbidden(request, "admission request denied by policy");
    status.message.clone_from(&first.message);
    if let Some(reason) = &first.reason {
        status.reason = reason.clone();
    }
    for one in failed {
        status = status.with_cause("", one.message, "");
    }
    Err(status)
}

#[async_trait]
impl AdmissionPlugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn runs_in(&self, phase: Phase) -> bool {
        phase == Phase::Mutate
    }

    fn asks_others(&self) -> bool {
        true
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        any_matches(&self.source, request)
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let namespace = Namespace::new(&*self.objects);
        let questions = questions(&self.source, request, &namespace, &*self.objects)?;
        let mut failed: Vec<Failed> = Vec::new();
        for wrong in &questions.misconfigured {
            if !wrong.policy.ignores_failure {
                let binding = wrong.binding.as_ref().map(|binding| &*binding.name);
                failed.push(Failed {
                    message: denied(&wrong.policy.name, binding, &wrong.why),
                    reason: None,
                });
            }
        }
        request.reinvocation.enter(NAME, request.object.as_deref());
        for asked in &questions.asked {
            self.ask(request, &namespace, asked, &mut failed).await?;
        }
        request.reinvocation.leave(NAME, request.object.as_deref());
        status(request, failed)
    }
}
