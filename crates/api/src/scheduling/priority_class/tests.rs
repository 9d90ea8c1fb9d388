use expect_test::expect;
use serde_json::{Value, json};

use super::{KIND, SYSTEM_CLASSES};
use crate::{
    kind::Part,
    testing::{create_errors, row, update_errors},
};

fn class(name: &str, value: i64) -> Value {
    json!({"metadata": {"name": name}, "value": value})
}

#[test]
fn names_and_values() {
    for (name, value, _) in SYSTEM_CLASSES {
        assert_eq!(create_errors(&KIND, class(name, *value)), "");
    }
    let errors = [
        class("mine", 1_000_000_001),
        class("system-mine", 5),
        class("system-node-critical", 5),
    ]
    .map(|object| create_errors(&KIND, object))
    .join("\n");
    expect![[r#"
        value: Forbidden: maximum allowed value of a user defined priority is 1000000000
        metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class
        metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000"#]].assert_eq(&errors);
    let mut new = class("mine", 6);
    new["preemptionPolicy"] = json!("Never");
    let old = json!({"metadata": {"name": "mine"}, "value": 5, "preemptionPolicy": "PreemptLowerPriority"});
    expect![[r#"
        value: Forbidden: may not be changed in an update.
        preemptionPolicy: Invalid value: "Never": field is immutable"#]]
    .assert_eq(&update_errors(&KIND, new, &old, Part::Main));
    assert_eq!(
        row(&KIND, &old, 0),
        "mine | 5 | false | <unknown> | PreemptLowerPriority"
    );
}
