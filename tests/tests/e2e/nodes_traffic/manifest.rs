//! The pods and Services: only the second node has an endpoint.

use serde_json::{Value, json};

pub const OTHER: &str = "other";
pub const PORT: u16 = 30091;
pub const LOCAL_PORT: u16 = 30092;
pub const BALANCERS_RANGE: &str = "198.51.100.0/24";
/// Addresses of load balancers, by Service.
pub const BALANCERS: [(&str, &str); 2] = [("web", "198.51.100.7"), ("local", "198.51.100.8")];
/// Of a balancer that is not knarr's: the test plays it.
const BALANCER_CLASS: &str = "example.com/balancer";
pub const EXTERNAL: &str = "198.51.100.9";

/// A list in JSON, which is YAML.
pub fn text() -> String {
    let pods = [("p1", "node"), ("p2", "node-2"), ("p3", "node-3")];
    let mut items =
        vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER}})];
    items.extend(pods.map(|(name, node)| pod("default", name, node)));
    let only = json!({"name": "p2"});
    items.push(service("web", &only, json!({
        "type": "LoadBalancer", "loadBalancerClass": BALANCER_CLASS, "externalIPs": [EXTERNAL], "ports": [{"port": 80, "targetPort": 8080, "nodePort": PORT}],
    })));
    items.push(service(
        "local",
        &only,
        json!({
            "type": "LoadBalancer", "loadBalancerClass": BALANCER_CLASS, "externalTrafficPolicy": "Local",
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": LOCAL_PORT}],
        }),
    ));
    items.push(service(
        "inner",
        &only,
        json!({"internalTrafficPolicy": "Local", "ports": [{"port": 80, "targetPort": 8080}]}),
    ));
    let all = json!({"app": "web"});
    for (name, distribution) in [
        ("same-node", "PreferSameNode"),
        ("same-zone", "PreferSameZone"),
    ] {
        let spec = json!({"trafficDistribution": distribution, "ports": [{"port": 80, "targetPort": 8080}]});
        items.push(service(name, &all, spec));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The pod of the other namespace.
pub fn other() -> String {
    pod(OTHER, "q", "node-3").to_string()
}

/// A pod that serves, and has a shell to call from.
fn pod(namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web", "name": name}},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "web", "image": "knarr/hello:latest", "imagePullPolicy": "IfNotPresent", "args": ["--port=8080"],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
                },
                {"name": "shell", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]},
            ],
        },
    })
}

fn service(name: &str, selector: &Value, mut spec: Value) -> Value {
    spec["selector"] = selector.clone();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}
