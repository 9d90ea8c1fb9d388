//! SubjectAccessReviews: a request as webhooks and conditions see it, and the answer.

use std::sync::{Arc, LazyLock};

use knarr_auth::{
    UserInfo,
    request::{Decision, RequestInfo},
};
use knarr_cel::{Field, Object, Type};
use knarr_meta::labels::Operator;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The `spec` of a review; empty fields are left out.
pub fn spec(user: &UserInfo, info: &RequestInfo<'_>) -> Value {
    let mut spec = Map::new();
    let (key, attributes) = match info.is_resource {
        true => ("resourceAttributes", resource(info)),
        false => {
            let path = texts([("path", info.path), ("verb", info.verb)]);
            ("nonResourceAttributes", path)
        }
    };
    spec.insert(key.to_owned(), Value::Object(attributes));
    spec.extend(texts([("user", &*user.name), ("uid", &*user.uid)]));
    if !user.groups.is_empty() {
        spec.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(spec)
}

fn texts<const N: usize>(fields: [(&str, &str); N]) -> Map<String, Value> {
    let given = fields.into_iter().filter(|(_, text)| !text.is_empty());
    given
        .map(|(field, text)| (field.to_owned(), Value::from(text)))
        .collect()
}

fn resource(info: &RequestInfo<'_>) -> Map<String, Value> {
    let mut attributes = texts([
        ("namespace", info.namespace),
        ("verb", info.verb),
        ("group", info.group),
        ("version", info.version),
        ("resource", info.resource),
        ("subresource", info.subresource),
        ("name", info.name),
    ]);
    let fields = info.selectors.fields.requirements().iter().map(|one| {
        let operator = if one.equal { "In" } else { "NotIn" };
        json!({"key": one.field, "operator": operator, "values": [one.value]})
    });
    let labels = info.selectors.labels.requirements().iter();
    let labels = labels.filter_map(|one| {
        let operator = match one.operator() {
            Operator::Equals | Operator::DoubleEquals | Operator::In => "In",
            Operator::NotEquals | Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            // Requirements only narrow.
            Operator::GreaterThan | Operator::LessThan => return None,
        };
        let mut requirement = json!({"key": one.key(), "operator": operator});
        if !one.values().is_empty() {
            requirement["values"] = json!(one.values());
        }
        Some(requirement)
    });
    for (field, requirements) in [
        ("fieldSelector", fields.collect::<Vec<_>>()),
        ("labelSelector", labels.collect()),
    ] {
        if !requirements.is_empty() {
            attributes.insert(field.to_owned(), json!({"requirements": requirements}));
        }
    }
    attributes
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Review {
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    allowed: bool,
    denied: bool,
    reason: String,
}

/// What an answer decides, as upstream's; the error says why it is none.
pub fn decision(answer: &[u8]) -> Result<Decision, String> {
    let review: Review = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let Status {
        allowed,
        denied,
        reason,
    } = review.status;
    Ok(match (denied, allowed) {
        (true, _) => Decision::Deny { reason },
        (false, true) => Decision::Allow { reason },
        (false, false) => Decision::NoOpinion { reason },
    })
}

/// The `spec` as conditions see it: `request`.
pub fn spec_type() -> &'static Type {
    static TYPE: LazyLock<Type> = LazyLock::new(|| {
        let texts = || Type::list(Type::String);
        let requirement = object(
            "Requirement",
            [
                ("key", Type::String),
                ("operator", Type::String),
                ("values", texts()),
            ],
        );
        let selector = object(
            "SelectorAttributes",
            [
                ("rawSelector", Type::String),
                ("requirements", Type::list(requirement)),
            ],
        );
        let resource = object(
            "ResourceAttributes",
            [
                ("namespace", Type::String),
                ("verb", Type::String),
                ("group", Type::String),
                ("version", Type::String),
                ("resource", Type::String),
                ("subresource", Type::String),
                ("name", Type::String),
                ("fieldSelector", selector.clone()),
                ("labelSelector", selector),
            ],
        );
        let path = object(
            "NonResourceAttributes",
            [("path", Type::String), ("verb", Type::String)],
        );
        object(
            "SubjectAccessReviewSpec",
            [
                ("resourceAttributes", resource),
                ("nonResourceAttributes", path),
                ("user", Type::String),
                ("groups", texts()),
                ("extra", Type::map(Type::String, texts())),
                ("uid", Type::String),
            ],
        )
    });
    &TYPE
}

fn object<const N: usize>(name: &str, fields: [(&'static str, Type); N]) -> Type {
    let fields = fields.into_iter().map(|(name, ty)| {
        let json = name.into();
        (name.into(), Field { json, ty })
    });
    Type::Object(Arc::new(Object {
        name: format!("kubernetes.{name}"),
        fields: fields.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use knarr_auth::request::Selectors;

    use super::*;

    #[test]
    fn a_request_is_told_with_its_selectors() {
        let user = UserInfo {
            name: "jane".to_owned(),
            groups: vec!["dev".to_owned()],
            ..UserInfo::default()
        };
        let selectors = Selectors::parse("a=b,c notin (d,e),!f", "spec.nodeName=n,x!=y");
        let info = RequestInfo {
            is_resource: true,
            verb: "list",
            version: "v1",
            resource: "pods",
            selectors: Cow::Owned(selectors.expect("selectors")),
            ..RequestInfo::default()
        };
        let wanted = json!({
            "user": "jane",
            "groups": ["dev"],
            "resourceAttributes": {
                "verb": "list", "version": "v1", "resource": "pods",
                "fieldSelector": {"requirements": [
                    {"key": "spec.nodeName", "operator": "In", "values": ["n"]},
                    {"key": "x", "operator": "NotIn", "values": ["y"]},
                ]},
                "labelSelector": {"requirements": [
                    {"key": "a", "operator": "In", "values": ["b"]},
                    {"key": "c", "operator": "NotIn", "values": ["d", "e"]},
                    {"key": "f", "operator": "DoesNotExist"},
                ]},
            },
        });
        assert_eq!(spec(&user, &info), wanted);
        let page = RequestInfo {
            path: "/healthz",
            verb: "get",
            ..RequestInfo::default()
        };
        let wanted = json!({"path": "/healthz", "verb": "get"});
        assert_eq!(spec(&user, &page)["nonResourceAttributes"], wanted);
    }

    #[test]
    fn a_refusal_counts_more_than_a_permission() {
        let reason = || "why".to_owned();
        for (status, wanted) in [
            (
                json!({"allowed": true, "reason": "why"}),
                Decision::Allow { reason: reason() },
            ),
            (
                json!({"allowed": false, "reason": "why"}),
                Decision::NoOpinion { reason: reason() },
            ),
            (
                json!({"allowed": true, "denied": true, "reason": "why"}),
                Decision::Deny { reason: reason() },
            ),
        ] {
            let answer = json!({"status": status}).to_string();
            assert_eq!(decision(answer.as_bytes()), Ok(wanted));
        }
        assert!(decision(b"no").is_err());
    }
}
