use expect_test::expect;
use serde_json::{Value, json};

use super::job;
use crate::{
    kind::Part,
    testing::{create_errors, created, pretty, row, update_errors, updated},
};

const NOW: i64 = 1_767_225_600;

/// A job whose spec has `more`.
fn pi(more: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "pi", "namespace": "d", "uid": "u", "creationTimestamp": "2025-12-31T22:00:00Z"},
        "spec": {"template": {"metadata": {"labels": {"app": "pi"}}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
        }}},
    });
    if let (Some(spec), Value::Object(more)) = (object["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    object
}

/// An indexed job of five.
fn indexed(more: Value) -> Value {
    let mut object = pi(json!({"completionMode": "Indexed", "completions": 5}));
    if let (Some(spec), Value::Object(more)) = (object["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    object
}

#[test]
fn defaults_and_the_selector() {
    let mut object = created(&job::KIND, pi(json!({"scheduling": {}})));
    object["spec"]["template"]["spec"] = Value::Null;
    expect![[r#"
        {
          "metadata": {
            "creationTimestamp": "2025-12-31T22:00:00Z",
            "labels": {
              "app": "pi",
              "batch.kubernetes.io/controller-uid": "u",
              "batch.kubernetes.io/job-name": "pi",
              "controller-uid": "u",
              "job-name": "pi"
            },
            "name": "pi",
            "namespace": "d",
            "uid": "u"
          },
          "spec": {
            "backoffLimit": 6,
            "completionMode": "NonIndexed",
            "completions": 1,
            "manualSelector": false,
            "parallelism": 1,
            "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {
              "matchLabels": {
                "batch.kubernetes.io/controller-uid": "u"
              }
            },
            "suspend": false,
            "template": {
              "metadata": {
                "labels": {
                  "app": "pi",
                  "batch.kubernetes.io/controller-uid": "u",
                  "batch.kubernetes.io/job-name": "pi",
                  "controller-uid": "u",
                  "job-name": "pi"
                }
              },
              "spec": null
            }
          },
          "status": {}
        }"#]]
    .assert_eq(&pretty(&object));
    let spec = |more| created(&job::KIND, pi(more))["spec"].clone();
    assert_eq!(spec(json!({"parallelism": 3}))["completions"], Value::Null);
    let per_index = spec(json!({"backoffLimitPerIndex": 1}));
    assert_eq!(per_index["backoffLimit"], json!(i32::MAX));
    let policy = spec(json!({"podFailurePolicy": {"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
    ]}}));
    assert_eq!(policy["podReplacementPolicy"], json!("Failed"));
    assert_eq!(
        policy["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"],
        json!("True")
    );
    let chosen = spec(json!({"manualSelector": true, "selector": {"matchLabels": {"app": "pi"}}}));
    assert_eq!(chosen["selector"], json!({"matchLabels": {"app": "pi"}}));
    assert_eq!(
        chosen["template"]["metadata"]["labels"],
        json!({"app": "pi"})
    );
}

#[test]
fn selector_errors() {
    let check = |more: Value| create_errors(&job::KIND, pi(more));
    assert_eq!(check(json!({})), "");
    expect![[r#"
        spec.selector: Invalid value: {"matchLabels":{"batch.kubernetes.io/controller-uid":"other"}}: `selector` not auto-generated
        spec.template.metadata.labels: Invalid value: {"app":"pi","batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"pi","controller-uid":"u","job-name":"pi"}: `selector` does not match template `labels`"#]].assert_eq(&check(json!({
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "other"}},
    })));
    expect![[r#"
        spec.selector: Required value
        spec.template.metadata.labels: Invalid value: {"app":"pi"}: `selector` does not match template `labels`"#]].assert_eq(&check(json!({"manualSelector": true})));
    expect![[r#"spec.template.metadata.labels[job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"pi","controller-uid":"u","job-name":"other"}: must be 'pi'"#]].assert_eq(&check(json!({"template": {
        "metadata": {"labels": {"job-name": "other"}},
        "spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i"}]},
    }})));
    let mut nameless = pi(json!({}));
    nameless["metadata"]["uid"] = Value::Null;
    expect!["metadata.uid: Required value"].assert_eq(&create_errors(&job::KIND, nameless));
}

#[test]
fn spec_errors() {
    let check = |more: Value| create_errors(&job::KIND, pi(more));
    expect![[r#"
        spec.parallelism: Invalid value: -1: must be greater than or equal to 0
        spec.completions: Invalid value: -1: must be greater than or equal to 0
        spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0
        spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0
        spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0
        spec.backoffLimitPerIndex: Invalid value: -1: must be greater than or equal to 0
        spec.maxFailedIndexes: Invalid value: -1: must be greater than or equal to 0
        spec.backoffLimitPerIndex: Invalid value: -1: requires indexed completion mode
        spec.maxFailedIndexes: Invalid value: -1: requires indexed completion mode"#]]
    .assert_eq(&check(json!({
        "parallelism": -1, "completions": -1, "activeDeadlineSeconds": -1, "backoffLimit": -1,
        "ttlSecondsAfterFinished": -1, "backoffLimitPerIndex": -1, "maxFailedIndexes": -1,
    })));
    expect![[r#"
        spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified
        spec.managedBy: Invalid value: "mine": must be a domain-prefixed path (such as "acme.io/foo")
        spec.completionMode: Unsupported value: "Some": supported values: "NonIndexed", "Indexed"
        spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed""#]].assert_eq(&check(json!({
        "maxFailedIndexes": 1, "managedBy": "mine", "completionMode": "Some", "podReplacementPolicy": "Never",
    })));
    expect![[r#"spec.podReplacementPolicy: Unsupported value: "": supported values: "Failed", "TerminatingOrFailed""#]].assert_eq(&check(json!({"podReplacementPolicy": ""})));
    let rules = json!([{"action": "Ignore", "onPodConditions": [{"type": "A", "status": "True"}]}]);
    expect![[r#"spec.podReplacementPolicy: Unsupported value: "": supported values: "Failed""#]]
        .assert_eq(&check(
            json!({"podReplacementPolicy": "", "podFailurePolicy": {"rules": rules}}),
        ));
    expect![[r#"
        spec.managedBy: Invalid value: "A.com": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.managedBy: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx?": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')
        spec.managedBy: Too long: may not be more than 63 bytes
        spec.completions: Required value: when completion mode is Indexed
        spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"#]].assert_eq(&check(json!({
        "managedBy": format!("A.com/{}?", "x".repeat(60)), "completionMode": "Indexed", "parallelism": 100_001,
    })));
    let template = |policy: &str| {
        json!({"podFailurePolicy": {"rules": []}, "template": {"spec": {
            "restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}}})
    };
    for policy in ["Always", "OnFailure", "Some"] {
        let errors = check(template(policy));
        match policy {
            "Always" => expect![[r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]].assert_eq(&errors),
            "OnFailure" => expect![[r#"spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified"#]].assert_eq(&errors),
            _ => expect![[r#"
                spec.template.spec.restartPolicy: Unsupported value: "Some": supported values: "Always", "OnFailure", "Never"
                spec.template.spec.restartPolicy: Unsupported value: "Some": supported values: "OnFailure", "Never""#]].assert_eq(&errors),
        }
    }
    let check = |more: Value| create_errors(&job::KIND, indexed(more));
    expect![[r#"
        spec.maxFailedIndexes: Invalid value: 200000: must be less than or equal to completions
        spec.maxFailedIndexes: Invalid value: 200000: must be less than or equal to 100000
        spec.parallelism: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index
        spec.maxFailedIndexes: Invalid value: 200000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"#]].assert_eq(&check(json!({
        "maxFailedIndexes": 200_000, "completions": 150_000, "parallelism": 20_000, "backoffLimitPerIndex": 1,
    })));
    expect![
        "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"
    ]
    .assert_eq(&check(
        json!({"completions": 150_000, "backoffLimitPerIndex": 1}),
    ));
    expect!["spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions"]
        .assert_eq(&check(
            json!({"maxFailedIndexes": 6, "backoffLimitPerIndex": 1}),
        ));
    let mut long = indexed(json!({}));
    long["metadata"]["name"] = json!("x".repeat(62));
    expect![[r#"metadata.name: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": will not able to create pod with invalid DNS label: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-4"#]].assert_eq(&create_errors(&job::KIND, long));
}

#[test]
fn policy_errors() {
    let check = |more: Value| create_errors(&job::KIND, pi(more));
    let rules = |rules: Value| json!({"podFailurePolicy": {"rules": rules}});
    expect![[r#"
        spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]
        spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required
        spec.podFailurePolicy.rules[1].action: Unsupported value: "Some": supported values: "Count", "FailIndex", "FailJob", "Ignore"
        spec.podFailurePolicy.rules[1].onExitCodes.operator: Unsupported value: "Some": supported values: "In", "NotIn"
        spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: []: at least one value is required
        spec.podFailurePolicy.rules[2].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set
        spec.podFailurePolicy.rules[2].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template
        spec.podFailurePolicy.rules[2].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator
        spec.podFailurePolicy.rules[2].onExitCodes.values[2]: Duplicate value: 3
        spec.podFailurePolicy.rules[2].onExitCodes.values: Invalid value: [3,0,3]: must be ordered
        spec.podFailurePolicy.rules[2].onPodConditions[0].type: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.podFailurePolicy.rules[2].onPodConditions[0].status: Unsupported value: "x": supported values: "False", "True", "Unknown"
        spec.podFailurePolicy.rules[2]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported
        spec.podFailurePolicy.rules[3].onExitCodes.operator: Required value: valid values: ["In" "NotIn"]"#]].assert_eq(&check(rules(json!([
        {},
        {"action": "Some", "onExitCodes": {"operator": "Some", "values": []}},
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [3, 0, 3], "containerName": "x"},
            "onPodConditions": [{"type": "a b", "status": "x"}]},
        {"action": "FailJob", "onExitCodes": {"values": [1]}},
    ]))));
    assert_eq!(
        check(rules(json!([
            {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [0, 1], "containerName": "c"}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        ]))),
        ""
    );
    let success = |rules: Value| json!({"successPolicy": {"rules": rules}});
    expect![[
        r#"spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode"#
    ]]
    .assert_eq(&check(success(json!([]))));
    let check = |more: Value| create_errors(&job::KIND, indexed(more));
    expect!["spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"].assert_eq(&check(success(json!([]))));
    expect![[r#"
        spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified
        spec.successPolicy.rules[1].succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of indexes in the specified succeededIndexes field)
        spec.successPolicy.rules[2].succeededIndexes: Invalid value: "3-1": error parsing succeededIndexes: non-increasing order, previous: 3, current: 1
        spec.successPolicy.rules[3].succeededIndexes: Invalid value: "1,1": error parsing succeededIndexes: non-increasing order, previous: 1, current: 1
        spec.successPolicy.rules[4].succeededIndexes: Invalid value: "1-2-3": error parsing succeededIndexes: the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by '-'
        spec.successPolicy.rules[5].succeededIndexes: Invalid value: "x": error parsing succeededIndexes: cannot convert string to integer for index: "x"
        spec.successPolicy.rules[6].succeededIndexes: Invalid value: "5": error parsing succeededIndexes: too large index: "5"
        spec.successPolicy.rules[7].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)
        spec.successPolicy.rules[8].succeededCount: Invalid value: -1: must be greater than or equal to 0"#]].assert_eq(&check(success(json!([
        {},
        {"succeededIndexes": "0,2-4", "succeededCount": 5},
        {"succeededIndexes": "3-1"},
        {"succeededIndexes": "1,1"},
        {"succeededIndexes": "1-2-3"},
        {"succeededIndexes": "x"},
        {"succeededIndexes": "5"},
        {"succeededCount": 6},
        {"succeededCount": -1},
    ]))));
    assert_eq!(
        check(success(
            json!([{"succeededIndexes": "0,2-4", "succeededCount": 4}])
        )),
        ""
    );
}

#[test]
fn updates() {
    let update = |old: &Value, change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        update_errors(&job::KIND, new, old, Part::Main)
    };
    let old = created(&job::KIND, pi(json!({})));
    assert_eq!(
        update(&old, &|job| job["spec"]["parallelism"] = json!(3)),
        ""
    );
    assert_eq!(
        update(&old, &|job| job["spec"]["suspend"] = json!(true)),
        ""
    );
    expect![[r#"
        spec.backoffLimitPerIndex: Invalid value: 2: requires indexed completion mode
        spec.completions: Invalid value: 2: field is immutable
        spec.backoffLimitPerIndex: Invalid value: 2: field is immutable
        spec.managedBy: Invalid value: "acme.io/x": field is immutable"#]]
    .assert_eq(&update(&old, &|job| {
        job["spec"]["completions"] = json!(2);
        job["spec"]["backoffLimitPerIndex"] = json!(2);
        job["spec"]["managedBy"] = json!("acme.io/x");
    }));
    let taint = |job: &mut Value| job["spec"]["template"]["spec"]["tolerations"] = json!([]);
    assert_eq!(update(&old, &taint), "");
    let image =
        |job: &mut Value| job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j");
    assert!(update(&old, &image).starts_with("spec.template: Invalid value: "));
    let place = |job: &mut Value| {
        let template = &mut job["spec"]["template"];
        template["metadata"]["annotations"] = json!({"a": "b"});
        template["spec"]["nodeSelector"] = json!({"a": "b"});
        template["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
        template["spec"]["affinity"] = json!({"nodeAffinity": {}});
        template["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    };
    let with = |status: Value, suspend: bool| {
        let mut job = old.clone();
        job["status"] = status;
        job["spec"]["suspend"] = json!(suspend);
        job
    };
    let started = "2026-01-01T00:00:00Z";
    let suspended = json!([{"type": "Suspended", "status": "True"}]);
    for (status, suspend, allowed) in [
        (json!({}), false, false),
        (json!({}), true, true),
        (json!({"startTime": started}), true, false),
        (
            json!({"startTime": started, "conditions": suspended}),
            true,
            true,
        ),
        (
            json!({"startTime": started, "conditions": suspended, "active": 1}),
            true,
            false,
        ),
    ] {
        let old = with(status, suspend);
        assert_eq!(update(&old, &place).is_empty(), allowed, "{old}");
        assert!(!update(&old, &image).is_empty(), "an image never changes");
    }
    let old = created(&job::KIND, indexed(json!({"parallelism": 5})));
    expect![
        "spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism"
    ]
    .assert_eq(&update(&old, &|job| job["spec"]["completions"] = json!(2)));
    assert_eq!(
        update(&old, &|job| {
            job["spec"]["completions"] = json!(2);
            job["spec"]["parallelism"] = json!(2);
        }),
        ""
    );
}

/// The errors of a change of status.
fn status(spec: Value, old: Value, new: Value) -> String {
    let mut before = created(&job::KIND, spec);
    before["status"] = old;
    let mut after = before.clone();
    after["status"] = new;
    update_errors(&job::KIND, after, &before, Part::Status)
}

fn conditions(types: &[&str]) -> Value {
    let conditions = types.iter();
    conditions
        .map(|type_| json!({"type": type_, "status": "True"}))
        .collect()
}

#[test]
fn statuses() {
    let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
    let complete = json!({
        "conditions": conditions(&["SuccessCriteriaMet", "Complete"]), "succeeded": 1,
        "startTime": start, "completionTime": end,
    });
    let failed = json!({"conditions": conditions(&["FailureTarget", "Failed"]), "failed": 1, "startTime": start});
    let running = json!({"active": 1, "ready": 1, "startTime": start});
    for (old, new) in [
        (json!({}), &running),
        (running.clone(), &complete),
        (running.clone(), &failed),
        (failed.clone(), &failed),
    ] {
        assert_eq!(status(pi(json!({})), old, new.clone()), "", "{new}");
    }
    let check = |old: &Value, new: Value| status(pi(json!({})), old.clone(), new);
    expect!["status.active: Invalid value: -1: must be greater than or equal to 0"]
        .assert_eq(&check(&json!({"active": 1}), json!({"active": -1})));
    expect![[r#"
        status.active: Invalid value: -1: must be greater than or equal to 0
        status.ready: Invalid value: -1: must be greater than or equal to 0
        status.terminating: Invalid value: -1: must be greater than or equal to 0
        status.uncountedTerminatedPods.succeeded[1]: Invalid value: "": must not be empty
        status.uncountedTerminatedPods.failed[0]: Duplicate value: "a""#]].assert_eq(&check(&json!({}), json!({
        "active": -1, "ready": -1, "terminating": -1, "uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]},
    })));
    expect![[r#"
        status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions
        status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions
        status.completionTime: Required value: completionTime is required for Complete jobs
        status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition
        status.active: Invalid value: 1: active>0 is invalid for finished job
        status.startTime: Required value: startTime is required for finished job
        status.uncountedTerminatedPods: Invalid value: {"failed":["a"]}: must be empty for finished job
        status.terminating: Invalid value: 1: terminating>0 is invalid for finished job
        status.startTime: Invalid value: null: field is immutable for unsuspended job once set"#]].assert_eq(&check(&running, json!({
        "conditions": conditions(&["Complete", "Failed", "FailureTarget"]), "active": 1, "terminating": 1,
        "uncountedTerminatedPods": {"failed": ["a"]},
    })));
    expect![[r#"
        status.conditions: Invalid value: cannot disable the terminal Complete=True condition
        status.succeeded: Invalid value: 0: cannot decrease the succeeded counter
        status.startTime: Invalid value: null: field is immutable for unsuspended job once set
        status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"#]]
    .assert_eq(&check(&complete, json!({})));
    expect![[r#"
        status.startTime: Required value: startTime is required for finished job
        status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions
        status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition
        status.failed: Invalid value: 0: cannot decrease the failed counter
        status.startTime: Invalid value: null: field is immutable for unsuspended job once set"#]].assert_eq(&check(
        &failed,
        json!({"conditions": conditions(&["Failed", "SuccessCriteriaMet"])}),
    ));
    expect![[r#"
        status.completionTime: Invalid value: "2026-01-01T00:00:00Z": cannot set completionTime when there is no Complete=True condition
        status.completionTime: Invalid value: "2026-01-01T00:00:00Z": must be equal to or after `startTime`
        status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode
        status.failedIndexes: Invalid value: "": cannot set non-null failedIndexes when backoffLimitPerIndex is null
        status.ready: Invalid value: 2: cannot set more ready pods than active
        status.startTime: Invalid value: "2026-01-01T00:01:00Z": field is immutable for unsuspended job once set"#]].assert_eq(&check(&running, json!({
        "active": 1, "ready": 2, "startTime": end, "completionTime": start, "completedIndexes": "0", "failedIndexes": "",
    })));
    expect![[r#"
        status.completedIndexes: Invalid value: "0,2-4,7": error parsing completedIndexes: too large index: "7"
        status.failedIndexes: Invalid value: "1,3": failedIndexes and completedIndexes overlap at index: 3"#]].assert_eq(&status(
        indexed(json!({"backoffLimitPerIndex": 1})),
        json!({}),
        json!({"completedIndexes": "0,2-4,7", "failedIndexes": "1,3"}),
    ));
    let mut old = created(&job::KIND, pi(json!({})));
    old["status"] = running;
    let mut new = old.clone();
    new["spec"]["parallelism"] = json!(9);
    new["metadata"]["labels"] = json!({"a": "b"});
    let new = updated(&job::KIND, new, &old, Part::Status);
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!(new["metadata"]["labels"], json!({"a": "b"}));
}

#[test]
fn rows_and_warnings() {
    let rows: Vec<String> = [
        (json!({}), json!({})),
        (json!({"parallelism": 3}), json!({"startTime": "2025-12-31T23:59:00Z", "succeeded": 1})),
        (
            json!({"completions": 4}),
            json!({"succeeded": 4, "startTime": "2025-12-31T23:00:00Z", "completionTime": "2025-12-31T23:00:10Z",
                "conditions": conditions(&["SuccessCriteriaMet", "Complete"])}),
        ),
        (json!({}), json!({"conditions": conditions(&["FailureTarget"])})),
        (json!({}), json!({"conditions": conditions(&["FailureTarget", "Failed"])})),
        (json!({}), json!({"conditions": conditions(&["Suspended"])})),
    ]
    .into_iter()
    .map(|(spec, status)| {
        let mut object = created(&job::KIND, pi(spec));
        object["status"] = status;
        row(&job::KIND, &object, NOW)
    })
    .collect();
    expect![[r#"
        pi | Running | 0/1 |  | 120m | c | i | batch.kubernetes.io/controller-uid=u
        pi | Running | 1/1 of 3 | 60s | 120m | c | i | batch.kubernetes.io/controller-uid=u
        pi | Complete | 4/4 | 10s | 120m | c | i | batch.kubernetes.io/controller-uid=u
        pi | FailureTarget | 0/1 |  | 120m | c | i | batch.kubernetes.io/controller-uid=u
        pi | Failed | 0/1 |  | 120m | c | i | batch.kubernetes.io/controller-uid=u
        pi | Suspended | 0/1 |  | 120m | c | i | batch.kubernetes.io/controller-uid=u"#]]
    .assert_eq(&rows.join("\n"));
    let strategy = job::KIND.strategy;
    let mut object = created(
        &job::KIND,
        indexed(json!({"completions": 200_000, "parallelism": 20_000})),
    );
    object["metadata"]["name"] = json!("a.b");
    object["status"] = json!({"succeeded": 2});
    expect![[r#"
        metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
        spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"#]].assert_eq(&strategy.warnings(&object, None, crate::kind::Part::Main).join("\n"));
    assert_eq!(strategy.field_values(&object), ["2"]);
    assert!(strategy.orphans_dependents());
}
