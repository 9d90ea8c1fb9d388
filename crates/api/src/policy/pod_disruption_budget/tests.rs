use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors, updated},
};

fn budget(spec: Value) -> Value {
    json!({"metadata": {"name": "b", "namespace": "d"}, "spec": spec})
}

#[test]
fn refusals() {
    let errors = [
        json!({"minAvailable": 1, "maxUnavailable": "10%"}),
        json!({"minAvailable": -1}),
        json!({"maxUnavailable": "101%"}),
        json!({"maxUnavailable": "many"}),
        json!({"selector": {"matchLabels": {"a": "b c"}}}),
        json!({"unhealthyPodEvictionPolicy": "Never"}),
        json!({"minAvailable": "50%", "selector": {}, "unhealthyPodEvictionPolicy": "AlwaysAllow"}),
    ]
    .map(|spec| create_errors(&KIND, budget(spec)))
    .join("\n");
    expect![[r#"
        spec: Invalid value: {"maxUnavailable":"10%","minAvailable":1}: minAvailable and maxUnavailable cannot be both set
        spec.minAvailable: Invalid value: -1: must be greater than or equal to 0
        spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%
        spec.maxUnavailable: Invalid value: "many": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
        spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"
    "#]].assert_eq(&errors);
}

#[test]
fn statuses() {
    let mut object = budget(json!({"minAvailable": 1}));
    object["status"] = json!({"disruptionsAllowed": 5});
    let old = created(&KIND, object.clone());
    assert_eq!(old["status"]["disruptionsAllowed"], 0);
    assert_eq!(old["status"]["expectedPods"], 0);
    object["spec"] = json!({});
    let new = updated(&KIND, object.clone(), &old, Part::Status);
    assert_eq!(
        (&new["spec"], &new["status"]),
        (&old["spec"], &object["status"])
    );
    let main = updated(&KIND, object, &old, Part::Main);
    assert_eq!(main["status"], old["status"]);
    let mut wrong = new;
    let good = json!({"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "message": ""});
    let bad = json!({"type": "a b", "status": "Maybe", "reason": "Because!", "observedGeneration": -1,
        "message": "m".repeat(33_000)});
    wrong["status"] = json!({"disruptionsAllowed": -1, "conditions": [good, good, bad, {}]});
    let errors = update_errors(&KIND, wrong, &old, Part::Status);
    expect![[r#"
        status.conditions[1]: Duplicate value: "DisruptionAllowed"
        status.conditions[2].type: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        status.conditions[2].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"
        status.conditions[2].observedGeneration: Invalid value: -1: must be greater than or equal to zero
        status.conditions[2].lastTransitionTime: Required value
        status.conditions[2].reason: Invalid value: "Because!": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')
        status.conditions[2].message: Too long: may not be more than 32768 bytes
        status.conditions[3].type: Required value: is required
        status.conditions[3].status: Required value
        status.conditions[3].lastTransitionTime: Required value
        status.conditions[3].reason: Required value
        status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0"#]].assert_eq(&errors);
}

#[test]
fn rows() {
    let rows = [json!({"minAvailable": "50%"}), json!({"maxUnavailable": 2})]
        .map(|spec| row(&KIND, &created(&KIND, budget(spec)), 0));
    expect![[r#"
        b | 50% | N/A | 0 | <unknown>
        b | N/A | 2 | 0 | <unknown>"#]]
    .assert_eq(&rows.join("\n"));
}
