mod values;

use knarr_client::fake::{self, Server};
use serde_json::{Value, json};

use super::super::replicas::Tolerances;
use super::*;

/// What an autoscaler with this metric says when the server answers with `code` and `answer`: the condition's message, and the context.
async fn failure(metric: Value, code: u16, answer: Value) -> (String, String) {
    let (client, mut server) = fake::client();
    let metrics = Metrics::new(client);
    let subject = Subject {
        metrics: &metrics,
        target: Target {
            pods: &[],
            replicas: 2,
            tolerances: Tolerances { up: 0.1, down: 0.1 },
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
        },
        namespace: "ns",
        selector: "app=a",
        status_replicas: 2,
    };
    let metric = [serde_json::from_value(metric).expect("a metric")];
    let mut statuses = Vec::new();
    let answered = async |server: &mut Server| server.next().await.answer(code, &answer);
    let all = evaluate_all(&metric, &subject, &mut statuses);
    let (proposals, ()) = tokio::join!(all, answered(&mut server));
    let mut failures = proposals.failures.into_iter();
    let first = failures.next().expect("a failure");
    (first.message, first.context)
}

fn external(target: Value, selector: Value) -> Value {
    json!({"type": "External", "external": {"metric": {"name": "m", "selector": selector}, "target": target}})
}

#[tokio::test]
async fn failures_are_told_in_the_servers_words() {
    let missing = json!({"kind": "Status", "status": "Failure", "message": "no such metric m", "reason": "NotFound", "code": 404});
    let average = json!({"type": "AverageValue", "averageValue": "5"});
    let (message, context) =
        failure(external(average.clone(), Value::Null), 404, missing.clone()).await;
    let why = "unable to get external metric ns/m/nil: unable to fetch metrics from external metrics API: no such metric m";
    assert_eq!(message, why);
    let all = "failed to get m external metric value: failed to get m external metric: ";
    assert_eq!(context, format!("{all}{why}"));

    let value = json!({"type": "Value", "value": "5"});
    let selector = json!({"matchLabels": {"a": "b"}});
    let (message, context) = failure(external(value, selector), 404, missing).await;
    let selector = "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}";
    let why = format!(
        "unable to get external metric ns/m/{selector}: unable to fetch metrics from external metrics API: no such metric m"
    );
    assert_eq!(message, why);
    let all = "failed to get m external metric value: failed to get external metric m: ";
    assert_eq!(context, format!("{all}{why}"));

    // No Status: nobody serves the API.
    let (message, _) = failure(external(average, Value::Null), 404, json!("nothing")).await;
    let why = "unable to get external metric ns/m/nil: unable to fetch metrics from external metrics API: the server could not find the requested resource (get m.external.metrics.k8s.io)";
    assert_eq!(message, why);
}

#[test]
fn selectors_are_printed_as_upstream_does() {
    let selector: LabelSelector = serde_json::from_value(json!({
        "matchLabels": {"a": "b", "c": "d"},
        "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}, {"key": "e", "operator": "Exists"}],
    }))
    .expect("a selector");
    assert_eq!(
        printed(Some(&selector)),
        "&LabelSelector{MatchLabels:map[string]string{a: b,c: d,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},LabelSelectorRequirement{Key:e,Operator:Exists,Values:[],},},}"
    );
}
