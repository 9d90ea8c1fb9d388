use std::sync::Arc;

use knarr_api::{
    Kind, Kinds,
    admissionregistration::expressions::{env, env_with_authorizer},
    built_in,
};
use knarr_audit::Annotations;
use knarr_auth::{
    UserInfo,
    objects::Objects,
    request::{Authorizer, Decision, RequestInfo},
    testing::Fake,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    Warnings,
    reinvocation::Reinvocation,
    request::{AdmissionRequest, Operation},
};

/// A request; the rest of it is what all have in common.
struct Asking {
    operation: Operation,
    kind: &'static Arc<Kind>,
    /// Whether it is asked for in the first version besides the stored one.
    aliased: bool,
    subresource: &'static str,
    namespace: &'static str,
    name: &'static str,
    user: &'static str,
    own: bool,
    object: Option<Value>,
    old: Option<Value>,
}

fn pods() -> Asking {
    Asking {
        operation: Operation::Create,
        kind: built_in("", "v1", "pods").unwrap(),
        aliased: false,
        subresource: "",
        namespace: "ns",
        name: "a",
        user: "jane",
        own: false,
        object: Some(json!({"metadata": {"name": "a", "labels": {"app": "web"}}})),
        old: None,
    }
}

impl Asking {
    fn with<T>(&self, work: impl FnOnce(&AdmissionRequest<'_>) -> T) -> T {
        let (kinds, warnings) = (Kinds::built_in(), Warnings::default());
        let mut reinvocation = Reinvocation::default();
        let user = UserInfo {
            name: self.user.to_owned(),
            groups: vec!["devs".to_owned()],
            ..UserInfo::default()
        };
        let mut object = self.object.clone();
        work(&AdmissionRequest {
            operation: self.operation,
            kind: self.kind,
            alias: self.kind.aliases.first().filter(|_| self.aliased),
            kinds: &kinds,
            converter: &(),
            options: &(),
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            user: &user,
            own: self.own,
            dry_run: false,
            object: object.as_mut(),
            old: self.old.as_ref(),
            warnings: &warnings,
            annotations: &Annotations::default(),
            reinvocation: &mut reinvocation,
        })
    }

    fn matches(&self, criteria: &Criteria, objects: &dyn Objects) -> Result<String, String> {
        self.with(
            |request| match criteria.matches(request, &Namespace::new(objects)) {
                Ok(None) => Ok("no".to_owned()),
                Ok(Some(matched)) => Ok(matched.kind(request).to_string()),
                Err(status) => Err(format!("{} {}", status.code, status.message)),
            },
        )
    }
}

fn rule(operations: &[&str], groups: &[&str], versions: &[&str], resources: &[&str]) -> Value {
    json!({
        "operations": operations, "apiGroups": groups, "apiVersions": versions, "resources": resources,
    })
}

fn criteria(value: &Value) -> Criteria {
    Criteria::new(value, Rule::list(value, "rules"))
}

#[test]
fn rules_name_operations_and_resources() {
    let objects = Fake::default();
    let exec = || Asking {
        operation: Operation::Connect,
        subresource: "exec",
        object: None,
        ..pods()
    };
    let node = || Asking {
        kind: built_in("", "v1", "nodes").unwrap(),
        namespace: "",
        ..pods()
    };
    let namespace = || Asking {
        kind: built_in("", "v1", "namespaces").unwrap(),
        namespace: "",
        ..pods()
    };
    let yes = |asking: &Asking, rule: &Value| {
        let found = asking.matches(&criteria(&json!({"rules": [rule]})), &objects);
        found.unwrap() != "no"
    };
    for (asking, resources, wanted) in [
        (pods(), &["pods"][..], true),
        (pods(), &["*"], true),
        (pods(), &["*/*"], true),
        (pods(), &["services", "pods"], true),
        (pods(), &["pods/*"], true),
        (pods(), &["pods/exec"], false),
        (exec(), &["pods"], false),
        (exec(), &["*"], false),
        (exec(), &["*/*"], true),
        (exec(), &["pods/exec"], true),
        (exec(), &["*/exec"], true),
        (exec(), &["pods/attach"], false),
    ] {
        let all = rule(&["*"], &["*"], &["*"], resources);
        assert_eq!(yes(&asking, &all), wanted, "{resources:?}");
    }
    for (operations, groups, versions, wanted) in [
        (&["CREATE"][..], &[""][..], &["v1"][..], true),
        (&["UPDATE", "DELETE"], &[""], &["v1"], false),
        (&["*"], &["apps"], &["v1"], false),
        (&["*"], &["apps", ""], &["v1"], true),
        (&["*"], &[""], &["v2"], false),
        (&[], &[""], &["v1"], false),
    ] {
        let one = rule(operations, groups, versions, &["pods"]);
        assert_eq!(yes(&pods(), &one), wanted, "{one}");
    }
    for (scope, of_pod, of_node, of_namespace) in [
        ("*", true, true, true),
        ("Namespaced", true, false, false),
        ("Cluster", false, true, true),
    ] {
        let mut scoped = rule(&["*"], &["*"], &["*"], &["*"]);
        scoped["scope"] = json!(scope);
        let found = [pods(), node(), namespace()].map(|asking| yes(&asking, &scoped));
        assert_eq!(found, [of_pod, of_node, of_namespace], "{scope}");
    }
    let mut named = rule(&["*"], &["*"], &["*"], &["pods"]);
    named["resourceNames"] = json!(["b"]);
    assert!(!yes(&pods(), &named));
    named["resourceNames"] = json!(["b", "a"]);
    assert!(yes(&pods(), &named));
}

#[test]
fn an_equivalent_version_matches_where_the_policy_says_so() {
    let objects = Fake::default();
    let event = |aliased| Asking {
        kind: built_in("", "v1", "events").unwrap(),
        aliased,
        ..pods()
    };
    let wanted = |policy: &str, group: &str| {
        let rules = [rule(&["CREATE"], &[group], &["v1"], &["events"])];
        json!({"matchPolicy": policy, "rules": rules})
    };
    for (aliased, policy, group, kind) in [
        (false, "Exact", "", "/v1, Kind=Event"),
        (false, "Exact", "events.k8s.io", "no"),
        (
            true,
            "Exact",
            "events.k8s.io",
            "events.k8s.io/v1, Kind=Event",
        ),
        (true, "Exact", "", "no"),
        (
            false,
            "Equivalent",
            "events.k8s.io",
            "events.k8s.io/v1, Kind=Event",
        ),
        (true, "Equivalent", "", "/v1, Kind=Event"),
        (true, "Equivalent", "apps", "no"),
        (true, "Equivalent", "*", "events.k8s.io/v1, Kind=Event"),
    ] {
        let found = event(aliased).matches(&criteria(&wanted(policy, group)), &objects);
        assert_eq!(found.as_deref(), Ok(kind), "{aliased} {policy} {group}");
    }
}

#[test]
fn what_is_excluded_goes_before_what_is_included() {
    let objects = Fake::default();
    let pods_only = rule(&["*"], &[""], &["*"], &["pods"]);
    let found = |value: Value| {
        pods()
            .matches(&Criteria::of_match_resources(&value), &objects)
            .unwrap()
    };
    assert_eq!(found(json!({})), "/v1, Kind=Pod", "no rules: any resource");
    assert_eq!(
        found(json!({"resourceRules": [pods_only]})),
        "/v1, Kind=Pod"
    );
    assert_eq!(
        found(json!({"resourceRules": [rule(&["*"], &["*"], &["*"], &["secrets"])]})),
        "no"
    );
    assert_eq!(found(json!({"excludeResourceRules": [pods_only]})), "no");
    let mut excluded = pods_only.clone();
    excluded["resourceNames"] = json!(["z"]);
    assert_eq!(
        found(json!({"excludeResourceRules": [excluded], "resourceRules": [pods_only]})),
        "/v1, Kind=Pod"
    );
}

#[test]
fn selectors_look_at_namespace_and_both_objects() {
    let objects = Fake::default();
    objects.put(
        "",
        "namespaces",
        json!({"metadata": {"name": "ns", "labels": {"team": "red"}}}),
    );
    let all = rule(&["*"], &["*"], &["*"], &["*"]);
    let selecting = |field: &str, labels: Value| {
        criteria(&json!({"rules": [all], field: {"matchLabels": labels}}))
    };
    let found = |asking: &Asking, criteria: &Criteria| asking.matches(criteria, &objects);
    let red = selecting("namespaceSelector", json!({"team": "red"}));
    let blue = selecting("namespaceSelector", json!({"team": "blue"}));
    let yes = || Ok("/v1, Kind=Pod".to_owned());
    let no = || Ok("no".to_owned());
    assert_eq!(found(&pods(), &red), yes());
    assert_eq!(found(&pods(), &blue), no());
    let lost = Asking {
        namespace: "lost",
        ..pods()
    };
    let missing = "404 namespaces \"lost\" not found";
    assert_eq!(found(&lost, &red), Err(missing.to_owned()));
    let services = rule(&["*"], &["*"], &["*"], &["services"]);
    let other = json!({"rules": [services], "namespaceSelector": {"matchLabels": {"team": "red"}}});
    assert_eq!(
        found(&lost, &criteria(&other)),
        no(),
        "no error where no rule matches"
    );
    let node = Asking {
        kind: built_in("", "v1", "nodes").unwrap(),
        namespace: "",
        ..pods()
    };
    assert_eq!(found(&node, &blue), Ok("/v1, Kind=Node".to_owned()));
    // A namespace that is written is selected by what it is about to be.
    let namespace = |object| Asking {
        operation: Operation::Update,
        kind: built_in("", "v1", "namespaces").unwrap(),
        namespace: "",
        name: "ns",
        object: Some(object),
        ..pods()
    };
    let becoming = json!({"metadata": {"name": "ns", "labels": {"team": "blue"}}});
    assert_eq!(found(&namespace(becoming.clone()), &red), no());
    assert_eq!(
        found(&namespace(becoming.clone()), &blue),
        Ok("/v1, Kind=Namespace".to_owned())
    );
    let deleted = Asking {
        operation: Operation::Delete,
        object: None,
        old: Some(becoming),
        ..namespace(Value::Null)
    };
    assert_eq!(found(&deleted, &red), Ok("/v1, Kind=Namespace".to_owned()));

    let web = selecting("objectSelector", json!({"app": "web"}));
    assert_eq!(found(&pods(), &web), yes());
    let was = Asking {
        operation: Operation::Update,
        old: pods().object,
        object: Some(json!({"metadata": {"name": "a"}})),
        ..pods()
    };
    assert_eq!(found(&was, &web), yes(), "the old object counts too");
    let never = Asking { old: None, ..was };
    assert_eq!(found(&never, &web), no());
    let bad = json!({"rules": [all], "objectSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}});
    let why = "500 Internal error occurred: \"Is\" is not a valid label selector operator";
    assert_eq!(found(&pods(), &criteria(&bad)), Err(why.to_owned()));
}

/// Allows `jane` to `get` in `ns`.
struct Jane;

impl Authorizer for Jane {
    fn authorize(&self, user: &UserInfo, request: &RequestInfo<'_>) -> Decision {
        let reason = format!("{} {} {}", user.name, request.verb, request.resource);
        match user.name == "jane" && request.verb == "get" && request.namespace == "ns" {
            true => Decision::Allow { reason },
            false => Decision::NoOpinion { reason },
        }
    }
}

fn outcome(asking: &Asking, sources: &[&str]) -> Outcome {
    let conditions: Vec<Value> = sources
        .iter()
        .enumerate()
        .map(|(index, source)| json!({"name": format!("c{index}"), "expression": source}))
        .collect();
    let conditions = Conditions::new(
        &json!({"matchConditions": conditions}),
        &env_with_authorizer(),
    );
    let authorizer: Arc<dyn Authorizer> = Arc::new(Jane);
    asking.with(|request| {
        let value = request_value(request, &Matched::default());
        let (object, old) = (
            asking.object.clone().unwrap_or_default(),
            asking.old.clone().unwrap_or_default(),
        );
        let null = Value::Null;
        let activation = Activation::new(request, &value, &object, &old, &null, &authorizer);
        conditions.evaluate(&activation.bindings())
    })
}

#[test]
fn conditions_decide_whether_a_request_is_judged() {
    for (sources, wanted) in [
        (&["object.metadata.name == 'a'", "oldObject == null"][..], Outcome::Match),
        (&["true", "object.metadata.name == 'b'"], Outcome::NoMatch("c1".to_owned())),
        (&["object.spec.x == 'b'", "false"], Outcome::NoMatch("c1".to_owned())),
        (&["request.operation == 'CREATE' && request.name == 'a' && request.namespace == 'ns'"], Outcome::Match),
        (&["request.userInfo.username == 'jane' && 'devs' in request.userInfo.groups"], Outcome::Match),
        (&["request.kind.kind == 'Pod' && request.resource.resource == 'pods' && request.kind.group == ''"], Outcome::Match),
        (&["has(request.subResource) || request.dryRun"], Outcome::NoMatch("c0".to_owned())),
        (&["authorizer.group('').resource('pods').namespace('ns').check('get').allowed()"], Outcome::Match),
        (&["authorizer.requestResource.check('get').allowed()"], Outcome::Match),
        (&["authorizer.requestResource.namespace('x').check('get').allowed()"], Outcome::NoMatch("c0".to_owned())),
        (&["authorizer.serviceAccount('ns', 'x').group('').resource('pods').check('get').reason() == 'system:serviceaccount:ns:x get pods'"], Outcome::Match),
        (
            &["object.spec.x == 'b'"],
            Outcome::Failed("expression 'object.spec.x == 'b'' resulted in error: no such key: spec".to_owned()),
        ),
        (
            &["authorizer.path('').check('get').allowed()"],
            Outcome::Failed("expression 'authorizer.path('').check('get').allowed()' resulted in error: path must not be empty".to_owned()),
        ),
    ] {
        assert_eq!(outcome(&pods(), sources), wanted, "{sources:?}");
    }
}

#[test]
fn conditions_have_a_budget_together() {
    let dear = "[1, 2, 3].all(x, authorizer.path('/x').check('get').allowed() || true)";
    let none = "authorizer.path('/x').check('get').errored() == false";
    assert_eq!(
        outcome(&pods(), &[dear]),
        Outcome::Failed(format!(
            "expression '{dear}' resulted in error: operation cancelled: actual cost limit exceeded"
        ))
    );
    let Outcome::Failed(why) = outcome(&pods(), &[none; 8]) else {
        panic!("more than the budget was spent");
    };
    assert!(
        why.starts_with("validation failed due to running out of cost budget"),
        "{why}"
    );
    let env = env();
    assert!(Conditions::new(&json!({}), &env).is_empty());
}

/// A certificate can have the name of the server's user, and who may impersonate can take it.
#[test]
fn only_the_servers_own_writes_are_exempt() {
    let review = Asking {
        kind: built_in("authentication.k8s.io", "v1", "tokenreviews").unwrap(),
        ..pods()
    };
    let named = Asking {
        user: knarr_auth::authn::SERVER,
        ..pods()
    };
    let own = Asking {
        own: true,
        ..pods()
    };
    for (asking, exempt) in [(pods(), false), (named, false), (own, true), (review, true)] {
        assert_eq!(asking.with(is_exempt), exempt, "{}", asking.user);
    }
}
