//! What a pod can try against its node.

use std::{fs, path::PathBuf};

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, eventually};
use serde_json::{Value, json};

use crate::{
    neighbours::Neighbours,
    support::{SOON, Shell, newest, restarts, step, with_running_cluster},
};

const IMAGE: &str = "knarr/busybox:latest";
/// Levels of directories that once ended the process at every start.
const LEVELS: usize = 13_000;

#[test]
fn a_pod_cannot_harm_its_node() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        step("a bystander", || Neighbours::settle(&shell))?;
        let neighbours = Neighbours::meet(cluster, &shell)?;
        step("settings that are the host's", || settings(&shell))?;
        step("last words that are no file", || last_words(&shell))?;
        step("a message path on the host", || host_file(cluster, &shell))?;
        step("a long hosts file", || hosts(&shell))?;
        step("deep directories", || depth(cluster, &shell))?;
        step("the cluster is as it was", || {
            neighbours.unharmed(cluster, &shell)
        })
    });
}

/// A pod of one container that runs a script; `container` and `spec` are merged in.
fn pod(name: &str, script: &str, container: Value, spec: Value) -> Value {
    let mut main = json!({
        "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
    });
    merge(&mut main, container);
    let mut all = json!({ "terminationGracePeriodSeconds": 1, "restartPolicy": "Never", "containers": [main] });
    merge(&mut all, spec);
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": all })
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn ended_or_running(shell: &Shell<'_>, name: &str, phase: &str) -> Result<Value> {
    eventually(SOON, &format!("pod {name} is {phase}"), || {
        let pod = shell.get(&format!("pod {name}"))?;
        ensure!(pod["status"]["phase"] == phase, "{}", pod["status"]);
        Ok(pod)
    })
}

/// Sysctls of the host, and security settings that the node cannot honour: the pod fails and says why.
fn settings(shell: &Shell<'_>) -> Result<()> {
    let pattern = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(pattern)?;
    let sysctl = |name: &str| json!({ "securityContext": { "sysctls": [{ "name": name, "value": "|/evil" }] } });
    let profile = json!({ "securityContext": { "appArmorProfile": { "type": "RuntimeDefault" } } });
    let cases = [
        (
            "core-pattern",
            sysctl("kernel.core_pattern"),
            "SysctlForbidden",
        ),
        (
            "core-pattern-2",
            sysctl("kernel/core_pattern"),
            "SysctlForbidden",
        ),
        ("unsafe", sysctl("net.core.somaxconn"), "SysctlForbidden"),
        ("confined", profile, "AppArmor"),
    ];
    let class = pod(
        "class",
        "true",
        json!({}),
        json!({ "runtimeClassName": "kata" }),
    );
    let refused = shell.output(&["apply", "-f", "-"], &class.to_string())?;
    let refused = refused.failure(1)?;
    ensure!(
        refused.contains("RuntimeClass \"kata\" not found"),
        "{refused}"
    );
    for (name, spec, _) in &cases {
        shell.apply(&pod(name, "true", json!({}), spec.clone()).to_string())?;
    }
    for (name, _, reason) in &cases {
        let pod = ended_or_running(shell, name, "Failed")?;
        ensure!(pod["status"]["reason"] == *reason, "{}", pod["status"]);
        shell.run(&format!("delete pod {name}"))?;
    }
    ensure!(
        fs::read_to_string(pattern)? == before,
        "the host's core pattern changed"
    );
    Ok(())
}

/// A FIFO, a device node and a link, each where the message is said to be: the container's own message is told all the same.
fn last_words(shell: &Shell<'_>) -> Result<()> {
    for (name, make) in [
        ("fifo", "mkfifo /data/it"),
        ("device", "mknod /data/it b 254 0 || mknod /data/it c 1 5"),
    ] {
        let mount = json!([{ "name": "data", "mountPath": "/data" }]);
        let init = json!({
            "name": "init", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "volumeMounts": mount,
            "command": ["sh", "-c", make],
        });
        let container = json!({
            "terminationMessagePath": "/message",
            "volumeMounts": [{ "name": "data", "mountPath": "/message", "subPath": "it" }],
        });
        let spec =
            json!({ "initContainers": [init], "volumes": [{ "name": "data", "emptyDir": {} }] });
        shell.apply(&pod(name, "echo -n bye > /message", container, spec).to_string())?;
        let pod = ended_or_running(shell, name, "Succeeded")?;
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        ensure!(ended["message"] == "bye", "{name}: {ended}");
        shell.run(&format!("delete pod {name}"))?;
    }
    Ok(())
}

/// A file of the host's is mounted where the message is said to be: old instances go, the file does not.
fn host_file(cluster: &Cluster, shell: &Shell<'_>) -> Result<()> {
    let file = cluster.directory().join("of-the-host");
    fs::write(&file, "kept")?;
    let container = json!({
        "terminationMessagePath": "/message",
        "volumeMounts": [{ "name": "file", "mountPath": "/message" }, { "name": "data", "mountPath": "/data" }],
    });
    let volumes = json!([
        { "name": "file", "hostPath": { "path": file } }, { "name": "data", "emptyDir": {} },
    ]);
    let script = "echo run >> /data/runs; [ $(wc -l < /data/runs) -ge 4 ]";
    let spec = json!({ "restartPolicy": "OnFailure", "volumes": volumes });
    shell.apply(&pod("pruned", script, container, spec).to_string())?;
    eventually(4 * SOON, "old instances are pruned", || {
        let pod = shell.get("pod pruned")?;
        ensure!(restarts(&pod) >= 3, "{}", pod["status"]);
        Ok(())
    })?;
    shell.run("delete pod pruned")?;
    ensure!(
        fs::read_to_string(&file)? == "kept",
        "the host's file changed"
    );
    Ok(())
}

/// A hosts file that a container has filled with as much as it likes, before another container of the pod starts.
fn hosts(shell: &Shell<'_>) -> Result<()> {
    let script = "[ -e /data/done ] && exec cat /etc/hosts; touch /data/done; dd if=/dev/zero of=/etc/hosts bs=1M count=256; exit 1";
    let container = json!({ "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
    let spec =
        json!({ "restartPolicy": "OnFailure", "volumes": [{ "name": "data", "emptyDir": {} }] });
    shell.apply(&pod("hosts", script, container, spec).to_string())?;
    ended_or_running(shell, "hosts", "Succeeded")?;
    shell.says("logs hosts", &["# Kubernetes-managed hosts file."])?;
    shell.run("delete pod hosts")?;
    Ok(())
}

/// Directories as deep as they go, in a volume and in the container's own root. Paths have an end, so chains are put into
/// the ends of others.
fn depth(cluster: &Cluster, shell: &Shell<'_>) -> Result<()> {
    const CHAIN: usize = 1_900;
    let chains = LEVELS.div_ceil(CHAIN);
    let script = format!(
        "chain=$(i=0; while [ $i -lt {CHAIN} ]; do printf d/; i=$((i+1)); done)
        for top in /data /deep; do
            mkdir -p $top && cd $top && mkdir last || exit 1
            for n in $(seq {chains}); do
                mkdir -p next/$chain && mv last next/$chain && mv next last || exit 1
            done
        done"
    );
    let container = json!({ "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
    let spec = json!({ "volumes": [{ "name": "data", "emptyDir": {} }] });
    shell.apply(&pod("deep", &script, container, spec).to_string())?;
    let pod = eventually(5 * SOON, "the directories are made", || {
        let pod = shell.get("pod deep")?;
        ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
        Ok(pod)
    })?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let directory: PathBuf = cluster.data_dir().join("kubelet/pods").join(uid);
    shell.run("delete pod deep --wait=false")?;
    eventually(5 * SOON, "the pod and its directory are gone", || {
        let left = shell.run("get pod deep --ignore-not-found")?;
        ensure!(left.is_empty(), "{left}");
        ensure!(!directory.exists(), "{} is there", directory.display());
        Ok(())
    })
}
