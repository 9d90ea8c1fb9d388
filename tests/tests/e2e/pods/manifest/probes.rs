//! Pods with probes and hooks.

use std::path::Path;

use knarr_testkit::NODE_IP;
use serde_json::{Value, json};

use super::{IMAGE, pod};

/// Where the test listens for hooks.
pub const HOOKS_PORT: u16 = 18080;

pub fn pods(dir: &Path) -> Vec<Value> {
    let none = || json!({});
    let always = || json!({"restartPolicy": "Always"});
    let up = |failures: u32| json!({"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": failures});
    let gated = json!({"startupProbe": up(60), "livenessProbe": up(1), "readinessProbe": up(1)});
    let deaf = "trap '' TERM; while :; do sleep 1; done";
    let hopeless = json!({"startupProbe": {
        "exec": {"command": ["sh", "-c", "echo no hope; exit 1"]},
        "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1,
    }});
    let api = |path: &str| {
        let get = json!({"scheme": "HTTPS", "host": NODE_IP, "port": 6443, "path": path});
        json!({"readinessProbe": {"httpGet": get, "periodSeconds": 1}})
    };
    let hanging = json!({"livenessProbe": {
        "exec": {"command": ["sh", "-c", "[ -e /tmp/calm ] || { touch /tmp/calm; sleep 300; }"]},
        "periodSeconds": 1, "failureThreshold": 2,
    }});
    let wrong = json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "exit 4"]}}}});
    vec![
        pod(
            "slow-start",
            "sleep 3; touch /tmp/up; exec sleep 3600",
            gated,
            always(),
        ),
        pod(
            "never-starts",
            deaf,
            hopeless,
            json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 300}),
        ),
        pod("https", "exec sleep 3600", api("/readyz"), none()),
        pod(
            "https-refused",
            "exec sleep 3600",
            api("/api/v1/pods"),
            none(),
        ),
        pod(
            "hook-fails",
            "trap 'exit 143' TERM; while :; do sleep 0.1; done",
            wrong,
            always(),
        ),
        pod("hanging", "exec sleep 3600", hanging, always()),
        hooked(dir),
        assisted(dir),
    ]
}

/// A sidecar that takes a moment to start, and is told to end only after the main container has ended.
fn assisted(dir: &Path) -> Value {
    let mount = json!([{"name": "hooks", "mountPath": "/hooks"}]);
    let sidecar = json!({
        "name": "sidecar", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
        "volumeMounts": mount,
        "command": ["sh", "-c", "trap 'cp /hooks/main-ended /hooks/sidecar-saw; exit 0' TERM; \
                                 sleep 1; touch /tmp/up; while :; do sleep 0.1; done"],
        "startupProbe": {
            "exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 60,
        },
        "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1},
    });
    let volume = json!([{"name": "hooks", "hostPath": {"path": dir, "type": "Directory"}}]);
    pod(
        "assisted",
        "sleep 1; date > /hooks/main-ended",
        json!({"volumeMounts": mount}),
        json!({"initContainers": [sidecar], "volumes": volume}),
    )
}

/// Hooks of both kinds at both ends; what they do is seen on the node.
fn hooked(dir: &Path) -> Value {
    let mount = json!([{"name": "hooks", "mountPath": "/hooks"}]);
    let exec = |script: &str| json!({"exec": {"command": ["sh", "-c", script]}});
    let get = |path: &str| json!({"httpGet": {"host": NODE_IP, "port": HOOKS_PORT, "path": path}});
    let script = "trap '[ -e /hooks/pre-stop ] && touch /hooks/told-after; exit 0' TERM; while :; do sleep 0.1; done";
    let main = json!({
        "volumeMounts": mount,
        "lifecycle": {"postStart": exec("echo -n $HOSTNAME > /hooks/post-start"), "preStop": get("/pre-stop")},
    });
    let other = json!({
        "name": "other", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "volumeMounts": mount,
        "command": ["sh", "-c", script],
        "lifecycle": {"postStart": get("/post-start"), "preStop": exec("sleep 0.5; touch /hooks/pre-stop")},
    });
    let mut made = pod(
        "hooked",
        "trap 'exit 0' TERM; while :; do sleep 0.1; done",
        main,
        json!({
            "terminationGracePeriodSeconds": 10,
            "volumes": [{"name": "hooks", "hostPath": {"path": dir, "type": "Directory"}}],
        }),
    );
    if let Some(containers) = made["spec"]["containers"].as_array_mut() {
        containers.push(other);
    }
    made
}
