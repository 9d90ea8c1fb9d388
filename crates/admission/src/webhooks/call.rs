//! One call of one webhook.

use knarr_meta::{names, status::Status};
use knarr_webhook::Bounds;
use serde_json::Value;

use super::{
    Calls,
    hook::{FailurePolicy, Hook},
    in_version,
    review::{self, Unusable, Verdict},
};
use crate::{audit, matching::Matched, request::AdmissionRequest};

/// Most bytes of an answer: a patch may hold a whole object, as large as any request, in base64.
const ANSWER_BYTES: usize = 8 << 20;
/// Most warnings of an answer that are passed on: no more fit into an answer's headers.
const MAX_WARNINGS: usize = 64;

/// A webhook that is to be called, and what it is asked.
pub struct Invocation<'h> {
    pub hook: &'h Hook,
    pub matched: Matched,
    /// The request without its objects.
    pub request: Value,
}

/// Why a webhook did not allow a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It gave no verdict: what follows is its failure policy's.
    Call(String),
    /// It refused, or cannot be asked: whatever its failure policy.
    Refused(Status),
}

impl Failure {
    /// Whether the webhook gave no verdict, and its failures are ignored.
    pub fn is_open(&self, hook: &Hook) -> bool {
        matches!(self, Failure::Call(_)) && hook.failure_policy == FailurePolicy::Ignore
    }

    /// What becomes of the write: an error, or nothing where the webhook's failures are ignored.
    pub fn settle(self, hook: &Hook) -> Result<(), Status> {
        match self {
            Failure::Refused(status) => Err(status),
            Failure::Call(why) => {
                let told = format!("failed calling webhook {:?}: {why}", hook.name);
                match hook.failure_policy {
                    FailurePolicy::Fail => Err(Status::internal(told)),
                    FailurePolicy::Ignore => {
                        tracing::warn!(webhook = hook.name, why, "a webhook's failure is ignored");
                        Ok(())
                    }
                }
            }
        }
    }
}

impl Calls {
    /// Asks a webhook. Its warnings are the request's, whatever it decides.
    pub async fn call(
        &self,
        invocation: &Invocation<'_>,
        request: &AdmissionRequest<'_>,
        mutating: bool,
    ) -> Result<Verdict, Failure> {
        let hook = invocation.hook;
        if request.dry_run && !hook.dry_run {
            return Err(Failure::Refused(Status::bad_request(format!(
                "admission webhook {:?} does not support dry run",
                hook.name
            ))));
        }
        let Some(version) = hook.version else {
            return Err(Failure::Call(
                "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
                    .to_owned(),
            ));
        };
        let client = hook
            .client
            .as_ref()
            .map_err(|why| Failure::Call(why.clone()))?;
        let uid = names::new_uid();
        let review = {
            let matched = &invocation.matched;
            let object = self
                .typed(request, matched, request.object.as_deref())
                .await?;
            let old = self.typed(request, matched, request.old).await?;
            review::encode(version, &uid, &invocation.request, &object, &old)
                .map_err(|error| Failure::Refused(Status::internal(error)))?
        };
        let bounds = Bounds {
            time: hook.timeout,
            answer_bytes: ANSWER_BYTES,
        };
        let body = self.clients.call(client, review, bounds).await;
        let body = body.map_err(|error| Failure::Call(error.to_string()))?;
        let verdict = review::decode(version, &uid, mutating, &body).map_err(|error| {
            Failure::Call(match error {
                Unusable::Undecodable(why) => format!("failed to call webhook: {why}"),
                Unusable::Invalid(why) => format!("received invalid webhook response: {why}"),
            })
        })?;
        for warning in verdict.warnings.iter().take(MAX_WARNINGS) {
            request.warnings.add(warning.clone());
        }
        for (key, value) in &verdict.annotations {
            audit::annotate(request, &format!("{}/{key}", hook.name), value);
        }
        match &verdict.refused {
            Some(status) => Err(Failure::Refused(review::refusal(&hook.name, status))),
            None => Ok(verdict),
        }
    }

    /// An object as it is sent: in the version that matched, and saying so.
    async fn typed(
        &self,
        request: &AdmissionRequest<'_>,
        matched: &Matched,
        object: Option<&Value>,
    ) -> Result<Value, Failure> {
        let object = in_version(request, matched, object).await;
        let mut object = object.map_err(Failure::Refused)?.into_owned();
        review::set_type(&mut object, &matched.kind(request));
        Ok(object)
    }
}
