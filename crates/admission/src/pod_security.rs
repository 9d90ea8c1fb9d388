//! PodSecurity: pods keep to the level of the Pod Security Standards that their namespace's labels ask for.
//!
//! ```text
//! labels of the namespace -> Policy: a level and a version for each of enforce, audit, warn
//! pod, or the template of a controller -> checks of that level in that version -> violations
//! enforce: a pod is refused     audit: an annotation of the request     warn: a Warning header
//! ```
//!
//! Templates are never refused: what is made of them is. A namespace whose labels ask for nothing costs one lookup. Behaviour and
//! wording are those of upstream's `k8s.io/pod-security-admission` v0.37. Where nothing is said of it, its defaults are upstream's:
//! privileged, latest, nobody exempt ([`Settings`]).

mod checks;
mod existing;
mod metrics;
mod policy;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use knarr_auth::objects::Objects;
use knarr_meta::{
    GroupKind, field,
    object::{self, str_at},
    status::Status,
};
use serde::Deserialize;
use serde_json::Value;

pub use self::settings::Settings;
use self::{
    checks::{Pod, Violations},
    policy::{Labels, Level, LevelVersion, Policy, Version},
};
use super::{audit, forbidden, is};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation, Phase};

/// Keys of audit annotations, as upstream's.
const AUDIT_ERROR: &str = "pod-security.kubernetes.io/error";
const AUDIT_EXEMPT: &str = "pod-security.kubernetes.io/exempt";
const AUDIT_ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const AUDIT_VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";

/// The mode that refuses, in metrics.
const ENFORCE: &str = "enforce";

/// Subresources of pods that say nothing of how its containers run. Any other is judged, so that a new one is not a way round.
const IGNORED_SUBRESOURCES: [&str; 8] = [
    "exec",
    "attach",
    "binding",
    "eviction",
    "log",
    "portforward",
    "proxy",
    "status",
];

/// Where other resources have the template of their pods.
const TEMPLATES: [(&str, &str, &[&str]); 8] = [
    ("", "podtemplates", &["template"]),
    ("", "replicationcontrollers", &["spec", "template"]),
    ("apps", "replicasets", &["spec", "template"]),
    ("apps", "deployments", &["spec", "template"]),
    ("apps", "daemonsets", &["spec", "template"]),
    ("apps", "statefulsets", &["spec", "template"]),
    ("batch", "jobs", &["spec", "template"]),
    (
        "batch",
        "cronjobs",
        &["spec", "jobTemplate", "spec", "template"],
    ),
];

/// The plugin.
pub struct PodSecurity {
    objects: Arc<dyn Objects>,
    settings: Arc<Settings>,
}

impl PodSecurity {
    pub fn new(objects: Arc<dyn Objects>, settings: Arc<Settings>) -> Self {
        PodSecurity { objects, settings }
    }

    /// Whether the namespace or the user of a request is exempt, which audit events and metrics tell.
    fn exempts(&self, request: &AdmissionRequest<'_>) -> bool {
        let why = if self.settings.exempts_namespace(request.namespace) {
            "namespace"
        } else if self.settings.exempts_user(&request.user.name) {
            "user"
        } else {
            return false;
        };
        self.settings.metrics.exempted(request);
        audit::annotate(request, AUDIT_EXEMPT, why);
        true
    }

    /// Warns where labels of an exempt namespace ask for what nobody looks at.
    fn warn_of_exemption(&self, request: &AdmissionRequest<'_>, labels: &Labels, policy: &Policy) {
        let name = request.object.as_deref().map_or("", object::name);
        if !policy.fully_privileged() && !policy.is_equivalent(&self.settings.defaults) {
            request.warnings.add(format!(
                "namespace {} is exempt from Pod Security, and the policy ({}) will be ignored",
                field::quote(name),
                labels.asked(policy)
            ));
        }
    }

    async fn validate_namespace(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(namespace) = request.object.as_deref() else {
            return Ok(());
        };
        let (labels, defaults) = (Labels::of(namespace)?, &self.settings.defaults);
        let (policy, errors) = labels.policy(defaults);
        let exempt = self.settings.exempts_namespace(object::name(namespace));
        let invalid = |errors| {
            let kind = GroupKind::new(request.kind.group.clone(), request.kind.kind.clone());
            Err(Status::invalid(kind, object::name(namespace), errors))
        };
        let old = request
            .old
            .filter(|_| request.operation == Operation::Update);
        let Some(old) = old else {
            if !errors.is_empty() {
                return invalid(errors);
            }
            if exempt {
                self.warn_of_exemption(request, &labels, &policy);
            }
            return Ok(());
        };
        let (old, old_errors) = Labels::of(old)?.policy(defaults);
        // What was wrong before may stay.
        if !errors.is_empty() && errors != old_errors {
            return invalid(errors);
        }
        let (new, old) = (policy.enforce, old.enforce);
        let relaxed = new.version == old.version && new.level <= old.level;
        if new == old || new.level == Level::Privileged || relaxed {
            return Ok(());
        }
        if exempt {
            self.warn_of_exemption(request, &labels, &policy);
        } else {
            let (name, settings) = (object::name(namespace), &self.settings);
            for warning in existing::violations(&*self.objects, settings, name, new).await {
                request.warnings.add(warning);
            }
        }
        Ok(())
    }

    fn validate_pod(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        if self.exempts(request) {
            return Ok(());
        }
        let metrics = &self.settings.metrics;
        let found = self.policy(request);
        let (policy, errors) = found.inspect_err(|_| metrics.failed(request, true))?;
        let Some(pod) = request.object.as_deref() else {
            return Ok(());
        };
        if errors.is_empty() && policy.fully_privileged() {
            metrics.evaluated(request, ENFORCE, policy.enforce, true);
            // Whatever version its labels name, as upstream.
            let enforced = LevelVersion {
                version: Version::Latest,
                ..policy.enforce
            };
            audit::annotate(request, AUDIT_ENFORCED, &enforced.to_string());
            return Ok(());
        }
        let old = request
            .old
            .filter(|_| request.operation == Operation::Update);
        if old.is_some_and(|old| !is_significant_update(pod, old)) {
            return Ok(());
        }
        self.evaluate(request, (&policy, &errors), pod, true)
    }

    /// Of the template of a controller, which is never refused.
    fn validate_template(
        &self,
        request: &AdmissionRequest<'_>,
        path: &[&str],
    ) -> Result<(), Status> {
        if self.exempts(request) {
            return Ok(());
        }
        let (policy, errors) = match self.policy(request) {
            Ok(found) => found,
            Err(error) => {
                self.settings.metrics.failed(request, true);
                audit::annotate(request, AUDIT_ERROR, audit::truncated(&error.message));
                return Ok(());
            }
        };
        let told =
            policy.warn.level != Level::Privileged || policy.audit.level != Level::Privileged;
        if errors.is_empty() && !told {
            return Ok(());
        }
        let template =
            (request.object.as_deref()).and_then(|object| object::struct_at(object, path));
        template.map_or(Ok(()), |template| {
            self.evaluate(request, (&policy, &errors), template, false)
        })
    }

    /// The policy of the request's namespace.
    ///
    /// # Errors
    /// 500 where the namespace is not there, as upstream.
    fn policy(&self, request: &AdmissionRequest<'_>) -> Result<(Policy, field::ErrorList), Status> {
        let name = request.namespace;
        let failed =
            || Status::internal(format!("failed to lookup namespace {}", field::quote(name)));
        let namespace = (self.objects.get("", "namespaces", "", name)).ok_or_else(failed)?;
        let namespace: Namespace = serde_json::from_slice(&namespace.json).map_err(|_| failed())?;
        let labels = namespace.metadata.labels.unwrap_or_default();
        Ok(labels.policy(&self.settings.defaults))
    }

    /// What a policy makes of a pod or, without `enforce`, of a template.
    fn evaluate(
        &self,
        request: &AdmissionRequest<'_>,
        (policy, errors): (&Policy, &[field::Error]),
        object: &Value,
        enforce: bool,
    ) -> Result<(), Status> {
        let metrics = &self.settings.metrics;
        let class = str_at(object, &["spec", "runtimeClassName"]);
        if self.settings.exempts_runtime_class(class) {
            metrics.exempted(request);
            audit::annotate(request, AUDIT_EXEMPT, "runtimeClass");
            return Ok(());
        }
        if !errors.is_empty() {
            metrics.failed(request, false);
            let why = format!("Failed to parse policy: {}", field::aggregate(errors));
            audit::annotate(request, AUDIT_ERROR, audit::truncated(&why));
        }
        let (pod, mut judged) = (Pod::new(object), Judged::default());
        let refusal = enforce.then(|| {
            audit::annotate(request, AUDIT_ENFORCED, &policy.enforce.to_string());
            let detail = judged.detail(&pod, policy.enforce);
            metrics.evaluated(request, ENFORCE, policy.enforce, detail.is_none());
            detail
        });
        let refusal = refusal.flatten();
        if let Some(detail) = judged.detail(&pod, policy.audit) {
            let why = format!("would violate PodSecurity \"{}\": {detail}", policy.audit);
            audit::annotate(request, AUDIT_VIOLATIONS, audit::truncated(&why));
            metrics.evaluated(request, "audit", policy.audit, false);
        }
        if let Some(detail) = refusal {
            let why = format!("violates PodSecurity \"{}\": {detail}", policy.enforce);
            return Err(forbidden(request, why));
        }
        if let Some(detail) = judged.detail(&pod, policy.warn) {
            let warning = format!("would violate PodSecurity \"{}\": {detail}", policy.warn);
            request.warnings.add(warning);
            metrics.evaluated(request, "warn", policy.warn, false);
        }
        Ok(())
    }
}

#[async_trait]
impl AdmissionPlugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn runs_in(&self, phase: Phase) -> bool {
        phase == Phase::Validate
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        if !matches!(request.operation, Operation::Create | Operation::Update) {
            return false;
        }
        match is(request, "", "pods") {
            true => !IGNORED_SUBRESOURCES.contains(&request.subresource),
            false => {
                request.subresource.is_empty()
                    && (is(request, "", "namespaces") || template_path(request).is_some())
            }
        }
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        if is(request, "", "namespaces") {
            return self.validate_namespace(request).await;
        }
        match template_path(request) {
            Some(path) => self.validate_template(request, path),
            None => self.validate_pod(request),
        }
    }
}

/// The little of a stored namespace that every pod in it looks at.
#[derive(Deserialize)]
struct Namespace {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    labels: Option<Labels>,
}

fn template_path(request: &AdmissionRequest<'_>) -> Option<&'static [&'static str]> {
    let mut of = TEMPLATES.iter();
    of.find(|(group, resource, _)| is(request, group, resource))
        .map(|(_, _, path)| *path)
}

/// What checks found, by what they were asked: modes mostly ask for the same.
#[derive(Default)]
struct Judged(Vec<(LevelVersion, Violations)>);

impl Judged {
    /// What a pod violates, in full; `None`: nothing.
    fn detail(&mut self, pod: &Pod<'_>, asked: LevelVersion) -> Option<String> {
        let known = self.0.iter().position(|(known, _)| *known == asked);
        let index = known.unwrap_or_else(|| {
            self.0.push((asked, checks::evaluate(asked, pod)));
            self.0.len() - 1
        });
        let violations = &self.0[index].1;
        (!violations.is_empty()).then(|| violations.detail())
    }
}

/// Whether an update changes what a check could look at: fields that may be changed of a pod are few. Upstream's
/// `isSignificantPodUpdate`.
fn is_significant_update(pod: &Value, old: &Value) -> bool {
    let image = |container: &Value| str_at(container, &["image"]).to_owned();
    let replaced = ["containers", "initContainers"].iter().any(|field| {
        let (new, old) = (list(pod, field), list(old, field));
        new.len() != old.len() || (new.iter().zip(old)).any(|(new, old)| image(new) != image(old))
    });
    let before = list(old, "ephemeralContainers");
    replaced
        || list(pod, "ephemeralContainers").iter().any(|new| {
            let name = str_at(new, &["name"]);
            let old = before.iter().find(|old| str_at(old, &["name"]) == name);
            old.is_none_or(|old| image(new) != image(old))
        })
}

fn list<'p>(pod: &'p Value, field: &str) -> &'p [Value] {
    object::list_at(pod, &["spec", field])
}
