//! What runs on the nodes.

use std::path::Path;

use serde_json::{Value, json};

pub const NODE_PORT: u16 = 30080;

/// A server and a caller on each node: a list in JSON, which is YAML.
pub fn pods() -> String {
    let server = json!({
        "name": "hello", "image": "knarr/hello:latest", "imagePullPolicy": "IfNotPresent",
        "args": ["--port=8080"],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
    });
    let mounts: Vec<Value> = libraries()
        .map(|(name, path)| json!({"name": name, "mountPath": path, "readOnly": true}))
        .collect();
    let caller = json!({
        "name": "main", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "3600"], "volumeMounts": mounts,
    });
    let volumes: Vec<Value> = libraries()
        .map(|(name, path)| json!({"name": name, "hostPath": {"path": path}}))
        .collect();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
        "spec": {
            "type": "NodePort", "selector": {"app": "server"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}],
        },
    });
    let items = [
        daemon_set("server", &server, &[]),
        daemon_set("caller", &caller, &volumes),
        service,
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The process of the container of [`early`].
pub const EARLY: &str = "sleep 100777";

/// A static pod that needs nothing of the cluster.
pub fn early() -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "early"},
        "spec": {
            "hostNetwork": true, "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "100777"],
            }],
        },
    })
    .to_string()
}

fn daemon_set(app: &str, container: &Value, volumes: &[Value]) -> Value {
    let labels = json!({"app": app});
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": app},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes},
            },
        },
    })
}

/// Where this machine has what busybox needs to look names up.
fn libraries() -> impl Iterator<Item = (String, &'static str)> {
    let all = ["/usr/lib", "/lib", "/lib64"];
    let found = all.into_iter().filter(|path| Path::new(path).exists());
    found
        .enumerate()
        .map(|(place, path)| (format!("place-{place}"), path))
}

/// One pod that prefers the third node and leaves a lost one at once.
pub const MOVER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: mover}
spec:
  selector: {matchLabels: {app: mover}}
  template:
    metadata: {labels: {app: mover}}
    spec:
      terminationGracePeriodSeconds: 1
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-3]}]}
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
      containers: [{name: hello, image: 'knarr/hello:latest', imagePullPolicy: IfNotPresent, args: ['--port=8080']}]
";
