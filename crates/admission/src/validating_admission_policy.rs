//! ValidatingAdmissionPolicy: expressions of the cluster's owners refuse writes, warn of them, or tell auditors.
//!
//! Behaviour and words are those of upstream's `apiserver/pkg/admission/plugin/policy/validating/dispatcher.go`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use knarr_auth::{objects::Objects, request::Authorizer};
use knarr_meta::status::{Reason, Status};
use serde_json::{Value, json};

use super::forbidden;
use crate::{
    audit,
    matching::{Matched, Namespace, versioned},
    policies::{
        Asked, Source, any_matches,
        input::{Input, Subject},
        questions,
        validations::{Annotation, Failure, Validations, Verdict},
    },
    request::{AdmissionPlugin, AdmissionRequest, Phase},
};

const RESOURCES: [&str; 2] = [
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
];
const AUDIT_KEY: &str = "validation.policy.admission.k8s.io/validation_failure";
/// Most failures that are told to auditors.
const MAX_AUDITED: usize = 50;

/// The plugin.
pub struct ValidatingAdmissionPolicy {
    objects: Arc<dyn Objects>,
    authorizer: Arc<dyn Authorizer>,
    source: Source<Validations>,
}

/// A policy's refusal.
struct Denial {
    message: String,
    reason: String,
}

/// What policies have said of a request so far.
#[derive(Default)]
struct Sum {
    denial: Option<Denial>,
    audited: Vec<Value>,
    /// Values by policy and key.
    annotations: BTreeMap<(String, String), Vec<String>>,
}

/// A request in the version that a policy matched.
struct Judged {
    object: Option<Value>,
    subject: Subject,
}

impl ValidatingAdmissionPolicy {
    /// `authorizer` answers expressions that ask it.
    pub fn new(objects: Arc<dyn Objects>, authorizer: Arc<dyn Authorizer>) -> Self {
        ValidatingAdmissionPolicy {
            source: Source::new(objects.clone(), RESOURCES),
            objects,
            authorizer,
        }
    }

    async fn judged(
        &self,
        request: &AdmissionRequest<'_>,
        matched: &Matched,
        namespace: &Namespace<'_>,
    ) -> Result<Judged, Status> {
        let object = match request.object.as_deref() {
            Some(object) => Some(versioned(request, matched, object).await?.into_owned()),
            None => None,
        };
        let old = match request.old {
            Some(old) => versioned(request, matched, old).await?.into_owned(),
            None => Value::Null,
        };
        Ok(Judged {
            object,
            subject: Subject::new(request, matched, old, namespace)?,
        })
    }

    fn ask(
        &self,
        request: &AdmissionRequest<'_>,
        judged: &Judged,
        asked: &Asked<Validations>,
    ) -> Verdict {
        let validations = asked.policy.compiled(Validations::compile);
        let input = Input::new(
            &validations.common,
            request,
            &judged.subject,
            judged.object.as_ref(),
            asked.param.as_deref(),
            &self.authorizer,
        );
        validations.judge(&input, asked.policy.ignores_failure)
    }
}

impl Sum {
    /// The first refusal is told.
    fn deny(&mut self, message: String, reason: &str) {
        let reason = match reason {
            "" => "Invalid",
            reason => reason,
        };
        self.denial.get_or_insert_with(|| Denial {
            message,
            reason: reason.to_owned(),
        });
    }

    fn fail(
        &mut self,
        request: &AdmissionRequest<'_>,
        asked: &Asked<Validations>,
        failure: &Failure,
    ) {
        let (policy, binding) = (&asked.policy.name, &asked.binding.name);
        let message = &failure.message;
        for action in &asked.binding.actions {
            match &**action {
                "Deny" => self.deny(denied(policy, Some(binding), message), &failure.reason),
                "Warn" => request.warnings.add(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                )),
                "Audit" if self.audited.len() < MAX_AUDITED => self.audited.push(json!({
                    "message": message,
                    "policy": policy,
                    "binding": binding,
                    "expressionIndex": failure.index,
                    "validationActions": asked.binding.actions,
                })),
                _ => {}
            }
        }
    }

    fn annotate(&mut self, asked: &Asked<Validations>, annotation: Annotation) {
        match annotation {
            Annotation::Publish { key, value } => {
                let value = audit::truncated(&value).to_owned();
                let key = (asked.policy.name.clone(), key);
                let values = self.annotations.entry(key).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            Annotation::Failed(why) => {
                let binding = Some(&*asked.binding.name);
                self.deny(denied(&asked.policy.name, binding, &why), "");
            }
        }
    }

    fn publish(&self, request: &AdmissionRequest<'_>) {
        for ((policy, key), values) in &self.annotations {
            audit::annotate(request, &format!("{policy}/{key}"), &values.join(", "));
        }
        if !self.audited.is_empty() {
            let failures = Value::from(self.audited.clone()).to_string();
            audit::annotate(request, AUDIT_KEY, &failures);
        }
    }
}

fn denied(policy: &str, binding: Option<&str>, why: &str) -> String {
    match binding {
        Some(binding) => format!(
            "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {why}"
        ),
        None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {why}"),
    }
}

fn status(request: &AdmissionRequest<'_>, denial: &Denial) -> Status {
    let reason = Reason::from(&*denial.reason);
    let code = match reason {
        Reason::Forbidden => 403,
        Reason::Unauthorized => 401,
        Reason::RequestEntityTooLarge => 413,
        _ => 422,
    };
    Status {
        reason,
        code,
        ..forbidden(request, &denial.message).with_cause("", &*denial.message, "")
    }
}

#[async_trait]
impl AdmissionPlugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn runs_in(&self, phase: Phase) -> bool {
        phase == Phase::Validate
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        any_matches(&self.source, request)
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let namespace = Namespace::new(&*self.objects);
        let questions = questions(&self.source, request, &namespace, &*self.objects)?;
        let mut sum = Sum::default();
        for wrong in questions.misconfigured {
            if !wrong.policy.ignores_failure {
                let binding = wrong.binding.as_ref().map(|binding| &*binding.name);
                sum.deny(denied(&wrong.policy.name, binding, &wrong.why), "");
            }
        }
        let mut versions: Vec<(String, Judged)> = Vec::new();
        for asked in &questions.asked {
            let version = asked.matched.kind(request).to_string();
            let at = match versions.iter().position(|(known, _)| *known == version) {
                Some(at) => at,
                None => {
                    let judged = self.judged(request, &asked.matched, &namespace).await?;
                    versions.push((version, judged));
                    versions.len().saturating_sub(1)
                }
            };
            let verdict = self.ask(request, &versions[at].1, asked);
            for failure in &verdict.failures {
                sum.fail(request, asked, failure);
            }
            for annotation in verdict.annotations {
                sum.annotate(asked, annotation);
            }
        }
        sum.publish(request);
        match sum.denial {
            Some(denial) => Err(status(request, &denial)),
            None => Ok(()),
        }
    }
}
