//! Static pods: what lies in a directory runs, and the API shows it.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options, eventually, image};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, is_ready, newest, restarts, step, with_cluster};

/// The manifest's name with the node's.
const NAME: &str = "web-node";
const POD: &str = "pod web-node";

#[test]
fn manifests_in_a_directory_run_and_are_shown() {
    with_cluster(Options::default(), |cluster| {
        let directory = manifests(cluster);
        fs::create_dir(&directory)?;
        cluster.add_flag(format!("--pod-manifest-path={}", directory.display()));
        write(cluster, "web.json", &manifest("web", "100001"))?;
        fs::write(directory.join("broken.yaml"), "kind: [")?;
        step("knarr up", || cluster.up())?;
        step("the pod is shown", || shown(&shell(cluster)?))?;
        step("logs and exec", || reached(&shell(cluster)?))?;
        step("a deleted mirror is made anew", || {
            deleted(&shell(cluster)?)
        })?;
        step("another manifest beside it", || added(&shell(cluster)?))?;
        step("a changed manifest is another pod", || {
            changed(&shell(cluster)?)
        })?;
        step("knarr restarts, the pod does not", || {
            outlasts(cluster, |_| Ok(()), true)
        })?;
        step("changed while knarr is away", || {
            let change = |cluster: &Cluster| write(cluster, "web.json", &manifest("web", "100003"));
            outlasts(cluster, change, false)
        })?;
        step("a removed manifest", || removed(&shell(cluster)?))?;
        step("removed while knarr is away", || vanished(cluster))?;
        let told = cluster.log_tail();
        ensure!(told.contains("a manifest is no static pod"), "{told}");
        step("down", || cluster.down(&["--purge"]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn manifests(cluster: &Cluster) -> PathBuf {
    cluster.directory().join("manifests")
}

fn manifest(name: &str, seconds: &str) -> Value {
    let command = format!("echo hello; exec sleep {seconds}");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", command],
            }],
        },
    })
}

fn write(cluster: &Cluster, file: &str, manifest: &Value) -> Result<()> {
    let path = manifests(cluster).join(file);
    fs::write(&path, manifest.to_string()).with_context(|| path.display().to_string())
}

/// Waits until the pod is ready and as wanted.
fn until(shell: &Shell<'_>, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(SOON, what, || {
        let pod = shell.get(POD)?;
        ensure!(is_ready(&pod) && wanted(&pod), "{pod:#}");
        Ok(pod)
    })
}

fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

fn container(pod: &Value) -> &str {
    let id = &pod["status"]["containerStatuses"][0]["containerID"];
    id.as_str().unwrap_or_default()
}

fn shown(shell: &Shell<'_>) -> Result<()> {
    let pod = until(shell, "it is ready", |_| true)?;
    let meta = &pod["metadata"];
    let annotations = &meta["annotations"];
    ensure!(
        annotations["kubernetes.io/config.source"] == "file",
        "{meta:#}"
    );
    let mirror = &annotations["kubernetes.io/config.mirror"];
    ensure!(
        *mirror == annotations["kubernetes.io/config.hash"],
        "{meta:#}"
    );
    ensure!(meta["ownerReferences"][0]["kind"] == "Node", "{meta:#}");
    ensure!(pod["spec"]["nodeName"] == "node", "{pod:#}");
    let all = shell.get("pods")?;
    let count = all["items"].as_array().map_or(0, Vec::len);
    ensure!(count == 1, "the broken manifest became a pod: {all:#}");
    Ok(())
}

fn reached(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "its output", || {
        let output = shell.run(&format!("logs {NAME}"))?;
        ensure!(output == "hello\n", "{output:?}");
        Ok(())
    })?;
    shell.says(&format!("exec {NAME} -- hostname"), &[NAME])?;
    shell
        .says(&format!("describe {POD}"), &["Started", "Node/node"])
        .map(drop)
}

fn deleted(shell: &Shell<'_>) -> Result<()> {
    let before = shell.get(POD)?;
    // The next mirror has the same name at once: a kubectl that looks for the old one and then watches can find only the
    // new one, and waits for its end.
    shell.run(&format!("delete {POD} --wait=false"))?;
    let other = |pod: &Value| uid(pod) != uid(&before);
    let after = until(shell, "another mirror", other)?;
    ensure!(
        container(&after) == container(&before) && restarts(&after) == 0,
        "its container was started anew: {after:#}"
    );
    Ok(())
}

fn added(shell: &Shell<'_>) -> Result<()> {
    let cluster = shell.cluster;
    // As careful programs do it.
    write(cluster, ".other.json", &manifest("other", "100001"))?;
    let directory = manifests(cluster);
    fs::rename(directory.join(".other.json"), directory.join("other.json"))?;
    shell.wait_ready("app=other", 1)?;
    fs::remove_file(directory.join("other.json"))?;
    gone(shell, "other-node")
}

fn changed(shell: &Shell<'_>) -> Result<()> {
    let before = shell.get(POD)?;
    write(shell.cluster, "web.json", &manifest("web", "100002"))?;
    let other = |pod: &Value| !container(pod).is_empty() && container(pod) != container(&before);
    until(shell, "another container", other)?;
    runs(shell.cluster, "100002", "100001")
}

/// Waits until just the process of the new manifest runs.
fn runs(cluster: &Cluster, new: &str, old: &str) -> Result<()> {
    eventually(SOON, "its process is another", || {
        let count = |seconds: &str| {
            cluster
                .container_processes(&format!("sleep {seconds}"))
                .len()
        };
        let (new, old) = (count(new), count(old));
        ensure!((new, old) == (1, 0), "{new} new ones, {old} old ones");
        Ok(())
    })
}

/// knarr is killed and comes back; whether the container is the `same` afterwards.
fn outlasts(
    cluster: &mut Cluster,
    meanwhile: impl Fn(&Cluster) -> Result<()>,
    same: bool,
) -> Result<()> {
    let before = shell(cluster)?.get(POD)?;
    cluster.kill()?;
    meanwhile(cluster)?;
    cluster.up()?;
    let shell = shell(cluster)?;
    let wanted = |pod: &Value| (container(pod) == container(&before)) == same;
    let after = until(&shell, "its container", wanted)?;
    ensure!(restarts(&after) == 0, "it was restarted: {after:#}");
    ensure!((uid(&after) == uid(&before)) == same, "{after:#}");
    match same {
        true => runs(cluster, "100002", "100001"),
        false => runs(cluster, "100003", "100002"),
    }
}

fn gone(shell: &Shell<'_>, name: &str) -> Result<()> {
    eventually(SOON, "it is shown no more", || {
        let output = shell.run(&format!("get pod {name} --ignore-not-found"))?;
        ensure!(output.is_empty(), "{output}");
        Ok(())
    })
}

fn removed(shell: &Shell<'_>) -> Result<()> {
    fs::remove_file(manifests(shell.cluster).join("web.json"))?;
    gone(shell, NAME)?;
    let left = shell.cluster.container_processes("sleep ");
    ensure!(left.is_empty(), "{left:?} run on");
    Ok(())
}

fn vanished(cluster: &mut Cluster) -> Result<()> {
    write(cluster, "web.json", &manifest("web", "100001"))?;
    until(&shell(cluster)?, "it is back", |_| true)?;
    cluster.kill()?;
    fs::remove_file(manifests(cluster).join("web.json"))?;
    cluster.up()?;
    gone(&shell(cluster)?, NAME)?;
    eventually(SOON, "its process has ended", || {
        let left = cluster.container_processes("sleep ");
        ensure!(left.is_empty(), "{left:?} run on");
        Ok(())
    })
}
