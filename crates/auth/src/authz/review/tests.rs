use expect_test::{Expect, expect};
use parking_lot::Mutex;

use super::{super::Step, *};
use crate::testing::Fake;

/// Remembers what it was asked.
#[derive(Default)]
struct Asked(Mutex<Vec<Selectors>>);

impl Authorizer for Asked {
    fn authorize(&self, _: &UserInfo, request: &RequestInfo<'_>) -> Decision {
        self.0.lock().push(request.selectors.clone().into_owned());
        let reason = "asked".to_owned();
        Decision::Allow { reason }
    }
}

fn reviews() -> (AccessReviews, Arc<Asked>) {
    let (authz, asked) = (
        Arc::new(Authz::new(Fake::new())),
        Arc::new(Asked::default()),
    );
    authz.set_order(vec![Step::Other(asked.clone()), Step::Rbac]);
    (AccessReviews::new(authz), asked)
}

fn review(field: &str, selector: Value) -> Value {
    json!({"spec": {"user": "jane", "resourceAttributes": {
        "verb": "list", "resource": "pods", field: selector,
    }}})
}

#[test]
fn selectors_are_what_is_asked() {
    let (reviews, asked) = reviews();
    let requirements = json!({"requirements": [
        {"key": "a", "operator": "In", "values": ["b"]},
        {"key": "c", "operator": "Later", "values": ["d"]},
        {"key": "e", "operator": "NotIn", "values": ["f"]},
    ]});
    for (field, selector, labels, fields) in [
        (
            "labelSelector",
            json!({"rawSelector": "a=b,!c"}),
            "a=b,!c",
            "",
        ),
        ("labelSelector", json!({"rawSelector": "a in"}), "", ""),
        (
            "labelSelector",
            requirements.clone(),
            "a in (b),e notin (f)",
            "",
        ),
        ("fieldSelector", json!({"rawSelector": "a=b"}), "", "a=b"),
        ("fieldSelector", requirements, "", "a=b,e!=f"),
    ] {
        let answer = reviews.subject(review(field, selector.clone()));
        let answer = answer.expect("an answer");
        assert_eq!(answer["status"]["reason"], "asked");
        let wanted = Selectors::parse(labels, fields).expect("selectors");
        assert_eq!(asked.0.lock().pop(), Some(wanted), "{selector}");
    }
}

fn refused(field: &str, selector: Value, wanted: Expect) {
    let (reviews, _) = reviews();
    let status = reviews
        .subject(review(field, selector))
        .expect_err("it is refused");
    wanted.assert_eq(&status.message);
}

#[test]
fn selectors_that_mean_nothing_are_refused() {
    refused(
        "labelSelector",
        json!({}),
        expect![[
            r#".authorization.k8s.io "" is invalid: spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required"#
        ]],
    );
    let both = json!({"rawSelector": "a", "requirements": [{"key": "a", "operator": "Exists"}]});
    refused(
        "fieldSelector",
        both,
        expect![[
            r#".authorization.k8s.io "" is invalid: spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: "a": may not specified at the same time as requirements"#
        ]],
    );
    let requirements = json!({"requirements": [
        {"operator": "In"}, {"key": "a", "operator": "Exists", "values": ["b"]},
    ]});
    refused(
        "labelSelector",
        requirements,
        expect![[
            r#".authorization.k8s.io "" is invalid: [spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn', spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: "": name part must be non-empty, spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), spec.resourceAttributes.labelSelector.requirements[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist']"#
        ]],
    );
}

#[test]
fn selectors_that_are_ignored_are_told() {
    let (reviews, _) = reviews();
    let some = json!({"requirements": [
        {"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "Later"},
    ]});
    for (selector, told) in [
        (
            json!({"rawSelector": "a//b"}),
            "spec.resourceAttributes.labelSelector ignored due to parse error",
        ),
        (
            some,
            "spec.resourceAttributes.labelSelector partially ignored due to parse error",
        ),
    ] {
        let answer = reviews.subject(review("labelSelector", selector));
        assert_eq!(
            answer.expect("an answer")["status"]["evaluationError"],
            told
        );
    }
}
