//! Two namespaces of two pods each, all of which serve two ports and have a Service.

use serde_json::{Value, json};

const BUSYBOX: &str = "knarr/busybox:latest";

pub fn namespaces() -> String {
    list(["x", "y"].map(namespace).into())
}

/// The pods of a namespace, and a Service for each.
pub fn servers(namespace: &str) -> String {
    let pods = [
        server(namespace, "a", [80, 81]),
        server(namespace, "b", [81, 80]),
    ];
    let services = ["a", "b"].map(|pod| service(namespace, pod));
    list(pods.into_iter().chain(services).collect())
}

/// In JSON, which is YAML.
fn list(items: Vec<Value>) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}})
}

/// Its first port is called `web`. The node asks it whether it is ready.
fn server(namespace: &str, name: &str, [web, other]: [u16; 2]) -> Value {
    let script = "mkdir /tmp/w; echo page > /tmp/w/index.html; httpd -f -p 80 -h /tmp/w & exec httpd -f -p 81 -h /tmp/w";
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"role": "server", "pod": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
                "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
                "ports": [{"name": "web", "containerPort": web}, {"name": "other", "containerPort": other}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1},
            }],
        },
    })
}

/// Leads to port 80 of one pod.
fn service(namespace: &str, pod: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("to-{pod}"), "namespace": namespace},
        "spec": {"selector": {"pod": pod}, "ports": [{"port": 8080, "targetPort": 80}]},
    })
}

/// A pod that tries to reach an address, again and again, as soon as it runs.
pub fn newcomer(name: &str, address: &str) -> String {
    let script = format!(
        "for i in 1 2 3; do timeout 1 wget -q -O /dev/null http://{address}:80/ && echo reached; done; echo done; sleep 3600"
    );
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
            }],
        },
    })
    .to_string()
}

pub fn policy(name: &str, spec: Value) -> String {
    let kind = "NetworkPolicy";
    json!({"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

/// Elsewhere a pod serves DNS, so this is what policies say.
pub fn allow_dns() -> String {
    let kube_dns = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    });
    let ports = json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]);
    policy(
        "dns",
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [kube_dns], "ports": ports}]}),
    )
}
