use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::testing::{create_errors, created};

fn limits(limits: Value) -> Value {
    json!({"metadata": {"name": "l", "namespace": "d"}, "spec": {"limits": limits}})
}

#[test]
fn defaults_of_containers() {
    let object = limits(json!([
        {"type": "Container", "max": {"cpu": "2", "memory": "1Gi"}, "default": {"cpu": "1"}, "min": {"memory": "1Mi", "x.y/z": "1"}},
        {"type": "Container"},
        {"type": "Pod", "max": {"cpu": "2"}},
    ]));
    let expected = json!([
        {"type": "Container", "max": {"cpu": "2", "memory": "1Gi"}, "default": {"cpu": "1", "memory": "1Gi"},
            "min": {"memory": "1Mi", "x.y/z": "1"}, "defaultRequest": {"cpu": "1", "memory": "1Gi", "x.y/z": "1"}},
        {"type": "Container"},
        {"type": "Pod", "max": {"cpu": "2"}},
    ]);
    assert_eq!(created(&KIND, object)["spec"]["limits"], expected);
}

#[test]
fn refusals() {
    let errors = [
        json!([{"type": "Node"}, {"type": "a b"}, {"type": "x.y/z"}, {"type": "x.y/z"}]),
        json!([{"type": "Pod", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}, "max": {"storage": "1"}}]),
        json!([{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]),
        json!([{"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "4"}, "default": {"cpu": "5"}, "defaultRequest": {"cpu": "6"}}]),
        json!([{"type": "Container", "min": {"cpu": "2"}, "default": {"cpu": "1"}}]),
        json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "0.5"}}]),
        json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "3"}, "min": {"cpu": "2"}, "max": {"cpu": "4"}}]),
        json!([{"type": "Container", "default": {"hugepages-2Mi": "4Mi"}, "defaultRequest": {"hugepages-2Mi": "2Mi"}}]),
        json!([{"type": "Container", "max": {"gold": "1", "cpu": "much"}}]),
        json!([{"type": "PersistentVolumeClaim", "min": {"cpu": "1"}}]),
        json!([{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]),
    ]
    .map(|list| create_errors(&KIND, limits(list)))
    .join("\n");
    expect![[r#"
        spec.limits[0].type: Invalid value: "Node": must be a standard limit type or fully qualified
        spec.limits[1].type: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        spec.limits[3].type: Duplicate value: "x.y/z"
        spec.limits[0].max[storage]: Invalid value: "storage": must be a standard resource for containers
        spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'
        spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'
        spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1
        spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1
        spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1
        spec.limits[0].defaultRequest[cpu]: Invalid value: "6": default request value 6 is greater than max value 4
        spec.limits[0].defaultRequest[cpu]: Invalid value: "6": default request value 6 is greater than default limit value 5
        spec.limits[0].default[cpu]: Invalid value: "4": default value 5 is greater than max value 4
        spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1
        spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1
        spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1
        spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000
        spec.limits[0].defaultRequest[hugepages-2Mi]: Invalid value: "2Mi": default value 4Mi must equal to defaultRequest value 2Mi in hugepages-2Mi
        spec.limits[0].max[cpu]: Invalid value: "much": must be a valid resource quantity
        spec.limits[0].max[gold]: Invalid value: "gold": must be a standard resource type or fully qualified
        spec.limits[0].max[gold]: Invalid value: "gold": must be a standard resource for containers
        spec.limits[0].default[cpu]: Invalid value: "much": must be a valid resource quantity
        spec.limits[0].default[gold]: Invalid value: "gold": must be a standard resource type or fully qualified
        spec.limits[0].default[gold]: Invalid value: "gold": must be a standard resource for containers
        spec.limits[0].defaultRequest[cpu]: Invalid value: "much": must be a valid resource quantity
        spec.limits[0].defaultRequest[gold]: Invalid value: "gold": must be a standard resource type or fully qualified
        spec.limits[0].defaultRequest[gold]: Invalid value: "gold": must be a standard resource for containers
        spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided
    "#]].assert_eq(&errors);
}
