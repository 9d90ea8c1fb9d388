//! Policies as the plugins ask them.

mod mutations;

use std::sync::{Arc, atomic::Ordering};

use expect_test::{Expect, expect};
use knarr_api::{Kind, built_in};
use knarr_auth::{
    UserInfo,
    request::{Authorizer, Decision, RequestInfo},
    testing::{Fake, user},
};
use serde_json::{Value, json};

use crate::{
    MutatingAdmissionPolicy, ValidatingAdmissionPolicy, request::Operation, testing::Write,
};

const GROUP: &str = "admissionregistration.k8s.io";

/// Ann may all; others nothing.
struct OnlyAnn;

impl Authorizer for OnlyAnn {
    fn authorize(&self, user: &UserInfo, _: &RequestInfo<'_>) -> Decision {
        let reason = "because".to_owned();
        match user.name == "ann" {
            true => Decision::Allow { reason },
            false => Decision::NoOpinion { reason },
        }
    }
}

fn deployments() -> &'static Arc<Kind> {
    built_in("apps", "v1", "deployments").expect("a kind")
}

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "ns"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn create(replicas: i64) -> Write {
    Write::create(deployments(), user("ann", &["devs"]), deployment(replicas))
}

fn cluster() -> Arc<Fake> {
    let fake = Fake::new();
    fake.put(
        "",
        "namespaces",
        json!({"metadata": {"name": "ns", "labels": {"team": "a"}}}),
    );
    fake
}

fn with_spec(name: &str, generation: i64, mut spec: Value) -> Value {
    let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"], "scope": "*"}]);
    if spec["matchConstraints"].is_null() {
        spec["matchConstraints"] = json!({"matchPolicy": "Equivalent", "resourceRules": rules});
    }
    json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "generation": generation}, "spec": spec})
}

fn validating(fake: &Arc<Fake>, name: &str, spec: Value) {
    fake.put(
        GROUP,
        "validatingadmissionpolicies",
        with_spec(name, 1, spec),
    );
}

fn bind(fake: &Arc<Fake>, policy: &str, actions: &[&str], mut spec: Value) {
    spec["policyName"] = policy.into();
    spec["validationActions"] = json!(actions);
    let binding = json!({"metadata": {"name": format!("{policy}-binding")}, "spec": spec});
    fake.put(GROUP, "validatingadmissionpolicybindings", binding);
}

fn mutating(fake: &Arc<Fake>, name: &str, spec: Value) {
    fake.put(GROUP, "mutatingadmissionpolicies", with_spec(name, 1, spec));
    let binding =
        json!({"metadata": {"name": format!("{name}-binding")}, "spec": {"policyName": name}});
    fake.put(GROUP, "mutatingadmissionpolicybindings", binding);
}

fn validator(fake: &Arc<Fake>) -> ValidatingAdmissionPolicy {
    ValidatingAdmissionPolicy::new(fake.clone(), Arc::new(OnlyAnn))
}

fn mutator(fake: &Arc<Fake>) -> MutatingAdmissionPolicy {
    MutatingAdmissionPolicy::new(fake.clone(), Arc::new(OnlyAnn))
}

/// What a policy with this spec, bound to deny, says of a deployment with three replicas.
async fn denied(spec: Value, binding: Value) -> String {
    let fake = cluster();
    fake.put("", "configmaps", json!({"metadata": {"name": "limits", "namespace": "ns", "labels": {"x": "y"}}, "data": {"max": "2"}}));
    validating(&fake, "p", spec);
    bind(&fake, "p", &["Deny"], binding);
    match create(3).run(&validator(&fake)).await {
        Ok(_) => "admitted".to_owned(),
        Err(status) => format!(
            "{} {} {}",
            status.code,
            status.reason.as_str(),
            status.message
        ),
    }
}

async fn check(cases: &[(Value, Value)], expected: Expect) {
    let mut told = String::new();
    for (spec, binding) in cases {
        told.push_str(&denied(spec.clone(), binding.clone()).await);
        told.push('\n');
    }
    expected.assert_eq(&told);
}

#[tokio::test]
async fn refusals_are_told_as_upstream_tells_them() {
    let one = |validation: Value| (json!({"validations": [validation]}), json!({}));
    check(
        &[
            one(json!({"expression": "object.spec.replicas <= 3"})),
            one(json!({"expression": " object.spec.replicas <= 2 "})),
            one(json!({"expression": "object.spec.replicas <= 2", "message": "too many", "reason": "Forbidden"})),
            one(json!({"expression": "object.spec.replicas <= 2", "message": "too many",
                "messageExpression": "'has ' + string(object.spec.replicas)", "reason": "RequestEntityTooLarge"})),
            one(json!({"expression": "object.spec.replicas <= 2", "message": "too many", "messageExpression": "object.nothing"})),
            one(json!({"expression": "object.nothing == 1"})),
            one(json!({"expression": "not.compiled"})),
            one(json!({"expression": "request.operation == 'CREATE' && oldObject == null && request.userInfo.username == 'ann' && request.resource.resource == 'deployments' && request.kind.kind == 'Deployment' && request.namespace == 'ns' && namespaceObject.metadata.labels['team'] == 'a'"})),
            one(json!({"expression": "authorizer.group('').resource('pods').check('create').allowed() && !authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('create').allowed()"})),
            one(json!({"expression": "authorizer.requestResource.check('create').reason() == 'because' && authorizer.path('/x').check('get').allowed()"})),
            one(json!({"expression": "[1, 2, 3].all(i, authorizer.path('/x').check('get').allowed())"})),
        ],
        expect![[r#"
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: failed expression: object.spec.replicas <= 2
            403 Forbidden deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: too many
            413 RequestEntityTooLarge deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: has 3
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: too many
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: expression 'object.nothing == 1' resulted in error: no such key: nothing
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: compilation error: compilation failed: ERROR: <input>:1:1: undeclared reference to 'not' (in container '')
             | not.compiled
             | ^
            admitted
            admitted
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: expression '[1, 2, 3].all(i, authorizer.path('/x').check('get').allowed())' resulted in error: operation cancelled: actual cost limit exceeded
        "#]],
    )
    .await;
}

#[tokio::test]
async fn failures_follow_their_policy_and_conditions_go_first() {
    let nothing = json!([{"expression": "object.nothing == 1"}]);
    let never = json!([{"expression": "false", "message": "never"}]);
    check(
        &[
            (json!({"failurePolicy": "Ignore", "validations": nothing}), json!({})),
            (json!({"failurePolicy": "Ignore", "validations": never}), json!({})),
            (json!({"matchConditions": [{"name": "c", "expression": "object.spec.replicas > 5"}], "validations": never}), json!({})),
            (json!({"matchConditions": [{"name": "c", "expression": "object.nothing"}], "validations": never}), json!({})),
            (json!({"matchConditions": [{"name": "c", "expression": "object.nothing == 1"}], "validations": never}), json!({})),
            (json!({"matchConditions": [{"name": "c", "expression": "object.nothing == 1"}], "failurePolicy": "Ignore", "validations": never}), json!({})),
            (json!({"variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "odd", "expression": "variables.n % 2 == 1"}], "validations": [{"expression": "!variables.odd", "messageExpression": "string(variables.n) + ' is odd'"}]}), json!({})),
            (json!({"auditAnnotations": [{"key": "k", "valueExpression": "string(object.spec.replicas)"}]}), json!({})),
            (json!({"auditAnnotations": [{"key": "k", "valueExpression": "object.nothing"}]}), json!({})),
            (json!({"validations": never}), json!({"matchResources": {"namespaceSelector": {"matchLabels": {"team": "b"}}}})),
            (json!({"validations": never}), json!({"matchResources": {"namespaceSelector": {"matchLabels": {"team": "a"}}}})),
        ],
        expect![[r#"
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: never
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: compilation error: must evaluate to bool but got dyn
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: expression 'object.nothing == 1' resulted in error: no such key: nothing
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: 3 is odd
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: compilation error: must evaluate to one of [string null_type] but got dyn
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: never
        "#]],
    )
    .await;
}

#[tokio::test]
async fn parameters() {
    let spec = |kind: &str| {
        json!({"paramKind": {"apiVersion": "v1", "kind": kind},
            "validations": [{"expression": "params == null || object.spec.replicas <= int(params.data.max)", "messageExpression": "'more than ' + params.metadata.name"}]})
    };
    let reference = |mut reference: Value, action: &str| {
        reference["parameterNotFoundAction"] = action.into();
        json!({"paramRef": reference})
    };
    check(
        &[
            (spec("ConfigMap"), json!({})),
            (spec("ConfigMap"), reference(json!({"name": "limits"}), "Deny")),
            (spec("ConfigMap"), reference(json!({"name": "limits", "namespace": "other"}), "Deny")),
            (spec("ConfigMap"), reference(json!({"name": "limits", "namespace": "other"}), "Allow")),
            (spec("ConfigMap"), reference(json!({"selector": {"matchLabels": {"x": "y"}}}), "Deny")),
            (spec("ConfigMap"), reference(json!({"selector": {"matchLabels": {"x": "z"}}}), "Deny")),
            (spec("Namespace"), reference(json!({"name": "ns", "namespace": "ns"}), "Deny")),
            (spec("Nothing"), reference(json!({"name": "limits"}), "Deny")),
        ],
        expect![[r#"
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: more than limits
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction
            admitted
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: more than limits
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by paramKind: '/v1, Kind=Nothing'
        "#]],
    )
    .await;
}

#[tokio::test]
async fn actions_beside_deny() {
    let fake = cluster();
    validating(
        &fake,
        "p",
        json!({"validations": [{"expression": "object.spec.replicas < 3"}, {"expression": "false", "message": "never"}]}),
    );
    bind(&fake, "p", &["Warn", "Audit"], json!({}));
    let (result, warnings) = create(3).warned(&validator(&fake)).await;
    assert!(result.is_ok());
    expect![[r#"
        Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-binding': failed expression: object.spec.replicas < 3
        Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-binding': never"#]].assert_eq(&warnings);
    let status = {
        bind(&fake, "p", &["Deny", "Audit"], json!({}));
        create(3)
            .run(&validator(&fake))
            .await
            .expect_err("a refusal")
    };
    let causes = status
        .details
        .map(|details| details.causes)
        .unwrap_or_default();
    assert_eq!(causes.len(), 1);
    assert!(
        causes[0]
            .message
            .starts_with("ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: ")
    );
}

#[tokio::test]
async fn what_no_policy_matches_costs_nothing_and_changes_are_seen_at_once() {
    let fake = cluster();
    let plugin = validator(&fake);
    assert!(create(1).run(&plugin).await.is_ok());
    let lists = fake.lists.load(Ordering::Relaxed);
    for _ in 0..10 {
        assert!(create(1).run(&plugin).await.is_ok());
    }
    assert_eq!(fake.lists.load(Ordering::Relaxed), lists);
    validating(
        &fake,
        "p",
        json!({"validations": [{"expression": "object.spec.replicas > 1"}]}),
    );
    assert!(create(1).run(&plugin).await.is_ok(), "nothing binds it");
    bind(&fake, "p", &["Deny"], json!({}));
    assert!(create(1).run(&plugin).await.is_err());
    assert!(create(2).run(&plugin).await.is_ok());
    let changed = with_spec(
        "p",
        2,
        json!({"validations": [{"expression": "object.spec.replicas > 2"}]}),
    );
    fake.put(GROUP, "validatingadmissionpolicies", changed);
    assert!(create(2).run(&plugin).await.is_err());
    fake.remove(GROUP, "validatingadmissionpolicybindings", "", "p-binding");
    assert!(create(1).run(&plugin).await.is_ok());
}

#[tokio::test]
async fn deletes_have_no_object_and_policies_are_not_judged() {
    let fake = cluster();
    let everything = json!({"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]},
        "validations": [{"expression": "object == null && oldObject.spec.replicas == 1 && request.operation == 'DELETE'"}]});
    validating(&fake, "p", everything);
    bind(&fake, "p", &["Deny"], json!({}));
    let plugin = validator(&fake);
    let delete = |replicas| Write {
        operation: Operation::Delete,
        object: None,
        old: Some(deployment(replicas)),
        name: "d",
        namespace: "ns",
        ..create(1)
    };
    assert!(delete(1).run(&plugin).await.is_ok());
    assert!(delete(2).run(&plugin).await.is_err());
    for (group, resource) in [
        (GROUP, "validatingadmissionpolicies"),
        (GROUP, "mutatingadmissionpolicybindings"),
        ("authorization.k8s.io", "subjectaccessreviews"),
    ] {
        let kind = built_in(group, "v1", resource).expect("a kind");
        let write = Write::create(kind, user("bob", &[]), json!({"metadata": {"name": "x"}}));
        assert!(write.run(&plugin).await.is_ok(), "{resource}");
    }
}

#[tokio::test]
async fn the_budget_is_the_policys() {
    let dear = "lists.range(900).all(a, lists.range(900).all(b, a + b >= 0))";
    let validations: Vec<Value> = (0..30)
        .map(|_| json!({"expression": format!("{dear} || true")}))
        .collect();
    let told = denied(json!({"validations": validations}), json!({})).await;
    assert_eq!(
        told,
        "422 Invalid deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: \
         validation failed due to running out of cost budget, no further validation rules will be run"
    );
}

/// Variables, each of which holds the one before it twice: a few bytes of memory, and 2^30 elements to whoever walks them.
fn doubled() -> Vec<Value> {
    let expression = |n: usize| match n.checked_sub(1) {
        None => "['x']".to_owned(),
        Some(before) => format!("dyn([variables.v{before}, variables.v{before}])"),
    };
    (0..30)
        .map(|n| json!({"name": format!("v{n}"), "expression": expression(n)}))
        .collect()
}

#[tokio::test]
async fn a_policy_has_one_budget_for_all_that_it_walks() {
    let spec = |expression: &str| {
        let spec = json!({"variables": doubled(), "validations": [{"expression": expression}, {"expression": "true"}]});
        (spec, json!({}))
    };
    check(
        &[
            spec("variables.v29 != variables.v29 || true"),
            spec("'%s'.format([variables.v29]) == ''"),
            spec("size(variables.v29) == 2"),
        ],
        expect![[r#"
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: validation failed due to running out of cost budget, no further validation rules will be run
            422 Invalid deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: expression ''%s'.format([variables.v29]) == ''' resulted in error: operation cancelled: actual cost limit exceeded
            admitted
        "#]],
    )
    .await;
}

#[tokio::test]
async fn parameters_are_read_again_when_they_change() {
    let fake = cluster();
    let limit = |name: &str, max: &str| {
        let labels = json!({"x": "y"});
        fake.put("", "configmaps", json!({"metadata": {"name": name, "namespace": "ns", "labels": labels}, "data": {"max": max}}));
    };
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.spec.replicas <= int(params.data.max)"}]});
    for (policy, reference) in [
        (
            "named",
            json!({"name": "limits", "parameterNotFoundAction": "Allow"}),
        ),
        (
            "selected",
            json!({"selector": {"matchLabels": {"x": "y"}}, "parameterNotFoundAction": "Allow"}),
        ),
    ] {
        validating(&fake, policy, spec.clone());
        bind(&fake, policy, &["Deny"], json!({"paramRef": reference}));
    }
    let plugin = validator(&fake);
    let is_admitted = async || create(3).run(&plugin).await.is_ok();
    assert!(is_admitted().await, "there are none");
    limit("limits", "5");
    assert!(is_admitted().await);
    assert!(is_admitted().await, "and again");
    limit("limits", "2");
    assert!(!is_admitted().await);
    limit("limits", "9");
    assert!(is_admitted().await);
    limit("others", "1");
    assert!(!is_admitted().await, "another one is selected");
}
