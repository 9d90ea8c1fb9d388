use knarr_meta::field;
use serde_json::{Value, json};

use super::*;

fn hook() -> Value {
    json!({
        "name": "a.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": "https://example.com/x"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
    })
}

fn configuration(change: impl FnOnce(&mut Value)) -> Value {
    let mut hook = hook();
    change(&mut hook);
    json!({"metadata": {"name": "a"}, "webhooks": [hook]})
}

fn told(errors: &[Error]) -> String {
    field::aggregate(errors)
}

#[test]
fn defaults_are_upstreams() {
    let mut object = configuration(|hook| {
        hook["clientConfig"] = json!({"service": {"namespace": "n", "name": "s"}});
    });
    Webhooks { mutating: true }.default(&mut object);
    let hook = &object["webhooks"][0];
    for (field, wanted) in [
        ("failurePolicy", json!("Fail")),
        ("matchPolicy", json!("Equivalent")),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({})),
        ("timeoutSeconds", json!(10)),
        ("reinvocationPolicy", json!("Never")),
    ] {
        assert_eq!(hook[field], wanted, "{field}");
    }
    assert_eq!(hook["clientConfig"]["service"]["port"], 443);
    assert_eq!(hook["rules"][0]["scope"], "*");
    let mut object = configuration(|_| ());
    VALIDATING.strategy.default(&mut object);
    assert!(object["webhooks"][0].get("reinvocationPolicy").is_none());
    assert_eq!(VALIDATING.strategy.validate_create(&object), []);
}

#[test]
fn what_is_wrong_is_told_in_upstreams_words() {
    let cases: Vec<(Value, &str)> = vec![
        (json!({"name": ""}), "webhooks[0].name: Required value"),
        (
            json!({"name": "a.b"}),
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
        ),
        (
            json!({"clientConfig": {"service": {"namespace": "a", "name": "b", "port": 443, "path": "a//b"}}}),
            "[webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": must start with a '/', \
             webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[0] may not be empty, \
             webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[1] may not be empty]",
        ),
        (
            json!({"failurePolicy": "Maybe"}),
            "webhooks[0].failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
        ),
        (
            json!({"matchPolicy": "Some"}),
            "webhooks[0].matchPolicy: Unsupported value: \"Some\": supported values: \"Equivalent\", \"Exact\"",
        ),
        (
            json!({"reinvocationPolicy": "Always"}),
            "webhooks[0].reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
        ),
        (
            json!({"sideEffects": null}),
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
        ),
        (
            json!({"sideEffects": "Some"}),
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
        ),
        (
            json!({"timeoutSeconds": 31}),
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            json!({"timeoutSeconds": 0}),
            "webhooks[0].timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30 seconds",
        ),
        (
            json!({"clientConfig": {}}),
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
        ),
        (
            json!({"clientConfig": {"url": "http://a"}}),
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (
            json!({"clientConfig": {"service": {"namespace": "n", "name": "s", "port": 443, "path": "a"}}}),
            "[webhooks[0].clientConfig.service.path: Invalid value: \"a\": must start with a '/', \
             webhooks[0].clientConfig.service.path: Invalid value: \"a\": segment[0] may not be empty]",
        ),
        (
            json!({"admissionReviewVersions": []}),
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ),
        (
            json!({"admissionReviewVersions": ["v2", "v2"]}),
            "[webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version, webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1]",
        ),
    ];
    for (change, wanted) in cases {
        let object = configuration(|hook| {
            for (field, value) in change.as_object().into_iter().flatten() {
                hook[field] = value.clone();
            }
        });
        let errors = MUTATING.strategy.validate_create(&object);
        assert_eq!(told(&errors), wanted, "{change}");
    }
    let twice = json!({"webhooks": [hook(), hook()]});
    let errors = MUTATING.strategy.validate_create(&twice);
    assert_eq!(
        told(&errors),
        "webhooks[1].name: Duplicate value: \"a.example.com\""
    );
}

#[test]
fn conditions_are_compiled_when_they_are_written_and_when_they_change() {
    let with = |source: &str| {
        configuration(|hook| {
            hook["matchConditions"] = json!([{"name": "c", "expression": source}]);
        })
    };
    let strategy = VALIDATING.strategy;
    assert_eq!(strategy.validate_create(&with("object.x == 1")), []);
    let errors = strategy.validate_create(&with("object.x =="));
    assert_eq!(errors[0].field, "webhooks[0].matchConditions[0].expression");
    assert!(told(&errors).contains("compilation failed"));
    let (bad, good) = (with("..."), with("true"));
    assert!(!strategy.validate_update(&bad, &good, Part::Main).is_empty());
    assert!(strategy.validate_update(&bad, &bad, Part::Main).is_empty());
}

#[test]
fn an_update_keeps_what_older_servers_took() {
    let old = configuration(|hook| hook["sideEffects"] = json!("Unknown"));
    let strategy = VALIDATING.strategy;
    assert!(strategy.validate_update(&old, &old, Part::Main).is_empty());
    let new = configuration(|_| ());
    assert!(!strategy.validate_update(&old, &new, Part::Main).is_empty());
}
