//! FlowSchemas: which requests are of which level, and of which flow.
//!
//! As upstream's `flowcontrol/rule.go`. A request is matched by reference, without a copy of anything.

use knarr_auth::{UserInfo, request::RequestInfo};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

const ALL: &str = "*";
const ACCOUNT: &str = "system:serviceaccount:";

/// A FlowSchema as it is stored, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Schema {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub name: String,
    pub uid: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    priority_level_configuration: Named,
    matching_precedence: i64,
    #[serde(deserialize_with = "nullable")]
    distinguisher_method: Method,
    #[serde(deserialize_with = "nullable")]
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Method {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    #[serde(deserialize_with = "nullable")]
    subjects: Vec<Subject>,
    #[serde(deserialize_with = "nullable")]
    resource_rules: Vec<ResourceRule>,
    #[serde(deserialize_with = "nullable")]
    non_resource_rules: Vec<PathRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Subject {
    kind: String,
    #[serde(deserialize_with = "nullable")]
    user: Named,
    #[serde(deserialize_with = "nullable")]
    group: Named,
    #[serde(deserialize_with = "nullable")]
    service_account: Named,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceRule {
    #[serde(deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    api_groups: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<String>,
    cluster_scope: bool,
    #[serde(deserialize_with = "nullable")]
    namespaces: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct PathRule {
    #[serde(deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "nullable")]
    urls: Vec<String>,
}

/// What flows of a schema are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

/// `null` is what is not there.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Schema {
    /// Reads a stored object.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(object: &Value) -> Result<Schema, serde_json::Error> {
        Schema::deserialize(object)
    }

    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    pub fn uid(&self) -> &str {
        &self.metadata.uid
    }

    /// The name of its level.
    pub fn level(&self) -> &str {
        &self.spec.priority_level_configuration.name
    }

    /// Of several that match, the least is the one.
    pub fn order(&self) -> (i64, &str) {
        (self.spec.matching_precedence, self.name())
    }

    pub fn distinguisher(&self) -> Distinguisher {
        match &*self.spec.distinguisher_method.kind {
            "ByUser" => Distinguisher::User,
            "ByNamespace" => Distinguisher::Namespace,
            _ => Distinguisher::Nothing,
        }
    }

    /// Whether it is for a request.
    pub fn matches(&self, user: &UserInfo, request: &RequestInfo<'_>) -> bool {
        self.spec.rules.iter().any(|rule| {
            rule.asks_for(request) && rule.subjects.iter().any(|subject| subject.is(user))
        })
    }
}

impl Distinguisher {
    /// The flow of a request, within its schema.
    pub fn flow<'r>(self, user: &'r UserInfo, request: &RequestInfo<'r>) -> &'r str {
        match self {
            Distinguisher::Nothing => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => request.namespace,
        }
    }
}

impl Rule {
    fn asks_for(&self, request: &RequestInfo<'_>) -> bool {
        match request.is_resource {
            true => self.resource_rules.iter().any(|rule| rule.matches(request)),
            false => (self.non_resource_rules.iter()).any(|rule| rule.matches(request)),
        }
    }
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match &*self.kind {
            "User" => {
                let name = &self.user.name;
                !name.is_empty() && (name == ALL || *name == user.name)
            }
            "Group" => {
                let name = &self.group.name;
                !name.is_empty() && (name == ALL || user.groups.contains(name))
            }
            "ServiceAccount" => {
                let Named { name, namespace } = &self.service_account;
                let account = user.name.strip_prefix(ACCOUNT);
                let account = account.and_then(|rest| rest.strip_prefix(&**namespace));
                let account = account.and_then(|rest| rest.strip_prefix(':'));
                account.is_some_and(|account| name == ALL || account == name)
            }
            _ => false,
        }
    }
}

impl ResourceRule {
    fn matches(&self, request: &RequestInfo<'_>) -> bool {
        let scope = || match request.namespace {
            "" => self.cluster_scope,
            namespace => has(&self.namespaces, namespace),
        };
        has(&self.verbs, request.verb)
            && self.is_about(request.resource, request.subresource)
            && has(&self.api_groups, request.group)
            && scope()
    }

    fn is_about(&self, resource: &str, subresource: &str) -> bool {
        if subresource.is_empty() {
            return has(&self.resources, resource);
        }
        self.resources.iter().any(|wanted| {
            let parts = wanted.split_once('/');
            wanted == ALL || parts == Some((resource, subresource))
        })
    }
}

impl PathRule {
    fn matches(&self, request: &RequestInfo<'_>) -> bool {
        let path = request.path;
        has(&self.verbs, request.verb)
            && self.urls.iter().any(|url| {
                let prefix = url.strip_suffix('*').unwrap_or(url);
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let below = path.strip_prefix(prefix);
                url == ALL || url == path || below.is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

fn has(all: &[String], one: &str) -> bool {
    all.iter().any(|each| each == one || each == ALL)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        UserInfo {
            name: name.into(),
            groups: groups.iter().map(|group| (*group).into()).collect(),
            ..UserInfo::default()
        }
    }

    fn schema(rule: Value) -> Schema {
        let object = json!({"metadata": {"name": "s"}, "spec": {"rules": [rule]}});
        Schema::parse(&object).expect("a schema")
    }

    fn every(subjects: Value) -> Schema {
        schema(
            json!({"subjects": subjects, "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}),
        )
    }

    #[test]
    fn subjects() {
        let page = RequestInfo {
            path: "/version",
            verb: "get",
            ..RequestInfo::default()
        };
        let account = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}});
        let named =
            |kind: &str, field: &str, name: &str| json!({"kind": kind, field: {"name": name}});
        let ann = user("ann", &["dev", "system:authenticated"]);
        let job = user("system:serviceaccount:a:job", &[]);
        for (subject, user, wanted) in [
            (named("User", "user", "ann"), &ann, true),
            (named("User", "user", "*"), &ann, true),
            (named("User", "user", "an"), &ann, false),
            (named("Group", "group", "dev"), &ann, true),
            (named("Group", "group", "*"), &job, true),
            (named("Group", "group", "ops"), &ann, false),
            (named("Group", "user", "dev"), &ann, false),
            (account("a", "job"), &job, true),
            (account("a", "*"), &job, true),
            (account("a", "jo"), &job, false),
            (account("", "*"), &job, false),
            (account("a:job", "*"), &job, false),
            (named("Thing", "user", "ann"), &ann, false),
        ] {
            let got = every(json!([subject])).matches(user, &page);
            assert_eq!(got, wanted, "{subject} {}", user.name);
        }
        assert!(!every(Value::Null).matches(&ann, &page));
    }

    #[test]
    fn resources() {
        let everybody = json!([{"kind": "User", "user": {"name": "*"}}]);
        let of = |verbs: Value, groups: Value, resources: Value, more: Value| {
            let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources});
            if let (Some(rule), Value::Object(more)) = (rule.as_object_mut(), more) {
                rule.extend(more);
            }
            schema(json!({"subjects": everybody, "resourceRules": [rule]}))
        };
        let ask = |verb, group, resource, subresource, namespace| RequestInfo {
            is_resource: true,
            verb,
            group,
            resource,
            subresource,
            namespace,
            ..RequestInfo::default()
        };
        let pods = of(
            json!(["get"]),
            json!([""]),
            json!(["pods"]),
            json!({"namespaces": ["a"]}),
        );
        let all = of(
            json!(["*"]),
            json!(["*"]),
            json!(["*"]),
            json!({"namespaces": ["*"]}),
        );
        let whole = of(
            json!(["*"]),
            json!(["*"]),
            json!(["nodes/status"]),
            json!({"clusterScope": true}),
        );
        for (schema, request, wanted) in [
            (&pods, ask("get", "", "pods", "", "a"), true),
            (&pods, ask("get", "", "pods", "", "b"), false),
            (&pods, ask("get", "", "pods", "", ""), false),
            (&pods, ask("get", "", "pods", "log", "a"), false),
            (&pods, ask("list", "", "pods", "", "a"), false),
            (&pods, ask("get", "x", "pods", "", "a"), false),
            (&all, ask("get", "x", "pods", "log", "b"), true),
            (&all, ask("get", "", "nodes", "", ""), false),
            (&whole, ask("get", "", "nodes", "status", ""), true),
            (&whole, ask("get", "", "nodes", "", ""), false),
            (&whole, ask("get", "", "nodes", "status", "a"), false),
        ] {
            assert_eq!(
                schema.matches(&user("a", &[]), &request),
                wanted,
                "{request:?}"
            );
        }
    }

    #[test]
    fn paths_outside_the_api() {
        let everybody = json!([{"kind": "User", "user": {"name": "*"}}]);
        for (url, path, wanted) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/etcd", true),
            ("/healthz", "/healthzz", false),
            ("/apis/*", "/apis/apps", true),
            ("/apis/*", "/apis", false),
            ("*", "/", true),
        ] {
            let rule = json!({"subjects": everybody, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": [url]}]});
            let request = RequestInfo {
                path,
                verb: "get",
                ..RequestInfo::default()
            };
            assert_eq!(
                schema(rule).matches(&user("a", &[]), &request),
                wanted,
                "{url} {path}"
            );
        }
    }

    #[test]
    fn flows_are_told_apart_as_the_schema_says() {
        let (ann, request) = (
            user("ann", &[]),
            RequestInfo {
                namespace: "a",
                ..RequestInfo::default()
            },
        );
        for (method, wanted) in [
            (json!({"type": "ByUser"}), "ann"),
            (json!({"type": "ByNamespace"}), "a"),
            (Value::Null, ""),
        ] {
            let object =
                json!({"metadata": {"name": "s"}, "spec": {"distinguisherMethod": method}});
            let schema = Schema::parse(&object).expect("a schema");
            assert_eq!(
                schema.distinguisher().flow(&ann, &request),
                wanted,
                "{method}"
            );
        }
    }
}
