//! Pods with volumes, and what the volumes show.

use serde_json::{Value, json};

use super::{IMAGE, field, pod};

pub fn items() -> Vec<Value> {
    let kind = |kind: &str, data: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "changing"}, data: {"word": "before"}});
    vec![
        kind("ConfigMap", "data"),
        kind("Secret", "stringData"),
        showing(),
        paths(),
        escape(),
        images(),
        no_path(),
    ]
}

/// Reads an image, and a directory of it.
fn images() -> Value {
    let script =
        "head -n 1 /image/etc/passwd; ls /etc-of-image; test -x /image/hello && echo program
        touch /image/x 2>/dev/null || echo read-only
        exec sleep 3600";
    let mounts = json!({"volumeMounts": [
        {"name": "hello", "mountPath": "/image"},
        {"name": "hello", "mountPath": "/etc-of-image", "subPath": "etc"},
    ]});
    pod("images", script, mounts, hello())
}

/// Wants a directory that the image does not have.
fn no_path() -> Value {
    let mounts = json!({"volumeMounts": [{"name": "hello", "mountPath": "/x", "subPath": "x"}]});
    pod("no-path", "exit 0", mounts, hello())
}

/// An image as a volume, and one that is nowhere but that nobody mounts.
fn hello() -> Value {
    let image = |name: &str, reference: &str| json!({"name": name, "image": {"reference": reference, "pullPolicy": "IfNotPresent"}});
    json!({"volumes": [image("hello", "knarr/hello:v2"), image("unused", "localhost:1/nothing:1")]})
}

/// Shows objects that change while it runs.
fn showing() -> Value {
    let mounts = ["map", "secret", "info", "later", "tokens"]
        .map(|name| json!({"name": name, "mountPath": format!("/{name}")}));
    let mut mounts = mounts.to_vec();
    mounts.push(json!({"name": "map", "mountPath": "/fixed", "subPath": "word"}));
    mounts.push(json!({"name": "secret", "mountPath": "/map/nested/secret"}));
    let token = json!({"serviceAccountToken": {"audience": "vault", "expirationSeconds": 600, "path": "vault"}});
    let map =
        json!({"configMap": {"name": "changing", "items": [{"key": "word", "path": "deep/word"}]}});
    let label = json!({"path": "mood", "fieldRef": field("metadata.labels['mood']")["fieldRef"]});
    let volumes = json!({"volumes": [
        {"name": "map", "configMap": {"name": "changing"}},
        {"name": "secret", "secret": {"secretName": "changing", "defaultMode": 256}},
        {"name": "info", "downwardAPI": {"items": [label]}},
        {"name": "later", "configMap": {"name": "later", "optional": true}},
        {"name": "tokens", "projected": {"sources": [token, map]}},
    ]});
    pod(
        "showing",
        "exec sleep 3600",
        json!({"volumeMounts": mounts}),
        volumes,
    )
}

/// Paths within volumes, for a user that is not root; volumes in memory.
fn paths() -> Value {
    let script = "set -e; echo mine > /own/file; cat /all/paths/deep/file; echo there > /fixed/file; cat /all/fixed/file; \
                  df -k /memory | tail -n 1; head -c 2000000 /dev/zero > /memory/much || echo full";
    let container = json!({
        "env": [{"name": "POD_NAME", "valueFrom": field("metadata.name")}],
        "securityContext": {"runAsUser": 1234},
        "volumeMounts": [
            {"name": "data", "mountPath": "/all"},
            {"name": "data", "mountPath": "/own", "subPathExpr": "$(POD_NAME)/deep"},
            {"name": "data", "mountPath": "/fixed", "subPath": "fixed"},
            {"name": "memory", "mountPath": "/memory"},
        ],
    });
    let volumes = json!({"volumes": [
        {"name": "data", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]});
    pod(
        "paths",
        &format!("{{ {script}; }} 2>&1"),
        container,
        volumes,
    )
}

/// Its own init container makes the path lead out of the volume.
fn escape() -> Value {
    let init = json!({
        "name": "trick", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["ln", "-s", "/etc", "/data/out"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    let mount = json!({"volumeMounts": [{"name": "data", "mountPath": "/out", "subPath": "out"}]});
    let more = json!({"initContainers": [init], "volumes": [{"name": "data", "emptyDir": {}}]});
    pod("escape", "cat /out/passwd", mount, more)
}
