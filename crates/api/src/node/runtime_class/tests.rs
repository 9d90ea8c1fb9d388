use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors},
};

fn class(more: Value) -> Value {
    let mut object = json!({"metadata": {"name": "c"}, "handler": "runc"});
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

#[test]
fn refusals() {
    let twice = json!({"key": "a", "operator": "Exists"});
    let errors = [
        class(json!({"handler": ""})),
        class(json!({"handler": "Run_C"})),
        class(json!({"overhead": {"podFixed": {"cpu": "-1", "gold": "1"}}})),
        class(json!({"scheduling": {"nodeSelector": {"a b": "c"}, "tolerations": [twice, twice]}})),
        class(json!({"scheduling": {"tolerations": [{"key": "a", "operator": "Gt"}, {"key": "a", "operator": "Near"}]}})),
        class(json!({"overhead": {"podFixed": {"cpu": "0.5"}}, "scheduling": {"tolerations": [twice]}})),
    ]
    .map(|object| create_errors(&KIND, object))
    .join("\n");
    expect![[r#"
        handler: Required value
        handler: Invalid value: "Run_C": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0
        overhead.limits[gold]: Invalid value: "gold": must be a standard resource type or fully qualified
        overhead.limits[gold]: Invalid value: "gold": must be a standard resource for containers
        scheduling.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        scheduling.tolerations[1]: Duplicate value: {"key":"a","operator":"Exists"}
        scheduling.tolerations[0].operator: Unsupported value: "Gt": supported values: "Equal", "Exists", "Lt", "Gt"
        scheduling.tolerations[1].operator: Unsupported value: "Near": supported values: "Equal", "Exists"
    "#]].assert_eq(&errors);
    let old = created(
        &KIND,
        class(json!({"overhead": {"podFixed": {"cpu": "0.5"}}})),
    );
    assert_eq!(old["overhead"]["podFixed"]["cpu"], "500m");
    let new = class(json!({"handler": "kata"}));
    expect![[r#"handler: Invalid value: null: field is immutable"#]].assert_eq(&update_errors(
        &KIND,
        new,
        &old,
        Part::Main,
    ));
    assert_eq!(row(&KIND, &old, 0), "c | runc | <unknown>");
}
