use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, not_ready, now, object, pod};

fn service(more: Value) -> Service {
    let mut service = json!({
        "metadata": {"namespace": "x", "name": "web", "uid": "svc", "labels": {"team": "a"}},
        "spec": {
            "clusterIP": "10.43.0.5", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    });
    merge(&mut service, more);
    object(service)
}

fn at(ip: &str) -> Value {
    json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}})
}

fn summary(endpoints: &Endpoints) -> Vec<String> {
    let ips = |addresses: &Option<Vec<EndpointAddress>>| {
        addresses
            .iter()
            .flatten()
            .map(|a| a.ip.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let subsets = endpoints.subsets.iter().flatten();
    let line = |s: &EndpointSubset| {
        let ports: Vec<_> = s
            .ports
            .iter()
            .flatten()
            .map(|p| format!("{}:{}", p.name.as_deref().unwrap_or(""), p.port))
            .collect();
        format!(
            "{} | not ready {} | {}",
            ips(&s.addresses),
            ips(&s.not_ready_addresses),
            ports.join(" ")
        )
    };
    subsets.map(line).collect()
}

#[test]
fn ready_and_not_ready_addresses() {
    let mut lame = not_ready();
    merge(&mut lame, at("10.0.0.2"));
    let pods = [pod("a", "n1", json!({})), pod("b", "n1", lame)];
    let endpoints = plan(&service(json!({})), &pods, None, Some(now())).expect("a write");
    assert_eq!(
        summary(&endpoints),
        ["10.0.0.1 | not ready 10.0.0.2 | http:8080"]
    );
    assert_eq!(
        serde_json::to_value(&endpoints.metadata).expect("json"),
        json!({"namespace": "x", "name": "web",
            "labels": {"team": "a", "endpoints.kubernetes.io/managed-by": "endpoint-controller"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2030-01-01T12:00:00Z"}})
    );
    let again = plan(&service(json!({})), &pods, Some(&endpoints), None);
    assert!(
        again.is_none(),
        "the trigger time alone is no reason to write"
    );
}

#[test]
fn publishing_makes_all_ready() {
    let tolerant = service(json!({"spec": {"publishNotReadyAddresses": true}}));
    let endpoints = plan(&tolerant, &[pod("a", "n1", not_ready())], None, None).expect("a write");
    assert_eq!(summary(&endpoints), ["10.0.0.1 | not ready  | http:8080"]);
}

#[test]
fn ports_are_shared_and_split_as_pods_have_them() {
    let two = service(json!({"spec": {"ports": [
        {"name": "http", "port": 80, "targetPort": "http"}, {"name": "metrics", "port": 90, "targetPort": 9100},
    ]}}));
    let mut other = at("10.0.0.2");
    merge(
        &mut other,
        json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}]}}),
    );
    let same = pod("a", "n1", json!({}));
    let one = plan(&two, std::slice::from_ref(&same), None, None).expect("a write");
    assert_eq!(
        summary(&one),
        ["10.0.0.1 | not ready  | http:8080 metrics:9100"]
    );
    let split = plan(&two, &[same, pod("b", "n1", other)], None, None).expect("a write");
    assert_eq!(
        summary(&split),
        [
            "10.0.0.1 | not ready  | http:8080",
            "10.0.0.1 10.0.0.2 | not ready  | metrics:9100",
            "10.0.0.2 | not ready  | http:9090",
        ]
    );
}

#[test]
fn terminating_and_ended_pods_are_out() {
    let pods = [
        pod(
            "dying",
            "n1",
            json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}}),
        ),
        pod("ended", "n1", json!({"status": {"phase": "Failed"}})),
    ];
    let endpoints = plan(&service(json!({})), &pods, None, None).expect("a write");
    assert!(endpoints.subsets.is_none());
    assert!(plan(&service(json!({})), &[], Some(&endpoints), None).is_none());
}

#[test]
fn headless_services_may_have_no_ports() {
    let headless = service(json!({"spec": {"clusterIP": "None", "ports": null}}));
    let endpoints = plan(&headless, &[pod("a", "n1", json!({}))], None, None).expect("a write");
    assert_eq!(summary(&endpoints), ["10.0.0.1 | not ready  | "]);
    assert!(
        endpoints
            .metadata
            .labels
            .as_ref()
            .is_some_and(|l| l.contains_key(HEADLESS_LABEL))
    );
}

#[test]
fn a_thousand_addresses_at_most() {
    let many = |count: usize, net: usize, more: &Value| -> Vec<Arc<Pod>> {
        let make = |i: usize| {
            let mut more = more.clone();
            merge(&mut more, at(&format!("10.{net}.{}.{}", i / 250, i % 250)));
            pod(&format!("p{net}-{i}"), "n1", more)
        };
        (0..count).map(make).collect()
    };
    let count = |endpoints: &Endpoints| {
        let len = |a: &Option<Vec<EndpointAddress>>| a.as_ref().map_or(0, Vec::len);
        let subsets = endpoints.subsets.iter().flatten();
        subsets.fold((0, 0), |(r, n), s| {
            (r + len(&s.addresses), n + len(&s.not_ready_addresses))
        })
    };
    let over = |endpoints: &Endpoints| {
        endpoints
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(OVER_CAPACITY).cloned())
    };
    let mut pods = many(900, 0, &json!({}));
    pods.extend(many(300, 1, &not_ready()));
    let truncated = plan(&service(json!({})), &pods, None, None).expect("a write");
    assert_eq!(
        (count(&truncated), over(&truncated).as_deref()),
        ((900, 100), Some("truncated"))
    );
    assert!(
        plan(&service(json!({})), &pods, Some(&truncated), None).is_none(),
        "it is as good as it gets"
    );
    let ready = plan(&service(json!({})), &many(1200, 0, &json!({})), None, None).expect("a write");
    assert_eq!(count(&ready), (1000, 0));
    let shrunk = plan(
        &service(json!({})),
        &many(3, 0, &json!({})),
        Some(&truncated),
        None,
    )
    .expect("a write");
    assert_eq!((count(&shrunk), over(&shrunk)), ((3, 0), None));
}
