use async_trait::async_trait;

use super::*;
use crate::aggregation::Aggregation;

#[derive(Debug)]
struct Metrics;

#[async_trait]
impl LocalApi for Metrics {
    fn group(&self) -> &'static str {
        "metrics.k8s.io"
    }

    fn version(&self) -> &'static str {
        "v1beta1"
    }

    fn priority(&self) -> (i32, i32) {
        (100, 100)
    }

    fn resources(&self) -> Vec<Value> {
        vec![json!({
            "resource": "nodes", "scope": "Cluster", "singularResource": "", "verbs": ["get"],
            "responseKind": {"kind": "NodeMetrics"},
        })]
    }

    fn schema(&self) -> Value {
        json!({"openapi": "3.0.0"})
    }

    async fn answer(&self, _: &ApiRequest<'_>) -> Result<Value, Status> {
        Ok(Value::Null)
    }

    fn table(&self, _: &Value) -> Value {
        Value::Null
    }
}

fn service(service: Value) -> Value {
    json!({
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "service": service},
    })
}

#[test]
fn it_is_served_while_its_api_service_leaves_it_here() {
    let aggregation = Aggregation::new(Locals::new(vec![Arc::new(Metrics)]));
    let there = || {
        let found = aggregation.locals.find("metrics.k8s.io", "v1beta1");
        let shown: Vec<_> = aggregation.schemas().into_iter().map(|one| one.0).collect();
        (found.is_some(), shown)
    };
    let shown = vec!["apis/metrics.k8s.io/v1beta1".to_owned()];
    assert_eq!(there(), (false, vec![]));
    aggregation.follow_locals(&[service(Value::Null)]);
    assert_eq!(there(), (true, shown));
    assert!(aggregation.locals.find("metrics.k8s.io", "v1").is_none());
    let others = json!({"name": "metrics-server", "namespace": "kube-system"});
    aggregation.follow_locals(&[service(others)]);
    assert_eq!(there(), (false, vec![]));
    aggregation.follow_locals(&[service(Value::Null)]);
    aggregation.follow_locals(&[]);
    assert_eq!(there(), (false, vec![]), "who deletes it has it so");
}

#[test]
fn both_forms_of_discovery_say_the_same() {
    let local = Local::new(Arc::new(Metrics));
    let wanted = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
        "resources": [{
            "name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics", "verbs": ["get"],
        }],
    });
    assert_eq!(local.resource_list(), wanted);
}

#[test]
fn rows_carry_what_is_asked_for_of_their_objects() {
    let object = json!({"kind": "NodeMetrics", "metadata": {"name": "a"}, "window": "1s"});
    let table = json!({"columnDefinitions": [], "rows": [{"cells": ["a"], "object": object}]});
    let row = |include| {
        let table = shaped(&object, table.clone(), include, MetaVersion::V1);
        assert_eq!(table["kind"], "Table");
        table["rows"][0]["object"].clone()
    };
    assert_eq!(row(IncludeObject::None), Value::Null);
    assert_eq!(
        row(IncludeObject::Metadata)["kind"],
        "PartialObjectMetadata"
    );
    assert_eq!(row(IncludeObject::Object), object);
}
