//! Metrics of objects and of what is outside: how many replicas they ask for, what the status says of them, and why they cannot be told.

use super::super::super::replicas::Tolerances;
use super::*;
use crate::fixtures::pod;

/// Pods that are ready.
const READY: usize = 3;

/// What the server has at a path: a status code and a body.
fn served(path: &str, metric: &(u16, Value)) -> (u16, Value) {
    let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]});
    let list = |group: &str, resource: Value| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": [resource]});
    let version = json!({"groupVersion": "custom.metrics.k8s.io/v1beta2", "version": "v1beta2"});
    match path {
        "/apis/custom.metrics.k8s.io" => (
            200,
            json!({"kind": "APIGroup", "preferredVersion": version}),
        ),
        "/api/v1" => (200, list("v1", resource("services", "Service"))),
        "/apis/networking.k8s.io/v1" => {
            let ingresses = resource("ingresses", "Ingress");
            (200, list("networking.k8s.io/v1", ingresses))
        }
        _ => metric.clone(),
    }
}

/// Evaluates a metric for so many replicas, of which [`READY`] are there; the last path that was asked for, too.
async fn evaluated(
    metric: &Value,
    replicas: i32,
    answer: (u16, Value),
) -> (Proposals, Vec<MetricStatus>, String) {
    let (client, mut server) = fake::client();
    let metrics = Metrics::new(client);
    let ready = match replicas {
        0 => 0,
        _ => READY,
    };
    let pods: Vec<_> = (0..ready)
        .map(|number| pod(&format!("p{number}"), "n", json!({})))
        .collect();
    let subject = Subject {
        metrics: &metrics,
        target: Target {
            pods: &pods,
            replicas,
            tolerances: Tolerances { up: 0.1, down: 0.1 },
            now: "2030-01-01T12:00:00Z".parse().expect("a time"),
        },
        namespace: "ns",
        selector: "app=web",
        status_replicas: replicas,
    };
    let metric = [serde_json::from_value(metric.clone()).expect("a metric")];
    let (mut statuses, mut last) = (Vec::new(), String::new());
    let proposals = {
        let all = evaluate_all(&metric, &subject, &mut statuses);
        tokio::pin!(all);
        loop {
            tokio::select! {
                biased;
                proposals = &mut all => break proposals,
                request = server.next() => {
                    last = request.uri.clone();
                    let path = last.split('?').next().unwrap_or_default();
                    let (code, body) = served(path, &answer);
                    request.answer(code, &body);
                }
            }
        }
    };
    (proposals, statuses, last)
}

fn object(kind: &str, version: &str, target: Value) -> Value {
    let described = json!({"kind": kind, "name": "web", "apiVersion": version});
    json!({"type": "Object", "object": {"metric": {"name": "m"}, "describedObject": described, "target": target}})
}

fn outside(target: Value) -> Value {
    external(target, Value::Null)
}

fn value(wanted: &str) -> Value {
    json!({"type": "Value", "value": wanted})
}

fn average_value(wanted: &str) -> Value {
    json!({"type": "AverageValue", "averageValue": wanted})
}

/// Of custom metrics and of external ones: both know these fields.
fn values(all: &[&str]) -> Value {
    let item = |value: &&str| {
        json!({
            "metricName": "m", "describedObject": {"name": "web"}, "timestamp": "2030-01-01T12:00:00Z", "value": value,
        })
    };
    json!({"items": all.iter().map(item).collect::<Vec<_>>()})
}

#[tokio::test]
async fn values_of_objects_and_of_what_is_outside() {
    let service = |target| object("Service", "v1", target);
    let ingress = |target| object("Ingress", "networking.k8s.io/v1", target);
    let namespace = |target| object("Namespace", "v1", target);
    let all = "external metric m(nil)";
    // The metric, replicas, what is measured; what is asked for, by which metric, and the current value or average.
    for (metric, replicas, measured, asked, name, current, average) in [
        (
            outside(value("5")),
            3,
            &["10", "10"][..],
            12,
            all,
            Some("20"),
            None,
        ),
        (
            outside(value("5")),
            3,
            &["5200m"],
            3,
            all,
            Some("5200m"),
            None,
        ),
        (outside(value("5")), 3, &["1"], 1, all, Some("1"), None),
        // Without replicas there are no pods to count.
        (outside(value("5")), 0, &["20"], 4, all, Some("20"), None),
        (outside(value("5")), 0, &["0"], 0, all, Some("0"), None),
        (
            outside(average_value("5")),
            2,
            &["10", "10"],
            4,
            all,
            None,
            Some("10"),
        ),
        (
            outside(average_value("5")),
            4,
            &["21"],
            4,
            all,
            None,
            Some("5250m"),
        ),
        (
            service(value("5")),
            3,
            &["15"],
            9,
            "Service metric m",
            Some("15"),
            None,
        ),
        (
            ingress(value("5")),
            3,
            &["5"],
            3,
            "Ingress metric m",
            Some("5"),
            None,
        ),
        (
            namespace(value("5")),
            3,
            &["10"],
            6,
            "Namespace metric m",
            Some("10"),
            None,
        ),
        (
            service(average_value("5")),
            2,
            &["15"],
            3,
            all,
            None,
            Some("7500m"),
        ),
    ] {
        let case = format!("{metric} {replicas}");
        let answer = (200, values(measured));
        let (proposals, statuses, _) = evaluated(&metric, replicas, answer).await;
        assert!(proposals.failures.is_empty(), "{case}");
        let most = proposals.most.expect("a proposal");
        assert_eq!((most.replicas, &*most.metric), (asked, name), "{case}");
        let status = serde_json::to_value(&statuses).expect("JSON");
        let of = if metric["type"] == "Object" {
            "object"
        } else {
            "external"
        };
        let shown = &status[0][of]["current"];
        assert_eq!(shown["value"].as_str(), current, "{case}");
        assert_eq!(shown["averageValue"].as_str(), average, "{case}");
        assert_eq!(status[0]["type"], metric["type"], "{case}");
    }
}

#[tokio::test]
async fn metrics_are_asked_for_by_their_objects() {
    for (kind, version, path) in [
        ("Service", "v1", "services/web/m"),
        (
            "Ingress",
            "networking.k8s.io/v1",
            "ingresses.networking.k8s.io/web/m",
        ),
        ("Namespace", "v1", "metrics/m"),
    ] {
        let metric = object(kind, version, value("5"));
        let (_, _, asked) = evaluated(&metric, 3, (200, values(&["5"]))).await;
        let path = format!("/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/{path}?");
        assert_eq!(asked, path, "{kind}");
    }
}

#[tokio::test]
async fn metrics_that_cannot_be_told() {
    let missing = json!({"kind": "Status", "status": "Failure", "message": "no such metric m", "reason": "NotFound", "code": 404});
    let missing = (404, missing);
    let service = |target| object("Service", "v1", target);
    let (custom, no_target) = (
        "unable to fetch metrics from custom metrics API",
        "neither a value target nor an average value target was set",
    );
    let on = |why: &str| format!("unable to get metric m on Service ns/web: {why}");
    let none = json!({"type": "Utilization", "averageUtilization": 5});
    let one_of = |count: usize| {
        format!(
            "{custom}: the custom metrics API server returned {count} results when we asked for exactly one"
        )
    };
    // The metric, the answer; the reason, what is told, and what is put before it where all metrics are told of.
    for (metric, answer, reason, message, before) in [
        (
            service(value("5")),
            missing.clone(),
            "FailedGetObjectMetric",
            on(&format!("{custom}: no such metric m")),
            "",
        ),
        (
            service(average_value("5")),
            missing.clone(),
            "FailedGetObjectMetric",
            on(&format!("{custom}: no such metric m")),
            "failed to get m object metric: ",
        ),
        (
            service(value("5")),
            (200, values(&[])),
            "FailedGetObjectMetric",
            on(&one_of(0)),
            "",
        ),
        (
            service(value("5")),
            (200, values(&["1", "2"])),
            "FailedGetObjectMetric",
            on(&one_of(2)),
            "",
        ),
        (
            service(none.clone()),
            (200, values(&["1"])),
            "FailedGetObjectMetric",
            format!("invalid object metric source: {no_target}"),
            "",
        ),
        (
            outside(value("5")),
            (200, values(&[])),
            "FailedGetExternalMetric",
            "unable to get external metric ns/m/nil: no metrics returned from external metrics API"
                .to_owned(),
            "failed to get external metric m: ",
        ),
        (
            outside(none),
            (200, values(&["1"])),
            "FailedGetExternalMetric",
            format!("invalid external metric source: {no_target}"),
            "",
        ),
    ] {
        let (proposals, statuses, _) = evaluated(&metric, 3, answer).await;
        let failure = proposals.failures.first().expect("a failure");
        assert!(proposals.most.is_none(), "{metric}");
        assert_eq!(
            (failure.reason, &failure.message),
            (reason, &message),
            "{metric}"
        );
        let of = if metric["type"] == "Object" {
            "object"
        } else {
            "m external"
        };
        let context = format!("failed to get {of} metric value: {before}{message}");
        assert_eq!(failure.context, context, "{metric}");
        assert_eq!(statuses, [MetricStatus::default()], "it has its place");
    }
}

/// The last of those that ask for no replicas is the one that is named.
#[tokio::test]
async fn several_that_ask_for_none() {
    let (client, mut server) = fake::client();
    let metrics = Metrics::new(client);
    let subject = Subject {
        metrics: &metrics,
        target: Target {
            pods: &[],
            replicas: 0,
            tolerances: Tolerances { up: 0.1, down: 0.1 },
            now: "2030-01-01T12:00:00Z".parse().expect("a time"),
        },
        namespace: "ns",
        selector: "app=web",
        status_replicas: 0,
    };
    let of = |name: &str| {
        let mut metric = outside(value("5"));
        metric["external"]["metric"]["name"] = json!(name);
        serde_json::from_value(metric).expect("a metric")
    };
    let metric = [of("first"), of("second")];
    let mut statuses = Vec::new();
    let answers = async {
        for _ in 0..2 {
            server.next().await.answer(200, &values(&["0"]));
        }
    };
    let (proposals, ()) = tokio::join!(evaluate_all(&metric, &subject, &mut statuses), answers);
    let most = proposals.most.expect("a proposal");
    assert_eq!(
        (most.replicas, &*most.metric),
        (0, "external metric second(nil)")
    );
}
