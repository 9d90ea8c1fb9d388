//! The pods and what they need, by the files that look at them.

mod logs;
mod probes;
mod security;
mod volumes;

use std::path::Path;

use serde_json::{Value, json};

pub use probes::HOOKS_PORT;

const IMAGE: &str = "knarr/busybox:latest";

/// A pod of one container that runs a script; `more` is merged into its spec.
fn pod(name: &str, script: &str, container: Value, more: Value) -> Value {
    let mut main = json!({
        "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
    });
    merge(&mut main, container);
    let mut spec =
        json!({"terminationGracePeriodSeconds": 2, "restartPolicy": "Never", "containers": [main]});
    merge(&mut spec, more);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn service(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// A variable or file of the downward API.
fn field(path: &str) -> Value {
    json!({"fieldRef": {"fieldPath": path}})
}

/// Its first container has all of them started anew once, after the init container and the sidecar have run.
fn all_anew_pod() -> Value {
    let rule = json!({
        "action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]},
    });
    let data = json!([{"name": "data", "mountPath": "/data"}]);
    let other = |name: &str, script: &str| {
        json!({
            "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script], "volumeMounts": data,
        })
    };
    let mut sidecar = other("sidecar", "trap 'exit 0' TERM; sleep 3600 & wait");
    sidecar["restartPolicy"] = json!("Always");
    let script = "echo main >> /data/runs; [ -e /data/once ] || { touch /data/once; exit 42; }; sleep 3600 & wait";
    let main = json!({
        "volumeMounts": data, "restartPolicy": "Never", "restartPolicyRules": [rule],
    });
    let more = json!({
        "volumes": [{"name": "data", "emptyDir": {}}],
        "initContainers": [other("init", "echo init >> /data/runs"), sidecar],
    });
    pod("all-anew", script, main, more)
}

/// Everything at once: a list in JSON, which is YAML. `dir` is the node's directory that hooks write to.
pub fn text(dir: &Path) -> String {
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"COLOR": "blue", "file": "content\n"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}, "stringData": {"PASSWORD": "sesame"}}),
        service("nobody", "nobody"),
        service("reflection", "mirror"),
        environment_pod(),
        sharing_pod(),
    ];
    let none = || json!({});
    let probe = json!({"livenessProbe": {"exec": {"command": ["cat", "/tmp/well"]}, "periodSeconds": 1, "failureThreshold": 1}});
    let limits = json!({"resources": {"limits": {"memory": "24Mi", "cpu": "250m"}, "requests": {"cpu": "50m"}}});
    let count = json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let volume =
        json!({"restartPolicy": "OnFailure", "volumes": [{"name": "data", "emptyDir": {}}]});
    let trap = "trap 'echo told to end; exit 0' TERM; echo ready; while :; do sleep 1; done";
    let unwell = "touch /tmp/well; sleep 2; rm /tmp/well; exec sleep 3600";
    items.extend([
        pod("fails", "exit 3", none(), none()),
        pod(
            "fails-once",
            "echo run >> /data/runs; [ $(wc -l < /data/runs) -ge 2 ] || exit 5; echo done",
            count,
            volume,
        ),
        all_anew_pod(),
        pod(
            "last-words",
            "echo -n the reason > /dev/termination-log; exit 1",
            none(),
            none(),
        ),
        pod("no-program", "", json!({"command": ["/nowhere"]}), none()),
        pod(
            "file-on-directory",
            "true",
            json!({"volumeMounts": [{"name": "file", "mountPath": "/bin"}]}),
            json!({"volumes": [{"name": "file", "hostPath": {"path": "/etc/hostname"}}]}),
        ),
        pod("greedy", "tail /dev/zero", limits.clone(), none()),
        pod("unwell", unwell, probe, json!({"restartPolicy": "Always"})),
        pod("limited", "sleep 3600", limits, none()),
        pod(
            "graceful",
            trap,
            none(),
            json!({"terminationGracePeriodSeconds": 30}),
        ),
        pod(
            "no-image",
            "true",
            json!({"image": "registry.invalid/none:1"}),
            none(),
        ),
        pod("host", "sleep 3600", none(), json!({"hostNetwork": true})),
        pod(
            "mirror",
            "echo myself > /tmp/index.html; exec httpd -f -p 8080 -h /tmp",
            none(),
            none(),
        ),
    ]);
    items.extend(logs::pods());
    items.extend(probes::pods(dir));
    items.extend(security::pods());
    items.extend(volumes::items());
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Pods that no node fits, or not yet.
pub fn placement() -> String {
    let none = || json!({});
    let items = [
        pod(
            "picky",
            "sleep 3600",
            none(),
            json!({"nodeSelector": {"disk": "fast"}}),
        ),
        pod(
            "huge",
            "sleep 3600",
            json!({"resources": {"requests": {"memory": "100Ti"}}}),
            none(),
        ),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn environment_pod() -> Value {
    let script = "env | sort; cat /settings/renamed /order; cat /info/labels; echo; ls -l /hidden/..data/PASSWORD; cat /hidden/PASSWORD; echo; hostname; id -u; echo end";
    let container = json!({
        "env": [
            {"name": "PLAIN", "value": "a b"},
            {"name": "MADE", "value": "$(PLAIN)-$(MISSING)-$$(PLAIN)"},
            {"name": "POD_NAME", "valueFrom": field("metadata.name")},
            {"name": "POD_IP", "valueFrom": field("status.podIP")},
            {"name": "NODE", "valueFrom": field("spec.nodeName")},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "ONE_COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOR"}}},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "PASSWORD"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": true}}},
        ],
        "envFrom": [{"prefix": "S_", "configMapRef": {"name": "settings"}}],
        "resources": {"limits": {"cpu": "300m"}},
        "securityContext": {"runAsUser": 1234},
        "volumeMounts": [
            {"name": "settings", "mountPath": "/settings"},
            {"name": "hidden", "mountPath": "/hidden"},
            {"name": "info", "mountPath": "/info"},
            {"name": "data", "mountPath": "/order", "subPath": "order"},
        ],
    });
    let init = |name: &str| {
        json!({
            "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", format!("echo {name} >> /data/order")],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        })
    };
    let more = json!({
        "initContainers": [init("first"), init("second")],
        "securityContext": {"fsGroup": 2000},
        "volumes": [
            {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "file", "path": "renamed"}]}},
            {"name": "hidden", "secret": {"secretName": "hidden", "defaultMode": 288}},
            {"name": "info", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "data", "emptyDir": {}},
        ],
    });
    pod("environment", script, container, more)
}

fn sharing_pod() -> Value {
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    let other = json!({
        "name": "other", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "volumeMounts": mount,
        "command": ["sh", "-c", "until [ -s /data/word ]; do sleep 0.1; done; cat /data/word; wget -q -O - http://127.0.0.1:8080/; exec sleep 3600"],
    });
    let main =
        "echo shared > /data/word; echo local > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    let mut made = pod(
        "sharing",
        main,
        json!({"volumeMounts": mount}),
        json!({"volumes": [{"name": "data", "emptyDir": {"medium": "Memory"}}]}),
    );
    if let Some(containers) = made["spec"]["containers"].as_array_mut() {
        containers.push(other);
    }
    made
}
