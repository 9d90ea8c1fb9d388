//! The reviews of `authorization.k8s.io`: requests about requests. Nothing is stored; the answer is the object with a status.

use std::{borrow::Cow, sync::Arc};

use knarr_meta::{
    GroupKind,
    field::{self, ErrorList, Path},
    fields::{self, FieldSelector},
    labels, names, object,
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
const IGNORED: &str = "ignored";

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
    /// A null among its lists is one that nothing is in.
    extra: Option<std::collections::BTreeMap<String, Option<Vec<String>>>>,
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
    field_selector: Option<SelectorAttributes>,
    label_selector: Option<SelectorAttributes>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SelectorAttributes {
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

impl Requirement {
    fn validate(&self, labels: bool, path: &Path, errors: &mut ErrorList) {
        let key = path.child("key");
        if self.key.is_empty() && !labels {
            errors.push(field::Error::required(&key, "must be specified"));
        }
        self.validate_operator(path, errors);
        if !labels {
            return;
        }
        let mut refuse = |path: &Path, value: &str, why: Vec<String>| {
            errors.extend(
                why.into_iter()
                    .map(|why| field::Error::invalid(path, value, why)),
            );
        };
        refuse(&key, &self.key, names::qualified_name(&self.key));
        for (at, value) in self.values.iter().enumerate() {
            refuse(
                &path.child("values").index(at),
                value,
                names::label_value(value),
            );
        }
    }

    fn validate_operator(&self, path: &Path, errors: &mut ErrorList) {
        let values = path.child("values");
        match self.operator.as_str() {
            "In" | "NotIn" if self.values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(field::Error::required(&values, why));
            }
            "Exists" | "DoesNotExist" if !self.values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(field::Error::forbidden(&values, why));
            }
            // One that nobody knows only narrows.
            _ => {}
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NonResourceAttributes {
    path: String,
    verb: String,
}

impl SelectorAttributes {
    /// Requirements that a query cannot say only narrow, so they are left out; so is what cannot be parsed. Beside what is left
    /// stands what was ignored.
    fn fields(&self) -> (FieldSelector, Option<&'static str>) {
        if !self.raw_selector.is_empty() {
            let parsed = FieldSelector::parse(&self.raw_selector).ok();
            let ignored = parsed.is_none().then_some(IGNORED);
            return (parsed.unwrap_or_default(), ignored);
        }
        let single = |r: &Requirement| match (r.operator.as_str(), r.values.as_slice()) {
            (operator @ ("In" | "NotIn"), [value]) => Some(fields::Requirement {
                field: r.key.clone(),
                value: value.clone(),
                equal: operator == "In",
            }),
            _ => None,
        };
        let known: Vec<_> = self.requirements.iter().filter_map(single).collect();
        let ignored = self.ignored(known.len());
        (known.into_iter().collect(), ignored)
    }

    fn labels(&self) -> (labels::Selector, Option<&'static str>) {
        if !self.raw_selector.is_empty() {
            let parsed = labels::Selector::parse(&self.raw_selector).ok();
            let ignored = parsed.is_none().then_some(IGNORED);
            return (parsed.unwrap_or_default(), ignored);
        }
        let known = |r: &Requirement| {
            let operator = match r.operator.as_str() {
                "In" => labels::Operator::In,
                "NotIn" => labels::Operator::NotIn,
                "Exists" => labels::Operator::Exists,
                "DoesNotExist" => labels::Operator::DoesNotExist,
                _ => return None,
            };
            labels::Requirement::new(r.key.clone(), operator, r.values.clone()).ok()
        };
        let known: Vec<_> = self.requirements.iter().filter_map(known).collect();
        let ignored = self.ignored(known.len());
        (labels::Selector::new(known), ignored)
    }

    fn ignored(&self, known: usize) -> Option<&'static str> {
        match known {
            known if known == self.requirements.len() => None,
            0 => Some(IGNORED),
            _ => Some("partially ignored"),
        }
    }

    /// Upstream's `validateLabelSelectorAttributes` and its sibling.
    fn validate(&self, labels: bool, path: &Path, errors: &mut ErrorList) {
        let requirements = path.child("requirements");
        if !self.raw_selector.is_empty() && !self.requirements.is_empty() {
            let (raw, why) = (
                &*self.raw_selector,
                "may not specified at the same time as requirements",
            );
            errors.push(field::Error::invalid(&path.child("rawSelector"), raw, why));
        }
        if self.raw_selector.is_empty() && self.requirements.is_empty() {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(field::Error::required(&requirements, why));
        }
        for (at, requirement) in self.requirements.iter().enumerate() {
            requirement.validate(labels, &requirements.index(at), errors);
        }
    }
}

impl AccessReviews {
    /// Asks the whole chain, not only RBAC.
    pub fn new(authz: Arc<Authz>) -> Self {
        AccessReviews { authz }
    }

    /// `SubjectAccessReview`: may the user in the spec?
    pub fn subject(&self, body: Value) -> Result<Value, Status> {
        self.answer(body, None, None)
    }

    /// `LocalSubjectAccessReview`: the same within the namespace of the request.
    pub fn local(&self, namespace: &str, body: Value) -> Result<Value, Status> {
        self.answer(body, None, Some(namespace))
    }

    /// `SelfSubjectAccessReview`: may I?
    pub fn own(&self, user: &UserInfo, body: Value) -> Result<Value, Status> {
        self.answer(body, Some(user), None)
    }

    fn answer(
        &self,
        mut body: Value,
        own: Option<&UserInfo>,
        local: Option<&str>,
    ) -> Result<Value, Status> {
        let spec: Spec = match body.get("spec") {
            None | Some(Value::Null) => Spec::default(),
            Some(spec) => serde_json::from_value(spec.clone())
                .map_err(|error| Status::bad_request(error.to_string()))?,
        };
        let mut errors = validate(&spec, own.is_some(), local);
        validate_metadata(&body, local.is_some(), &mut errors);
        if !errors.is_empty() {
            // Upstream asks its decoded object for its kind, which says none.
            return Err(Status::invalid(GroupKind::new(GROUP, ""), "", errors));
        }
        let in_spec;
        let user = match own {
            Some(user) => user,
            None => {
                let extra = spec.extra.iter().flatten();
                let extra =
                    extra.map(|(key, texts)| (key.clone(), texts.clone().unwrap_or_default()));
                in_spec = UserInfo {
                    name: spec.user.clone(),
                    uid: spec.uid.clone(),
                    groups: spec.groups.clone(),
                    extra: extra.collect(),
                };
                &in_spec
            }
        };
        let (decision, ignored) = self.decide(user, &spec);
        let mut status = status(decision);
        if !ignored.is_empty() {
            status["evaluationError"] = ignored.join("; ").into();
        }
        set_status(&mut body, status);
        Ok(body)
    }

    /// What is decided, and what of the selectors had no part in it.
    fn decide(&self, user: &UserInfo, spec: &Spec) -> (Decision, Vec<String>) {
        if let Some(asked) = &spec.resource_attributes {
            let fields = asked.field_selector.as_ref();
            let (fields, fields_ignored) =
                fields.map(SelectorAttributes::fields).unwrap_or_default();
            let labels = asked.label_selector.as_ref();
            let (labels, labels_ignored) =
                labels.map(SelectorAttributes::labels).unwrap_or_default();
            let ignored = [
                ("fieldSelector", fields_ignored),
                ("labelSelector", labels_ignored),
            ];
            let ignored = ignored.into_iter().filter_map(|(field, how)| {
                Some(format!(
                    "spec.resourceAttributes.{field} {} due to parse error",
                    how?
                ))
            });
            let request = RequestInfo {
                is_resource: true,
                verb: &asked.verb,
                group: &asked.group,
                version: &asked.version,
                namespace: &asked.namespace,
                resource: &asked.resource,
                subresource: &asked.subresource,
                name: &asked.name,
                selectors: Cow::Owned(Selectors { fields, labels }),
                ..RequestInfo::default()
            };
            return (self.authz.authorize(user, &request), ignored.collect());
        }
        let asked = spec.non_resource_attributes.as_ref();
        let (path, verb) = asked.map_or(("", ""), |a| (a.path.as_str(), a.verb.as_str()));
        let request = RequestInfo {
            path,
            verb,
            ..RequestInfo::default()
        };
        (self.authz.authorize(user, &request), Vec::new())
    }

    /// `SelfSubjectRulesReview`: what may I in this namespace?
    pub fn rules(&self, user: &UserInfo, body: Value) -> Result<Value, Status> {
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
        // Upstream answers with another object than it was sent.
        let mut answer = json!({"metadata": {}, "spec": {}});
        for field in ["apiVersion", "kind"] {
            answer[field] = body[field].clone();
        }
        set_status(&mut answer, status);
        Ok(answer)
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

/// Nothing about a review is kept, so that metadata have no use.
fn validate_metadata(body: &Value, local: bool, errors: &mut ErrorList) {
    let Some(metadata) = body.get("metadata").and_then(Value::as_object) else {
        return;
    };
    let is_unset = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        value => value.as_i64() == Some(0),
    };
    let mut used = metadata.iter().filter(|(name, value)| {
        let aside = match name.as_str() {
            "namespace" => local,
            // These are the server's own, whatever is asked.
            "managedFields"
            | "uid"
            | "creationTimestamp"
            | "deletionTimestamp"
            | "deletionGracePeriodSeconds"
            | "selfLink" => true,
            _ => false,
        };
        !aside && !is_unset(value)
    });
    if used.next().is_some() {
        let why = match local {
            true => "must be empty except for namespace",
            false => "must be empty",
        };
        let value = Value::Object(metadata.clone());
        errors.push(field::Error::invalid(&Path::new("metadata"), value, why));
    }
}

fn validate(spec: &Spec, own: bool, local: Option<&str>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    // As Go shows its own type.
    let shown = spec.non_resource_attributes.as_ref();
    let shown = shown.map_or(
        Value::Null,
        |asked| json!({"Path": asked.path, "Verb": asked.verb}),
    );
    if spec.resource_attributes.is_some() == spec.non_resource_attributes.is_some() {
        errors.push(field::Error::invalid(
            &path,
            shown.clone(),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    if let Some(asked) = &spec.resource_attributes {
        let path = path.child("resourceAttributes");
        for (field, selector) in [
            ("fieldSelector", &asked.field_selector),
            ("labelSelector", &asked.label_selector),
        ] {
            if let Some(selector) = selector {
                let labels = field == "labelSelector";
                selector.validate(labels, &path.child(field), &mut errors);
            }
        }
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
            errors.push(field::Error::invalid(
                &path.child("nonResourceAttributes"),
                shown,
                "disallowed on this kind of request",
            ));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
