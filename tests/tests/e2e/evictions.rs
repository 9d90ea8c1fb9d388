//! Pods that keep more on the node's disk than they may are ended, and tell why.

use anyhow::{Result, ensure};
use knarr_testkit::{eventually, image};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

#[test]
fn who_exceeds_local_storage_is_evicted() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        step("apply", || {
            let volume = json!({ "sizeLimit": "1Mi" });
            shell.apply(&pod("modest", "/v/file", 64, &volume, None).to_string())?;
            shell.apply(&pod("hoarder", "/v/file", 4096, &volume, None).to_string())?;
            let root = pod("writer", "/tmp/file", 4096, &json!({}), Some("1Mi"));
            shell.apply(&root.to_string()).map(drop)
        })?;
        let volume = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
        step("a volume over its limit", || {
            evicted(&shell, "hoarder", volume)
        })?;
        step("a container over its limit", || {
            evicted(&shell, "writer", whole)
        })?;
        step("others stay", || {
            let modest = shell.get("pod modest")?;
            ensure!(modest["status"]["phase"] == "Running", "{modest:#}");
            shell.says("get events", &["Evicted"]).map(drop)
        })
    });
}

/// Writes so many KiB into a file and stays.
fn pod(name: &str, file: &str, kib: u32, volume: &Value, limit: Option<&str>) -> Value {
    let write =
        format!("mkdir -p /tmp; dd if=/dev/zero of={file} bs=1024 count={kib}; exec sleep 100000");
    let limits = limit.map_or(json!({}), |limit| json!({ "ephemeral-storage": limit }));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "volumes": [{ "name": "v", "emptyDir": volume }],
            "containers": [{
                "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", write],
                "resources": { "limits": limits },
                "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
            }],
        },
    })
}

fn evicted(shell: &Shell<'_>, name: &str, message: &str) -> Result<()> {
    eventually(SOON, "it is evicted", || {
        let status = shell.get(&format!("pod {name}"))?["status"].clone();
        ensure!(status["phase"] == "Failed", "{status:#}");
        ensure!(status["reason"] == "Evicted", "{status:#}");
        ensure!(status["message"] == message, "{status:#}");
        Ok(())
    })
}
