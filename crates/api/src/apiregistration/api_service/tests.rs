use expect_test::expect;
use serde_json::json;

use super::*;
use crate::testing::{create_errors, created, lines, row, update_errors, updated};

fn local() -> Value {
    json!({"metadata": {"name": "v1.example.com"}, "spec": {
        "group": "example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
    }})
}

fn remote() -> Value {
    let mut object = local();
    object["spec"]["service"] = json!({"namespace": "n", "name": "s"});
    object
}

#[test]
fn what_is_served_here_is_available_at_once() {
    let object = created(&KIND, local());
    assert!(is_available(&object));
    assert!(row(&KIND, &object, 0).starts_with("v1.example.com | Local | True | "));
    let mut given = remote();
    given["status"] = object["status"].clone();
    let object = created(&KIND, given);
    assert_eq!(object["spec"]["service"]["port"], 443);
    assert_eq!(object["status"], json!({}));
    assert!(row(&KIND, &object, 0).starts_with("v1.example.com | n/s | Unknown | "));
}

#[test]
fn the_name_is_the_group_version() {
    let mut object = local();
    object["metadata"]["name"] = json!("v1.example.org");
    expect![[r#"metadata.name: Invalid value: "v1.example.org": must be `spec.version+"."+spec.group`: "v1.example.com""#]]
    .assert_eq(&create_errors(&KIND, object));
    let mut object = local();
    object["metadata"]["generateName"] = json!("v1.");
    expect![[r#"metadata.generateName: Invalid value: "v1.": must be `spec.version+"."+spec.group`: "v1.example.com""#]].assert_eq(&create_errors(&KIND, object));
    let core = json!({"metadata": {"name": "v1."}, "spec": {"version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}});
    expect![""].assert_eq(&create_errors(&KIND, core));
    assert!(KIND.strategy.validate_name("v1.", false).is_empty());
    assert!(!KIND.strategy.validate_name("..", false).is_empty());
}

#[test]
fn refuses_in_upstreams_words() {
    let object = json!({"metadata": {"name": "V2."}, "spec": {
        "version": "V2", "groupPriorityMinimum": 20_001, "caBundle": "YWJj", "insecureSkipTLSVerify": true,
    }});
    expect![[r#"
        spec.group: Required value: only v1 may have an empty group and it better be legacy kube
        spec.version: Invalid value: "V2": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000
        spec.versionPriority: Invalid value: 0: must be positive and less than 1000
        spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle
        spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify"#]]
    .assert_eq(&create_errors(&KIND, object));
    let mut object = remote();
    object["spec"]["service"] = json!({"port": 70_000});
    object["spec"]["caBundle"] = json!("YWJj");
    object["spec"]["insecureSkipTLSVerify"] = json!(true);
    expect![[r#"
        spec.service.namespace: Required value
        spec.service.name: Required value
        spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive
        spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"#]]
    .assert_eq(&create_errors(&KIND, object));
}

#[test]
fn spec_and_status_are_changed_apart() {
    let old = created(&KIND, remote());
    let mut new = old.clone();
    new["spec"]["versionPriority"] = json!(16);
    new["metadata"]["labels"] = json!({"a": "b"});
    new["status"]["conditions"] = json!([{"type": "Available", "status": "Maybe"}]);
    let kept = updated(&KIND, new.clone(), &old, Part::Status);
    assert_eq!(
        (&kept["spec"], kept["metadata"].get("labels")),
        (&old["spec"], None)
    );
    expect![[r#"status.conditions[0].status: Unsupported value: "Maybe": supported values: "True", "False", "Unknown""#]]
    .assert_eq(&update_errors(&KIND, new.clone(), &old, Part::Status));
    let kept = updated(&KIND, new.clone(), &old, Part::Main);
    assert_eq!(kept["status"], old["status"]);
    assert_eq!(
        lines(&KIND.strategy.validate_update(&kept, &old, Part::Main)),
        ""
    );
    new["spec"]["group"] = json!("example.org");
    assert!(
        update_errors(&KIND, new, &old, Part::Main).starts_with("metadata.name: Invalid value")
    );
}

#[test]
fn availability_keeps_its_time_while_it_lasts() {
    let mut object = created(&KIND, remote());
    let failing = |message: &str| Availability {
        status: "False",
        reason: "MissingEndpoints",
        message: message.to_owned(),
    };
    assert!(set_availability(&mut object, &failing("a")));
    object["status"]["conditions"][0]["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
    assert!(!set_availability(&mut object, &failing("a")));
    assert!(set_availability(&mut object, &failing("b")));
    let since = |object: &Value| object["status"]["conditions"][0]["lastTransitionTime"].clone();
    assert_eq!(since(&object), "2020-01-01T00:00:00Z");
    assert!(row(&KIND, &object, 0).contains(" | n/s | False (MissingEndpoints) | "));
    let passed = Availability {
        status: "True",
        reason: "Passed",
        message: "all checks passed".to_owned(),
    };
    assert!(set_availability(&mut object, &passed) && is_available(&object));
    assert_ne!(since(&object), "2020-01-01T00:00:00Z");
    assert_eq!(list_at(&object, &["status", "conditions"]).len(), 1);
}
