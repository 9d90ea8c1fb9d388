use expect_test::expect;
use serde_json::{Value, json};

use super::{KIND, v1};
use crate::{
    kind::Part,
    testing::{create_errors, created, pretty, row, update_errors},
};

fn scaler(more: Value) -> Value {
    let mut object = json!({"metadata": {"name": "h", "namespace": "d"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 5}});
    if let (Some(spec), Value::Object(more)) = (object["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    object
}

fn metric(type_: &str, field: &str, source: Value) -> Value {
    json!({"metrics": [{"type": type_, field: source}]})
}

#[test]
fn defaults() {
    let object = created(
        &KIND,
        scaler(
            json!({"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 9}]}}}),
        ),
    );
    expect![[r#"
        {
          "behavior": {
            "scaleDown": {
              "policies": [
                {
                  "periodSeconds": 9,
                  "type": "Pods",
                  "value": 1
                }
              ],
              "selectPolicy": "Max"
            },
            "scaleUp": {
              "policies": [
                {
                  "periodSeconds": 15,
                  "type": "Pods",
                  "value": 4
                },
                {
                  "periodSeconds": 15,
                  "type": "Percent",
                  "value": 100
                }
              ],
              "selectPolicy": "Max",
              "stabilizationWindowSeconds": 0
            }
          },
          "maxReplicas": 5,
          "metrics": [
            {
              "resource": {
                "name": "cpu",
                "target": {
                  "averageUtilization": 80,
                  "type": "Utilization"
                }
              },
              "type": "Resource"
            }
          ],
          "minReplicas": 1,
          "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "web"
          }
        }"#]]
    .assert_eq(&pretty(&object["spec"]));
}

#[test]
fn refusals() {
    let up = |rules: Value| json!({"behavior": {"scaleUp": rules}});
    let target = |target: Value| {
        metric(
            "Resource",
            "resource",
            json!({"name": "cpu", "target": target}),
        )
    };
    let errors = [
        json!({"minReplicas": -1, "maxReplicas": 0}),
        json!({"minReplicas": 7, "maxReplicas": -3}),
        json!({"minReplicas": 0}),
        json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "Pod", "name": ""}}),
        json!({"scaleTargetRef": {"apiVersion": "a/b/c", "kind": "a/b", "name": "x"}}),
        json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController", "name": "x"}}),
        up(json!({"stabilizationWindowSeconds": 3601, "selectPolicy": "Best", "policies": [
            {"type": "All", "value": 0, "periodSeconds": 1801}], "tolerance": "-1"})),
        up(json!({"stabilizationWindowSeconds": -1, "policies": []})),
        metric("", "pods", json!({})),
        metric("Pods", "resource", json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}})),
        target(json!({"type": "Much", "averageUtilization": 0})),
        target(json!({"type": "Utilization", "averageUtilization": 50, "averageValue": "0"})),
        metric("Object", "object", json!({"metric": {"name": "a/b"}, "target": {"type": "Value"}})),
        metric("External", "external", json!({"metric": {"name": "m"}, "target": {"type": "Value", "value": "1", "averageValue": "1"}})),
        metric("ContainerResource", "containerResource", json!({"name": "gold", "container": "A", "target": {"type": "AverageValue", "averageValue": "1"}})),
    ]
    .map(|spec| create_errors(&KIND, scaler(spec)))
    .join("\n");
    expect![[r#"
        spec.minReplicas: Invalid value: -1: must be greater than or equal to 0
        spec.maxReplicas: Required value
        spec.maxReplicas: Invalid value: -3: must be greater than or equal to 1
        spec.maxReplicas: Invalid value: -3: must be greater than or equal to `minReplicas`
        spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas
        spec.scaleTargetRef.name: Required value
        spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group
        spec.scaleTargetRef.kind: Invalid value: "a/b": may not contain '/'
        spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c

        spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600
        spec.behavior.scaleUp.selectPolicy: Unsupported value: "Best": supported values: "Disabled", "Max", "Min"
        spec.behavior.scaleUp.policies[0].type: Unsupported value: "All": supported values: "Percent", "Pods"
        spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero
        spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800
        spec.behavior.scaleUp.tolerance: Invalid value: "-1": must be greater than or equal to 0
        spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero
        spec.behavior.scaleUp.policies: Required value: must specify at least one Policy
        spec.metrics[0].type: Required value: must specify a metric source type
        spec.metrics[0].type: Unsupported value: "": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"
        spec.metrics[0].pods.metric.name: Required value: must specify a metric name
        spec.metrics[0].pods.target.type: Required value: must specify a metric target type
        spec.metrics[0].pods.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue
        spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue
        spec.metrics[0].type: Unsupported value: "": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"
        spec.metrics[0].pods: Required value: must populate information for the given metric source
        spec.metrics[0].resource.target.type: Invalid value: "Much": must be either Utilization, Value, or AverageValue
        spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0
        spec.metrics[0].resource.target.averageValue: Invalid value: "0": must be positive
        spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization
        spec.metrics[0].object.describedObject.kind: Required value
        spec.metrics[0].object.describedObject.name: Required value
        spec.metrics[0].object.metric.name: Invalid value: "a/b": may not contain '/'
        spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue
        spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target
        spec.metrics[0].containerResource.name: Invalid value: "gold": must be a standard resource type or fully qualified
        spec.metrics[0].containerResource.name: Invalid value: "gold": must be a standard resource for containers
        spec.metrics[0].containerResource.container: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]].assert_eq(&errors);
    let old = scaler(json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "Pod", "name": "x"}}));
    assert_eq!(update_errors(&KIND, old.clone(), &old, Part::Main), "");
    let mut status = old.clone();
    status["status"] = json!({"currentReplicas": -1, "conditions": [{"observedGeneration": -1}]});
    expect![[r#"
        status.conditions[0].observedGeneration: Invalid value: -1: must be greater than or equal to 0
        status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"#]].assert_eq(&update_errors(&KIND, status, &old, Part::Status));
}

#[test]
fn rows() {
    let metrics = json!([
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
        {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
        {"type": "Object", "object": {}},
    ]);
    let mut object = created(&KIND, scaler(json!({"metrics": metrics})));
    object["status"] = json!({"currentReplicas": 2, "currentMetrics": [
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 30, "averageValue": "3m"}}}]});
    let external =
        |target: Value| scaler(metric("External", "external", json!({"target": target})));
    let rows = [
        object,
        external(json!({"averageValue": "5"})),
        external(json!({"value": "7"})),
        created(&KIND, scaler(json!({}))),
    ]
    .map(|object| row(&KIND, &object, 0));
    expect![[r#"
        h | Deployment/web | cpu: 30%/50%, <unknown>/5 + 1 more... | 1 | 5 | 2 | <unknown>
        h | Deployment/web | <unknown>/5 (avg) | <unset> | 5 | 0 | <unknown>
        h | Deployment/web | <unknown>/7 | <unset> | 5 | 0 | <unknown>
        h | Deployment/web | cpu: <unknown>/80% | 1 | 5 | 0 | <unknown>"#]]
    .assert_eq(&rows.join("\n"));
}

#[test]
fn v1_and_back() {
    let spec = json!({
        "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
            {"type": "Pods", "pods": {"metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
                "target": {"type": "AverageValue", "averageValue": "5"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "o"},
                "target": {"type": "Value", "value": "3"}}},
        ],
        "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 9}]}},
    });
    let mut object = created(&KIND, scaler(spec));
    object["apiVersion"] = json!("autoscaling/v2");
    object["metadata"]["annotations"] = json!({"mine": "yes"});
    object["status"] = json!({"currentReplicas": 1, "desiredReplicas": 2, "currentMetrics": [
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 30, "averageValue": "3m"}}}],
        "conditions": [{"type": "AbleToScale", "status": "True"}]});
    let old = v1::decode(object.clone());
    expect![[r#"
        {
          "apiVersion": "autoscaling/v1",
          "metadata": {
            "annotations": {
              "autoscaling.alpha.kubernetes.io/behavior": "{\"ScaleUp\":{\"StabilizationWindowSeconds\":0,\"SelectPolicy\":\"Max\",\"Policies\":[{\"Type\":\"Pods\",\"Value\":1,\"PeriodSeconds\":9}],\"Tolerance\":null},\"ScaleDown\":{\"StabilizationWindowSeconds\":null,\"SelectPolicy\":\"Max\",\"Policies\":[{\"Type\":\"Percent\",\"Value\":100,\"PeriodSeconds\":15}],\"Tolerance\":null}}",
              "autoscaling.alpha.kubernetes.io/conditions": "[{\"type\":\"AbleToScale\",\"status\":\"True\"}]",
              "autoscaling.alpha.kubernetes.io/current-metrics": "[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"currentAverageUtilization\":30,\"currentAverageValue\":\"3m\"}}]",
              "autoscaling.alpha.kubernetes.io/metrics": "[{\"type\":\"Pods\",\"pods\":{\"metricName\":\"m\",\"targetAverageValue\":\"5\",\"selector\":{\"matchLabels\":{\"a\":\"b\"}}}},{\"type\":\"Object\",\"object\":{\"target\":{\"kind\":\"Service\",\"name\":\"s\"},\"metricName\":\"o\",\"targetValue\":\"3\"}}]",
              "mine": "yes"
            },
            "name": "h",
            "namespace": "d"
          },
          "spec": {
            "maxReplicas": 5,
            "minReplicas": 1,
            "scaleTargetRef": {
              "apiVersion": "apps/v1",
              "kind": "Deployment",
              "name": "web"
            },
            "targetCPUUtilizationPercentage": 50
          },
          "status": {
            "currentCPUUtilizationPercentage": 30,
            "currentReplicas": 1,
            "desiredReplicas": 2
          }
        }"#]].assert_eq(&pretty(&old));
    let back = v1::encode(old);
    let sorted = |object: &Value| {
        let mut object = object.clone();
        let metrics = object["spec"]["metrics"].as_array_mut().expect("metrics");
        metrics.sort_by_key(|metric| metric["type"].to_string());
        object
    };
    assert_eq!(sorted(&back), sorted(&object));
}

#[test]
fn v1_as_people_write_it() {
    let mut object = scaler(json!({"targetCPUUtilizationPercentage": 60}));
    object["metadata"]["annotations"] =
        json!({"autoscaling.alpha.kubernetes.io/metrics": "no json"});
    let stored = created(&KIND, v1::encode(object));
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]);
    assert_eq!(
        (&stored["spec"]["metrics"], &stored["spec"]["minReplicas"]),
        (&cpu, &json!(1))
    );
    let shown = v1::decode(stored);
    assert_eq!(shown["spec"]["targetCPUUtilizationPercentage"], 60);
    assert_eq!(
        shown["status"],
        json!({"currentReplicas": 0, "desiredReplicas": 0})
    );
}
