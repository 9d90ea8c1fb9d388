//! Pods whose users are not the node's: what they see, what others see of them, and that they keep their ids.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, eventually, image};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, newest, restarts, step, with_running_cluster};

const PODS: [&str; 2] = ["one", "two"];
/// Ids of a pod.
const LENGTH: u64 = 65_536;

#[test]
fn pods_have_users_of_their_own() {
    with_running_cluster(|cluster| {
        if !supported(&shell(cluster)?)? {
            return step("a node without refuses", || refused(&shell(cluster)?));
        }
        step("apply", || {
            shell(cluster)?.apply(&items(cluster)?.to_string())?;
            shell(cluster)?
                .wait_ready("app=users", PODS.len())
                .map(drop)
        })?;
        let before = step("root inside is nobody outside", || ranges(&shell(cluster)?))?;
        step("volumes are theirs", || volumes(cluster))?;
        step("they keep their ids when knarr starts again", || {
            cluster.kill()?;
            cluster.up()?;
            let shell = shell(cluster)?;
            ensure!(ranges(&shell)? == before, "not as before");
            for pod in PODS {
                let pod = shell.get(&format!("pod {pod}"))?;
                ensure!(restarts(&pod) == 0, "{}", pod["status"]);
            }
            Ok(())
        })?;
        step("a container that starts again has them too", || {
            again(&shell(cluster)?, &before)
        })
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

/// Whether the node says that it can.
fn supported(shell: &Shell<'_>) -> Result<bool> {
    let nodes = shell.get("nodes")?;
    let features = &nodes["items"][0]["status"]["runtimeHandlers"][0]["features"];
    Ok(features["userNamespaces"] == true)
}

fn refused(shell: &Shell<'_>) -> Result<()> {
    eprintln!("skipped but for the refusal: this node has no user namespaces for pods");
    shell.apply(&pod("one", json!([])).to_string())?;
    eventually(SOON, "the pod is refused", || {
        let pod = shell.get("pod one")?;
        ensure!(
            pod["status"]["reason"] == "PodFeatureUnsupported",
            "{}",
            pod["status"]
        );
        Ok(())
    })
}

fn pod(name: &str, volumes: Value) -> Value {
    let mounts = volumes.as_array().into_iter().flatten().map(|volume| {
        let name = volume["name"].as_str().unwrap_or_default();
        json!({ "name": name, "mountPath": format!("/{name}") })
    });
    let mounts: Vec<Value> = mounts.collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "users" } },
        "spec": {
            "hostUsers": false, "terminationGracePeriodSeconds": 1,
            "securityContext": { "fsGroup": 2000 },
            "volumes": volumes,
            "containers": [{
                "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done"],
                "readinessProbe": { "exec": { "command": ["test", "-r", "/proc/self/uid_map"] }, "periodSeconds": 1 },
                "volumeMounts": mounts,
            }],
        },
    })
}

fn items(cluster: &Cluster) -> Result<Value> {
    let shared = cluster.directory().join("shared");
    fs::create_dir_all(&shared)?;
    let token = json!({ "serviceAccountToken": { "path": "token", "expirationSeconds": 3600 } });
    let mut items = vec![
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "users" }, "data": { "key": "map" } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "users" }, "stringData": { "key": "secret" } }),
    ];
    items.extend(PODS.map(|name| {
        pod(
            name,
            json!([
                { "name": "map", "configMap": { "name": "users" } },
                { "name": "secret", "secret": { "secretName": "users", "defaultMode": 256 } },
                { "name": "token", "projected": { "sources": [token] } },
                { "name": "empty", "emptyDir": {} },
                { "name": "memory", "emptyDir": { "medium": "Memory" } },
                { "name": "host", "hostPath": { "path": shared } },
            ]),
        )
    }));
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

/// What a command says in a pod's container.
fn says(shell: &Shell<'_>, pod: &str, command: &str) -> Result<String> {
    shell.words(&["exec", pod, "--", "sh", "-c", command])
}

/// Where each pod's ids begin on the host.
fn ranges(shell: &Shell<'_>) -> Result<Vec<u64>> {
    let mut begins = Vec::new();
    for pod in PODS {
        ensure!(
            says(shell, pod, "id -u")?.trim() == "0",
            "{pod} is not root inside"
        );
        let map = says(shell, pod, "cat /proc/1/uid_map /proc/1/gid_map")?;
        let numbers: Vec<u64> = map
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [0, begin, LENGTH, 0, group, LENGTH] = numbers[..] else {
            anyhow::bail!("{pod}: {map}");
        };
        ensure!(begin == group && begin >= LENGTH, "{pod}: {map}");
        begins.push(begin);
    }
    ensure!(
        begins[0] != begins[1],
        "both have the ids from {} on",
        begins[0]
    );
    Ok(begins)
}

fn volumes(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let shared = cluster.directory().join("shared");
    for name in PODS {
        let command = format!(
            "cat /map/key /secret/key; echo; [ -s /token/token ] && echo token
             cd /empty && echo x > mine && chown 7:8 mine && stat -c %u:%g . mine
             stat -c %u:%g /memory /host /bin/sh; echo y > /host/{name}; echo z > /root/mine && echo done"
        );
        let said = says(&shell, name, &command)?;
        let said: Vec<&str> = said.split_whitespace().collect();
        let wanted = "mapsecret token 0:2000 7:8 0:2000 0:0 0:0 done";
        ensure!(said.join(" ") == wanted, "{said:?}, not {wanted}");
        let uid = shell.path(&format!("pod {name}"), "{.metadata.uid}")?;
        let volume = cluster.data_dir().join(format!(
            "kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/empty"
        ));
        for (path, owner) in [
            (volume.join("mine"), (7, 8)),
            (volume, (0, 2_000)),
            (shared.join(name), (0, 0)),
        ] {
            let found = fs::metadata(&path).with_context(|| path.display().to_string())?;
            let found = (found.uid(), found.gid());
            ensure!(found == owner, "{}: {found:?}", path.display());
        }
    }
    Ok(())
}

fn again(shell: &Shell<'_>, before: &[u64]) -> Result<()> {
    // PID 1 takes the signal, since it has a handler.
    says(shell, "one", "kill -TERM 1")?;
    eventually(SOON, "the container runs again", || {
        let pod = shell.get("pod one")?;
        let status = &pod["status"]["containerStatuses"][0];
        ensure!(restarts(&pod) == 1 && status["ready"] == true, "{status}");
        Ok(())
    })?;
    ensure!(ranges(shell)? == before, "other ids than before");
    let kept = says(shell, "one", "stat -c %u:%g /empty/mine")?;
    ensure!(kept.trim() == "7:8", "{kept}");
    Ok(())
}
