//! The reviews of `authorization.k8s.io`: requests about requests. Nothing is stored; the answer is the object with a status.

use std::{borrow::Cow, sync::Arc};

use knarr_meta::{
    GroupKind,
    field::{self, ErrorList, Path},
    fields::{self, FieldSelector},
    object,
    status::Status,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Authz, node, rules::nullable};
use crate::{
    UserInfo,
    request::{Authorizer, Decision, RequestInfo, Selectors},
};

const GROUP: &str = "authorization.k8s.io";

/// Answers the four kinds of `authorization.k8s.io/v1`.
pub struct AccessReviews {
    authz: Arc<Authz>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<NonResourceAttributes>,
    user: String,
    uid: String,
    #[serde(deserialize_with = "nullable")]
    groups: Vec<String>,
    extra: Option<std::collections::BTreeMap<String, Vec<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceAttributes {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
    field_selector: Option<FieldSelectorAttributes>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FieldSelectorAttributes {
    raw_selector: String,
    #[serde(deserialize_with = "nullable")]
    requirements: Vec<Requirement>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(deserialize_with = "nullable")]
    values: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NonResourceAttributes {
    path: String,
    verb: String,
}

impl FieldSelectorAttributes {
    /// Requirements that a query cannot say only narrow, so they are left out; so is what cannot be parsed.
    fn selector(&self) -> FieldSelector {
        if !self.raw_selector.is_empty() {
            return FieldSelector::parse(&self.raw_selector).unwrap_or_default();
        }
        let single = |r: &Requirement| match (r.operator.as_str(), r.values.as_slice()) {
            ("In", [value]) => Some(fields::Requirement {
                field: r.key.clone(),
                value: value.clone(),
                equal: true,
            }),
            _ => None,
        };
        self.requirements.iter().filter_map(single).collect()
    }
}

impl AccessReviews {
    /// Asks the whole chain, not only RBAC.
    pub fn new(authz: Arc<Authz>) -> Self {
        AccessReviews { authz }
    }

    /// `SubjectAccessReview`: may the user in the spec?
    pub fn subject(&self, body: Value) -> Result<Value, Status> {
        self.answer("SubjectAccessReview", body, None, None)
    }

    /// `LocalSubjectAccessReview`: the same within the namespace of the request.
    pub fn local(&self, namespace: &str, body: Value) -> Result<Value, Status> {
        self.answer("LocalSubjectAccessReview", body, None, Some(namespace))
    }

    /// `SelfSubjectAccessReview`: may I?
    pub fn own(&self, user: &UserInfo, body: Value) -> Result<Value, Status> {
        self.answer("SelfSubjectAccessReview", body, Some(user), None)
    }

    fn answer(
        &self,
        kind: &'static str,
        mut body: Value,
        own: Option<&UserInfo>,
        local: Option<&str>,
    ) -> Result<Value, Status> {
        let spec: Spec = match body.get("spec") {
            None | Some(Value::Null) => Spec::default(),
            Some(spec) => serde_json::from_value(spec.clone())
                .map_err(|error| Status::bad_request(error.to_string()))?,
        };
        let errors = validate(&spec, own.is_some(), local);
        if !errors.is_empty() {
            return Err(Status::invalid(GroupKind::new(GROUP, kind), "", errors));
        }
        let in_spec;
        let user = match own {
            Some(user) => user,
            None => {
                in_spec = UserInfo {
                    name: spec.user.clone(),
                    uid: spec.uid.clone(),
                    groups: spec.groups.clone(),
                    extra: spec.extra.clone().unwrap_or_default(),
                };
                &in_spec
            }
        };
        let decision = self.decide(user, &spec);
        set_status(&mut body, status(decision));
        Ok(body)
    }

    fn decide(&self, user: &UserInfo, spec: &Spec) -> Decision {
        if let Some(asked) = &spec.resource_attributes {
            let fields = asked
                .field_selector
                .as_ref()
                .map(FieldSelectorAttributes::selector);
            let request = RequestInfo {
                is_resource: true,
                verb: &asked.verb,
                group: &asked.group,
                version: &asked.version,
                namespace: &asked.namespace,
                resource: &asked.resource,
                subresource: &asked.subresource,
                name: &asked.name,
                selectors: Cow::Owned(Selectors {
                    fields: fields.unwrap_or_default(),
                    ..Selectors::default()
                }),
                ..RequestInfo::default()
            };
            return self.authz.authorize(user, &request);
        }
        let asked = spec.non_resource_attributes.as_ref();
        let (path, verb) = asked.map_or(("", ""), |a| (a.path.as_str(), a.verb.as_str()));
        self.authz.authorize(
            user,
            &RequestInfo {
                path,
                verb,
                ..RequestInfo::default()
            },
        )
    }

    /// `SelfSubjectRulesReview`: what may I in this namespace?
    pub fn rules(&self, user: &UserInfo, mut body: Value) -> Result<Value, Status> {
        let namespace = object::str_at(&body, &["spec", "namespace"]).to_owned();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let held = self.authz.rbac().held(user, &namespace);
        let (mut resource, mut non_resource) = (Vec::new(), Vec::new());
        for rule in held.rules() {
            if !rule.resources.is_empty() {
                let mut answer = Map::new();
                for (name, items) in [
                    ("verbs", &rule.verbs),
                    ("apiGroups", &rule.api_groups),
                    ("resources", &rule.resources),
                    ("resourceNames", &rule.resource_names),
                ] {
                    if !items.is_empty() {
                        answer.insert(name.into(), json!(items));
                    }
                }
                resource.push(Value::Object(answer));
            }
            if !rule.non_resource_urls.is_empty() {
                non_resource
                    .push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
            }
        }
        let is_node = node::identity(user).is_some();
        let mut errors = held.errors;
        if is_node {
            errors.insert(
                0,
                "node authorizer does not support user rule resolution".into(),
            );
        }
        let mut status = json!({"resourceRules": resource, "nonResourceRules": non_resource, "incomplete": is_node || !errors.is_empty()});
        if !errors.is_empty() {
            status["evaluationError"] = errors.join(", ").into();
        }
        set_status(&mut body, status);
        Ok(body)
    }
}

fn set_status(body: &mut Value, status: Value) {
    if let Some(body) = body.as_object_mut() {
        body.insert("status".into(), status);
    }
}

fn status(decision: Decision) -> Value {
    let (allowed, denied, reason) = match decision {
        Decision::Allow { reason } => (true, false, reason),
        Decision::Deny { reason } => (false, true, reason),
        Decision::NoOpinion { reason } => (false, false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if denied {
        status["denied"] = true.into();
    }
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    status
}

fn validate(spec: &Spec, own: bool, local: Option<&str>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let invalid = |child: &'static str, detail: &str| {
        field::Error::invalid(&path.child(child), Value::Null, detail)
    };
    match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(_), Some(_)) => {
            errors.push(invalid(
                "nonResourceAttributes",
                "cannot be specified in combination with resourceAttributes",
            ));
        }
        (None, None) => {
            errors.push(invalid(
                "resourceAttributes",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ));
        }
        _ => {}
    }
    if !own && spec.user.is_empty() && spec.groups.is_empty() {
        let value = Value::from(spec.user.clone());
        errors.push(field::Error::invalid(
            &path.child("user"),
            value,
            "at least one of user or group must be specified",
        ));
    }
    if let Some(namespace) = local {
        let attributes = path.child("resourceAttributes").child("namespace");
        if let Some(asked) = &spec.resource_attributes
            && asked.namespace != namespace
        {
            errors.push(field::Error::invalid(
                &attributes,
                asked.namespace.clone(),
                "must match metadata.namespace",
            ));
        }
        if spec.non_resource_attributes.is_some() {
            errors.push(invalid(
                "nonResourceAttributes",
                "disallowed on this kind of request",
            ));
        }
    }
    errors
}
