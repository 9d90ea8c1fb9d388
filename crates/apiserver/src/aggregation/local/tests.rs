use async_trait::async_trait;
use knarr_api::Kinds;
use knarr_registry::catalog::Snapshot;

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

    fn schema_v2(&self) -> Value {
        let response =
            json!({"description": "OK", "schema": {"$ref": "#/definitions/NodeMetrics"}});
        json!({
            "swagger": "2.0",
            "paths": {"/apis/metrics.k8s.io/v1beta1/nodes": {"get": {"responses": {"200": response}}}},
            "definitions": {"NodeMetrics": {"type": "object"}},
        })
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

#[tokio::test]
async fn it_is_in_the_merged_document_while_it_is_served() {
    let aggregation = Aggregation::new(Locals::new(vec![Arc::new(Metrics)]));
    let snapshot = Arc::new(Snapshot::new(Kinds::built_in(), None));
    assert!(aggregation.merged_v2(&snapshot).await.is_none());
    aggregation.follow_locals(&[service(Value::Null)]);
    let merged = aggregation.merged_v2(&snapshot).await.expect("a document");
    let bytes = merged.json(&snapshot).inflate().expect("bytes");
    let document: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert!(document["paths"]["/apis/metrics.k8s.io/v1beta1/nodes"].is_object());
    assert!(document["definitions"]["NodeMetrics"].is_object());
    aggregation.follow_locals(&[]);
    assert!(aggregation.merged_v2(&snapshot).await.is_none());
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
