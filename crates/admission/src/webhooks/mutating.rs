//! MutatingAdmissionWebhook: webhooks that change what is written, one after the other.

use async_trait::async_trait;
use knarr_api::schema;
use knarr_meta::{patch, status::Status};
use serde_json::Value;

use super::{
    Calls, annotations,
    call::{Failure, Invocation},
    concerns, in_version,
    source::Source,
};
use crate::{
    matching::{Namespace, carries_own_kind, unversioned},
    not_ready,
    request::{AdmissionPlugin, AdmissionRequest, Phase},
};

const NAME: &str = "MutatingAdmissionWebhook";

/// The plugin.
pub struct MutatingWebhooks {
    calls: Calls,
    source: Source,
}

impl MutatingWebhooks {
    pub fn new(calls: Calls) -> Self {
        let source = Source::new(calls.objects.clone(), "mutatingwebhookconfigurations");
        MutatingWebhooks { calls, source }
    }

    /// Calls a webhook and does what it says. Whether the object changed.
    async fn apply(
        &self,
        invocation: &Invocation<'_>,
        place: annotations::Place,
        request: &mut AdmissionRequest<'_>,
    ) -> Result<bool, Failure> {
        let verdict = self.calls.call(invocation, request, true).await?;
        let Some((kind, patch)) = verdict.patch else {
            return Ok(false);
        };
        let operations = super::review::operations(&patch).map_err(|why| {
            Failure::Call(format!(
                "received undecodable patch in webhook response: {why}"
            ))
        })?;
        if operations.is_empty() {
            return Ok(false);
        }
        place.patched(request, invocation.hook, &patch);
        let name = &invocation.hook.name;
        let refused = |why: String| Failure::Refused(Status::internal(why));
        let Some(before) = request.object.as_deref() else {
            return Err(refused(format!(
                "admission webhook {name:?} attempted to modify the object, which is not supported for this operation"
            )));
        };
        if kind != "JSONPatch" {
            return Err(Failure::Call(format!("unsupported patch type {kind:?}")));
        }
        let before = in_version(request, &invocation.matched, Some(before)).await;
        let before = before.map_err(Failure::Refused)?.into_owned();
        let mut object = before.clone();
        patch::json_or_why(&mut object, &patch).map_err(refused)?;
        patch::check_result(&object)
            .map_err(|why| refused(format!("admission webhook {name:?}: {why}")))?;
        conform(request, invocation, &mut object).map_err(|status| refused(status.message))?;
        let changed = object != before;
        let mut object = unversioned(request, &invocation.matched, object)
            .await
            .map_err(Failure::Refused)?;
        if carries_own_kind(request) {
            request.kind.strategy.default(&mut object);
        }
        if let Some(place) = request.object.as_deref_mut() {
            *place = object;
        }
        Ok(changed)
    }
}

#[async_trait]
impl AdmissionPlugin for MutatingWebhooks {
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
        concerns(&self.source, request)
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        if !self.source.is_whole() {
            return Err(not_ready(request));
        }
        let view = self.source.view();
        let namespace = Namespace::new(&*self.calls.objects);
        request.reinvocation.enter(NAME, request.object.as_deref());
        for (index, hook) in view.hooks.iter().enumerate() {
            let invocation = self.calls.invocation(hook, request, &namespace);
            let Some(invocation) = invocation.await? else {
                continue;
            };
            // The second round calls nobody for the first time.
            let reinvocation = &mut *request.reinvocation;
            if reinvocation.is_again() && !reinvocation.of(NAME).is_due(&hook.id) {
                continue;
            }
            let place = annotations::Place {
                again: request.reinvocation.is_again(),
                index,
            };
            let applied = self.apply(&invocation, place, request).await;
            place.called(request, hook, matches!(applied, Ok(true)));
            let reinvocation = &mut *request.reinvocation;
            if matches!(applied, Ok(true)) {
                reinvocation.of(NAME).changed();
                reinvocation.want();
            }
            if hook.reinvoked {
                reinvocation.of(NAME).called(&hook.id);
            }
            if let Err(failure) = applied {
                if failure.is_open(hook) {
                    place.failed_open(request, hook);
                }
                failure.settle(hook)?;
            }
        }
        request.reinvocation.leave(NAME, request.object.as_deref());
        Ok(())
    }
}

/// Makes a patched object one of its type again: what that does not know goes.
fn conform(
    request: &AdmissionRequest<'_>,
    invocation: &Invocation<'_>,
    object: &mut Value,
) -> Result<(), Status> {
    let served = invocation.matched.served();
    let kind = served.map_or(request.kind, |served| &served.kind);
    let subresource = kind.subresource(request.subresource);
    let definition = match subresource.and_then(|subresource| subresource.kind) {
        // Options of CONNECT are in no table.
        Some((group, version, kind)) => {
            schema::definition_of_kind(group, version, kind).map_or("", |found| found.name)
        }
        None => {
            if let Some(decoded) = kind.strategy.decode(object) {
                return decoded.map(drop);
            }
            match (served, request.alias) {
                (Some(served), _) => served.definition(),
                (None, Some(alias)) => alias.definition,
                (None, None) => &kind.definition,
            }
        }
    };
    match schema::definition(definition) {
        Some(definition) => schema::strict::check(definition, object).map(drop),
        None => Ok(()),
    }
}
