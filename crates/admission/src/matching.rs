//! Whom a webhook or a policy judges: the part of its configuration that is the same for both.
//!
//! ```text
//! Criteria: rules -> as which version?  selectors of namespace and object      (cheap, no conversion)
//! Conditions: CEL over the object in that version, the request, the authorizer
//! ```
//!
//! A rule that names another group-version of the same objects matches under `matchPolicy: Equivalent`: [`Matched`] says which, and
//! [`versioned`] makes the object one of it. Behaviour and wording are those of upstream's
//! `apiserver/pkg/admission/plugin/{webhook/predicates,policy/matching,webhook/matchconditions}`.

mod authorizer;
mod conditions;
mod rules;
mod selectors;
#[cfg(test)]
mod tests;
mod variables;

use std::borrow::Cow;

use knarr_api::{Served, kind::Text};
use knarr_meta::{Gvk, Gvr, object, status::Status};
use serde_json::Value;

use crate::request::AdmissionRequest;

pub use self::{
    conditions::{Conditions, Outcome},
    rules::Rule,
    selectors::{Namespace, request_namespace},
    variables::{Activation, request_value},
};
use self::{rules::Asked, selectors::Selectors};

/// The resources of group admissionregistration.k8s.io that no webhook or policy judges: one that refuses everything could
/// otherwise never be removed.
const EXEMPT: [&str; 6] = [
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// Reviews of these groups are judged by nobody, as upstream: who refuses them would lock everybody out.
const REVIEWS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// Whether no webhook or policy may judge a request. The server's own books (what a quota has used, the state of a definition,
/// what every cluster has) are nobody's to judge: it could not start while a webhook that refuses everything is down, or while
/// the kind of a policy's parameters is not served yet.
pub fn is_exempt(request: &AdmissionRequest<'_>) -> bool {
    let (group, resource) = (&*request.kind.group, &*request.kind.resource);
    request.own
        || (group == "admissionregistration.k8s.io" && EXEMPT.contains(&resource))
        || REVIEWS.contains(&(group, resource))
}

/// Which requests are judged.
#[derive(Debug)]
pub struct Criteria {
    selectors: Selectors,
    /// `None`: of any resource.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    /// `matchPolicy: Equivalent`.
    equivalent: bool,
}

impl Criteria {
    /// Of a value with `namespaceSelector`, `objectSelector` and `matchPolicy`, as a webhook is one.
    pub fn new(value: &Value, rules: Vec<Rule>) -> Criteria {
        Criteria {
            selectors: Selectors::new(value),
            rules: Some(rules),
            excluded: Vec::new(),
            equivalent: object::str_at(value, &["matchPolicy"]) == "Equivalent",
        }
    }

    /// Of MatchResources: without `resourceRules` they match any resource, and `excludeResourceRules` go before all others.
    pub fn of_match_resources(value: &Value) -> Criteria {
        let rules = Rule::list(value, "resourceRules");
        Criteria {
            excluded: Rule::list(value, "excludeResourceRules"),
            rules: Some(rules).filter(|rules| !rules.is_empty()),
            ..Criteria::new(value, Vec::new())
        }
    }

    /// As which version a request matches by its resource and operation alone; `None`: it does not.
    ///
    /// # Errors
    /// 500 where the equivalent version has no kind for the subresource.
    pub fn resource_matches(
        &self,
        request: &AdmissionRequest<'_>,
    ) -> Result<Option<Matched>, Status> {
        if !self.excluded.is_empty() && self.by_rules(&self.excluded, request)?.is_some() {
            return Ok(None);
        }
        match &self.rules {
            None => Ok(Some(Matched::default())),
            Some(rules) => self.by_rules(rules, request),
        }
    }

    /// As which version a request matches; `None`: it does not.
    ///
    /// # Errors
    /// 404 where the namespace is not there, 500 for selectors that cannot be read: only where the request would match otherwise.
    pub fn matches(
        &self,
        request: &AdmissionRequest<'_>,
        namespace: &Namespace<'_>,
    ) -> Result<Option<Matched>, Status> {
        let namespace = self.selectors.select_namespace(request, namespace);
        if namespace == Ok(false) {
            return Ok(None);
        }
        let selected = self.selectors.select_object(request);
        if selected == Ok(false) {
            return Ok(None);
        }
        let Some(matched) = self.resource_matches(request)? else {
            return Ok(None);
        };
        namespace?;
        selected?;
        Ok(Some(matched))
    }

    fn by_rules(
        &self,
        rules: &[Rule],
        request: &AdmissionRequest<'_>,
    ) -> Result<Option<Matched>, Status> {
        let asked = Asked::of(request);
        if rules.iter().any(|rule| rule.matches(&asked)) {
            return Ok(Some(Matched::default()));
        }
        if !self.equivalent {
            return Ok(None);
        }
        // Earlier rules go first.
        for rule in rules.iter().filter(|rule| rule.may_match(&asked)) {
            for served in request.kinds.equivalents(request.kind) {
                let asked = asked.as_version(served.group(), served.version());
                if rule.matches(&asked) {
                    let matched = Matched {
                        served: Some(served.clone()),
                    };
                    return matched.known(request).map(Some);
                }
            }
        }
        Ok(None)
    }
}

/// As which version of its resource a request matched.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    /// `None`: as the request names it.
    served: Option<Served>,
}

impl Matched {
    /// The resource that matched.
    pub fn resource(&self, request: &AdmissionRequest<'_>) -> Gvr {
        match &self.served {
            None => requested_resource(request),
            Some(served) => Gvr::new(
                served.group_text(),
                served.version_text(),
                served.kind.resource.clone(),
            ),
        }
    }

    /// The kind of the object in that version, or of the subresource.
    pub fn kind(&self, request: &AdmissionRequest<'_>) -> Gvk {
        match &self.served {
            None => requested_kind(request),
            Some(served) => kind_of(
                &served.kind,
                (served.group_text(), served.version_text()),
                request.subresource,
            ),
        }
    }

    /// The version that matched, where it is not the request's.
    pub fn served(&self) -> Option<&Served> {
        self.served.as_ref()
    }

    fn known(self, request: &AdmissionRequest<'_>) -> Result<Matched, Status> {
        match &self.served {
            Some(served)
                if !request.subresource.is_empty()
                    && served.kind.subresource(request.subresource).is_none() =>
            {
                let Gvr {
                    group,
                    version,
                    resource,
                } = self.resource(request);
                Err(Status::internal(format!(
                    "unable to convert to {group}/{version}, Resource={resource}: unknown kind"
                )))
            }
            _ => Ok(self),
        }
    }
}

/// The resource as the request names it.
pub fn requested_resource(request: &AdmissionRequest<'_>) -> Gvr {
    let (group, version) = requested_version(request);
    Gvr::new(group, version, request.kind.resource.clone())
}

/// The kind of what the request carries.
pub fn requested_kind(request: &AdmissionRequest<'_>) -> Gvk {
    kind_of(
        request.kind,
        requested_version(request),
        request.subresource,
    )
}

fn requested_version(request: &AdmissionRequest<'_>) -> (Text, Text) {
    match request.alias {
        Some(alias) => (alias.group.into(), alias.version.into()),
        None => (request.kind.group.clone(), request.kind.version.clone()),
    }
}

fn kind_of(kind: &knarr_api::Kind, (group, version): (Text, Text), subresource: &str) -> Gvk {
    match kind.subresource(subresource).and_then(|sub| sub.kind) {
        Some((group, version, kind)) => Gvk::new(group, version, kind),
        None => Gvk::new(group, version, kind.kind.clone()),
    }
}

/// Whether what a request carries is the resource's own object, not one of a subresource's own kind (Eviction, PodExecOptions).
pub(crate) fn carries_own_kind(request: &AdmissionRequest<'_>) -> bool {
    let subresource = request.kind.subresource(request.subresource);
    subresource.is_none_or(|subresource| subresource.kind.is_none())
}

/// An object of a request (`object` or `old`) in the version that matched.
///
/// # Errors
/// 500 where it cannot be converted.
pub async fn versioned<'v>(
    request: &AdmissionRequest<'_>,
    matched: &Matched,
    object: &'v Value,
) -> Result<Cow<'v, Value>, Status> {
    if !carries_own_kind(request) {
        return Ok(Cow::Borrowed(object));
    }
    let alias = match matched.served() {
        None => request.alias,
        Some(served) if served.kind.version != request.kind.version => {
            let converted = request
                .converter
                .convert(object.clone(), &served.kind)
                .await;
            return converted.map(Cow::Owned);
        }
        Some(served) => served.alias(),
    };
    Ok(match alias {
        Some(alias) => Cow::Owned((alias.decode)(object.clone())),
        None => Cow::Borrowed(object),
    })
}

/// What a judge made of an object in the version that matched, as the request's write goes on with it.
///
/// # Errors
/// 500 where it cannot be converted.
pub async fn unversioned(
    request: &AdmissionRequest<'_>,
    matched: &Matched,
    object: Value,
) -> Result<Value, Status> {
    if !carries_own_kind(request) {
        return Ok(object);
    }
    let alias = match matched.served() {
        None => request.alias,
        Some(served) if served.kind.version != request.kind.version => {
            return request.converter.convert(object, request.kind).await;
        }
        Some(served) => served.alias(),
    };
    Ok(match alias {
        Some(alias) => (alias.encode)(object),
        None => object,
    })
}
