//! Another runtime than the embedded one: Debian's containerd, with everything of it below the test's directory. Where it
//! is not installed the test says so and passes.

mod containerd;

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, eventually, kill_process, run};
use serde_json::{Value, json};

use crate::support::{
    SOON, Shell, block_on, is_ready, knows_running_pods, newest, restarts, step, with_cluster,
};
use containerd::{Containerd, PAUSE_COMMAND};

const POD: &str = "pod server";
const FIELDS: &str = "{.status.containerStatuses[0].containerID}";

#[test]
fn containerd_runs_the_pods() {
    if !containerd::is_installed() {
        return;
    }
    with_cluster(Options::default(), |cluster| {
        let mut containerd = step("containerd", || Containerd::start(cluster))?;
        let endpoint = containerd.endpoint();
        cluster.add_flag(format!("--container-runtime-endpoint={endpoint}"));
        let other = step("a sandbox of another kubelet", || {
            block_on(containerd.sandbox(cluster))
        })?;
        step("knarr up", || cluster.up())?;
        step("images", || containerd.import_images())?;
        step("pods are ready", || start(cluster))?;
        step("log, exec, the network", || streams(cluster))?;
        step("port-forward", || port_forward(cluster))?;
        step("probes", || probes(cluster))?;
        if knows_running_pods(&newest()?) {
            step("a debugger sees the processes of its target", || {
                debugged(cluster)
            })?;
            step("a running container gets other resources", || {
                resized(cluster)
            })?;
        }
        step("a killed process is started again", || killed(cluster))?;
        step("knarr restarts, containers do not", || restarted(cluster))?;
        step("containerd restarts, containers do not", || {
            away(cluster, &mut containerd)
        })?;
        step("dead sandboxes are replaced", || sandboxes(cluster))?;
        step("a deleted pod leaves nothing", || {
            deleted(cluster, &containerd, &other)
        })?;
        step("the runtime is away while knarr goes down", || {
            unreachable(cluster, &mut containerd)
        })?;
        step("knarr down removes its pods only", || {
            down(cluster, &containerd, &other)
        })?;
        step("containerd ends", || containerd.end())?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

/// A server with probes, a script whose probe hangs once, and a pod of the node's network.
fn manifest() -> String {
    let script = "trap 'exit 0' TERM; echo begun; while :; do sleep 1; done";
    let slow = "[ -e /tmp/calm ] || { touch /tmp/calm; sleep 30; }";
    let meta = |name: &str| json!({"name": name, "labels": {"app": name}});
    let pod = |name: &str, container: Value, more: Value| {
        let mut spec = json!({"terminationGracePeriodSeconds": 2, "containers": [container]});
        if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
            spec.extend(more);
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta(name), "spec": spec})
    };
    let items = [
        pod(
            "server",
            json!({
                "name": "hello", "image": "knarr/hello:latest", "imagePullPolicy": "IfNotPresent",
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "250m", "memory": "64Mi"}},
            }),
            json!({}),
        ),
        pod(
            "script",
            json!({
                "name": "main", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
                "livenessProbe": {
                    "exec": {"command": ["sh", "-c", slow]}, "periodSeconds": 1, "failureThreshold": 3,
                },
            }),
            json!({"shareProcessNamespace": true}),
        ),
        pod(
            "neighbour",
            json!({
                "name": "main", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script],
                "readinessProbe": {"tcpSocket": {"port": 6443}, "periodSeconds": 1},
            }),
            json!({"hostNetwork": true}),
        ),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn start(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    shell.apply(&manifest())?;
    for name in ["server", "script", "neighbour"] {
        eventually(SOON, &format!("pod {name} is ready"), || {
            let pod = shell.get(&format!("pod {name}"))?;
            ensure!(is_ready(&pod), "{}", pod["status"]);
            Ok(())
        })?;
    }
    let version = shell.path("node node", "{.status.nodeInfo.containerRuntimeVersion}")?;
    ensure!(version.starts_with("containerd://1."), "{version}");
    let id = shell.path(POD, FIELDS)?;
    ensure!(id.starts_with("containerd://"), "{id}");
    let address = shell.path("pod neighbour", "{.status.podIP}")?;
    ensure!(address == NODE_IP, "{address}");
    Ok(())
}

fn streams(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    ensure!(shell.run("logs script")? == "begun\n", "the script's log");
    let address = shell.path(POD, "{.status.podIP}")?;
    let page = cluster.curl(&[&format!("http://{address}:8080/")])?;
    ensure!(page.contains("host: server"), "{page}");
    let out = shell.words(&["exec", "script", "--", "sh", "-c", "echo out; hostname"])?;
    ensure!(out == "out\nscript\n", "{out:?}");
    let words = ["exec", "-i", "script", "--", "cat"];
    let echoed = shell.output(&words, "in and out")?.success()?;
    ensure!(echoed == "in and out", "{echoed:?}");
    let failed = shell.output(&["exec", "script", "--", "sh", "-c", "exit 7"], "")?;
    failed.failure(7)?;
    // The containers see each other's processes, and the runtime's own that holds the pod.
    let processes = shell.words(&["exec", "script", "--", "ps"])?;
    ensure!(processes.contains("sleep 2147483647"), "{processes}");
    Ok(())
}

fn debugged(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    shell.run(
        "debug server --target=hello -c debugger --image=knarr/busybox:latest --image-pull-policy=IfNotPresent -- sleep 100000",
    )?;
    eventually(SOON, "the debugger runs", || {
        let path = "{.status.ephemeralContainerStatuses[0].state.running.startedAt}";
        ensure!(!shell.path(POD, path)?.is_empty(), "it does not");
        Ok(())
    })?;
    shell
        .says("exec server -c debugger -- ps", &["hello", "sleep 100000"])
        .map(drop)
}

fn resized(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let resources =
        json!({"requests": {"cpu": "60m"}, "limits": {"cpu": "200m", "memory": "80Mi"}});
    let patch = json!({"spec": {"containers": [{"name": "hello", "resources": resources}]}});
    let patch = patch.to_string();
    shell.words(&[
        "patch",
        "pod",
        "server",
        "--subresource=resize",
        "--patch",
        &patch,
    ])?;
    eventually(SOON, "the pod is resized", || {
        let pod = shell.get(POD)?;
        let container = &pod["status"]["containerStatuses"][0];
        let (spec, now) = (
            &pod["spec"]["containers"][0]["resources"],
            &container["resources"],
        );
        ensure!(spec == now && is_ready(&pod), "{}", pod["status"]);
        ensure!(restarts(&pod) == 0, "it was restarted");
        Ok(())
    })
}

fn port_forward(cluster: &Cluster) -> Result<()> {
    const LOCAL_PORT: u16 = 18_081;
    let mut command = cluster.command(newest()?.path);
    command.args(["port-forward", "server", &format!("{LOCAL_PORT}:8080")]);
    let mut forward = command
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run kubectl")?;
    let page = eventually(SOON, "the forwarded port answers", || {
        cluster.curl(&[&format!("http://127.0.0.1:{LOCAL_PORT}/")])
    });
    forward.kill()?;
    forward.wait()?;
    let page = page?;
    ensure!(page.contains("host: server"), "{page}");
    Ok(())
}

fn probes(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    eventually(SOON, "the slow probe is told of", || {
        let words = "get events --field-selector involvedObject.name=script";
        shell.says(words, &["Liveness probe failed: command timed out"])
    })?;
    let pod = shell.get("pod script")?;
    ensure!(restarts(&pod) == 0, "{}", pod["status"]);
    Ok(())
}

fn killed(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let pids = cluster.container_processes("/hello");
    let [pid] = pids[..] else {
        anyhow::bail!("one server should run: {pids:?}");
    };
    kill_process(pid)?;
    eventually(SOON, "the server runs again", || {
        let pod = shell.get(POD)?;
        ensure!(restarts(&pod) == 1 && is_ready(&pod), "{}", pod["status"]);
        let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
        ensure!(last["exitCode"] == 137, "{last}");
        Ok(())
    })?;
    shell.says("logs server --previous", &["listening on"])?;
    let events = shell.run("get events --field-selector involvedObject.name=server")?;
    ensure!(
        !events.contains("BackOff"),
        "a first restart is not held off:\n{events}"
    );
    Ok(())
}

fn restarted(cluster: &mut Cluster) -> Result<()> {
    let before = shell(cluster)?.path(POD, FIELDS)?;
    cluster.stop()?;
    cluster.up()?;
    let shell = shell(cluster)?;
    eventually(SOON, "the pod is ready as before", || {
        let pod = shell.get(POD)?;
        ensure!(is_ready(&pod) && restarts(&pod) == 1, "{}", pod["status"]);
        Ok(())
    })?;
    let after = shell.path(POD, FIELDS)?;
    ensure!(before == after, "{before} became {after}");
    Ok(())
}

fn away(cluster: &Cluster, containerd: &mut Containerd) -> Result<()> {
    let shell = shell(cluster)?;
    let before = shell.path(POD, FIELDS)?;
    let ready = |wanted: &str, text: &str| {
        eventually(SOON, &format!("the node's readiness is {wanted}"), || {
            let condition = shell.path("node node", "{.status.conditions[?(@.type=='Ready')]}")?;
            ensure!(
                condition.contains(&format!("\"status\":\"{wanted}\"")) && condition.contains(text),
                "{condition}"
            );
            Ok(())
        })
    };
    containerd.end()?;
    ready("False", "container runtime is down")?;
    containerd.again(cluster)?;
    ready("True", "kubelet is posting ready status")?;
    let after = shell.path(POD, FIELDS)?;
    ensure!(before == after, "{before} became {after}");
    eventually(SOON, "the containers can be used as before", || {
        shell.words(&["exec", "script", "--", "true"])
    })?;
    let pod = shell.get("pod script")?;
    ensure!(restarts(&pod) == 0, "{}", pod["status"]);
    Ok(())
}

fn sandboxes(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let id = |pod: &str| shell.path(&format!("pod {pod}"), FIELDS);
    let before = [id("server")?, id("script")?];
    let pids = cluster.container_processes(PAUSE_COMMAND);
    ensure!(pids.len() == 4, "one a pod, and the other: {pids:?}");
    for pid in pids {
        kill_process(pid)?;
    }
    for (name, before) in ["server", "script"].into_iter().zip(before) {
        eventually(
            SOON,
            &format!("pod {name} is ready in a new sandbox"),
            || {
                let pod = shell.get(&format!("pod {name}"))?;
                let now = id(name)?;
                ensure!(is_ready(&pod) && now != before, "{}", pod["status"]);
                Ok(())
            },
        )?;
    }
    let address = shell.path(POD, "{.status.podIP}")?;
    let page = cluster.curl(&[&format!("http://{address}:8080/")])?;
    ensure!(page.contains("host: server"), "{page}");
    Ok(())
}

fn deleted(cluster: &Cluster, containerd: &Containerd, other: &str) -> Result<()> {
    let shell = shell(cluster)?;
    shell.run("delete pod server script neighbour")?;
    eventually(SOON, "nothing of the pods is left", || {
        let left = containerd.containers()?;
        ensure!(left.trim() == other, "containers: {left}");
        for folder in ["kubelet/pods", "logs/pods"] {
            let path = cluster.data_dir().join(folder);
            let entries = std::fs::read_dir(&path).with_context(|| path.display().to_string())?;
            ensure!(entries.count() == 0, "{} is not empty", path.display());
        }
        let additions = cluster.network().additions()?;
        let links: Vec<_> = additions
            .iter()
            .filter(|line| line.starts_with("link ") && line.contains("@if"))
            .collect();
        ensure!(links.is_empty(), "{links:?}");
        Ok(())
    })
}

/// Leaves pods of every sort, which `knarr down` cannot remove and says so.
fn unreachable(cluster: &mut Cluster, containerd: &mut Containerd) -> Result<()> {
    start(cluster)?;
    cluster.stop()?;
    containerd.end()?;
    let mut command = cluster.knarr(&["down"])?;
    command.arg("--data-dir").arg(cluster.data_dir());
    let output = run(command, SOON)?;
    let said = output.failure(1)?;
    ensure!(
        said.contains(&containerd.endpoint()) && said.contains("run knarr down again"),
        "{said}"
    );
    containerd.again(cluster)
}

fn down(cluster: &mut Cluster, containerd: &Containerd, other: &str) -> Result<()> {
    cluster.down(&[])?;
    let left = containerd.containers()?;
    ensure!(left.trim() == other, "{left} should be {other}");
    block_on(containerd.remove(other))?;
    // What held the cluster's control group is gone.
    cluster.down(&[]).map(drop)
}
