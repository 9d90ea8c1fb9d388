//! What changes of a pod that runs: containers that join it to look at it, and its resources.

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, eventually, image};
use serde_json::{Value, json};

use crate::support::{
    SOON, Shell, knows_running_pods, newest, restarts, step, with_running_cluster,
};

#[test]
fn a_running_pod_is_looked_at_and_resized() {
    with_running_cluster(|cluster| {
        if !knows_running_pods(&newest()?) {
            return Ok(());
        }
        step("apply", || {
            let shell = shell(cluster)?;
            shell.apply(&pod("web", "20m", "40Mi", "NotRequired").to_string())?;
            shell.apply(&pod("anew", "20m", "40Mi", "RestartContainer").to_string())?;
            shell.wait_ready("app=web", 2).map(drop)
        })?;
        step("a debugger sees the container's processes", || {
            debugger(&shell(cluster)?)
        })?;
        step("a copy shares its processes", || copy(&shell(cluster)?))?;
        step("a running container gets other resources", || {
            resized(&shell(cluster)?)
        })?;
        step("another one is started anew for them", || {
            restarted(&shell(cluster)?)
        })?;
        step("what does not fit waits", || deferred(&shell(cluster)?))?;
        step("both outlast knarr", || {
            cluster.kill()?;
            cluster.up()?;
            outlasted(&shell(cluster)?)
        })
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn pod(name: &str, cpu: &str, memory: &str, policy: &str) -> Value {
    let amounts = json!({ "cpu": cpu, "memory": memory });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "100000"],
                "resources": { "requests": amounts, "limits": amounts },
                "resizePolicy": [{ "resourceName": "memory", "restartPolicy": policy }],
            }],
        },
    })
}

fn debugger(shell: &Shell<'_>) -> Result<()> {
    let line = format!(
        "debug web --image={} --image-pull-policy=IfNotPresent --target=main -c debugger -- sleep 100000",
        image::BUSYBOX
    );
    shell.run(&line)?;
    looks(shell)?;
    let pod = shell.get("pod web")?;
    ensure!(pod["metadata"]["generation"] == 2, "{}", pod["metadata"]);
    ensure!(restarts(&pod) == 0, "the container was restarted");
    let other =
        json!({ "spec": { "ephemeralContainers": [{ "name": "debugger", "image": "other:1" }] } });
    let subresource = "--subresource=ephemeralcontainers";
    let changed = shell.words(&["patch", "pod", "web", subresource, "-p", &other.to_string()]);
    ensure!(changed.is_err(), "it was changed");
    Ok(())
}

/// Waits until the debugger runs, which sees the first process of the other container.
fn looks(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the debugger runs", || {
        let path = "{.status.ephemeralContainerStatuses[0].state.running.startedAt}";
        ensure!(!shell.path("pod web", path)?.is_empty(), "it does not");
        Ok(())
    })?;
    let line = "exec web -c debugger -- cat /proc/1/cmdline";
    shell.says(line, &["sleep", "100000"]).map(drop)
}

fn copy(shell: &Shell<'_>) -> Result<()> {
    let line = format!(
        "debug web --copy-to=copy --share-processes --image={} --image-pull-policy=IfNotPresent -c helper -- sleep 200000",
        image::BUSYBOX
    );
    shell.run(&line)?;
    shell.run("wait --for=condition=Ready pod/copy --timeout=60s")?;
    shell.says(
        "exec copy -c helper -- ps",
        &["sleep 100000", "sleep 200000"],
    )?;
    // What holds the namespace is upstream's pause to them, and does not say where the node keeps it.
    let first = shell.run("exec copy -c helper -- cat /proc/1/cmdline")?;
    let first = first.trim_end_matches('\0');
    ensure!(first == "/pause", "the first process is {first:?}");
    shell.run("delete pod copy").map(drop)
}

fn resize(shell: &Shell<'_>, name: &str, cpu: &str, memory: &str) -> Result<()> {
    let amounts = json!({ "cpu": cpu, "memory": memory });
    let container =
        json!({ "name": "main", "resources": { "requests": amounts, "limits": amounts } });
    let patch = json!({ "spec": { "containers": [container] } }).to_string();
    let words = [
        "patch",
        "pod",
        name,
        "--subresource=resize",
        "--patch",
        &patch,
    ];
    shell.words(&words).map(drop)
}

/// Waits until a pod's container has what it is asked for.
fn until_resized(shell: &Shell<'_>, name: &str) -> Result<Value> {
    eventually(SOON, "the pod is resized", || {
        let pod = shell.get(&format!("pod {name}"))?;
        let (spec, status) = (&pod["spec"]["containers"][0], &pod["status"]);
        let conditions = status["conditions"].as_array().context("no conditions")?;
        let resizing = |c: &&Value| c["type"].as_str().unwrap_or("").starts_with("PodResize");
        let resizing = conditions.iter().find(resizing);
        ensure!(resizing.is_none(), "{resizing:?}");
        let container = &status["containerStatuses"][0];
        let same = container["resources"] == spec["resources"]
            && container["allocatedResources"] == spec["resources"]["requests"]
            && container["ready"] == true;
        ensure!(same, "{container}");
        Ok(pod)
    })
}

/// What the kernel says of the container's limits: microseconds of CPU in a tenth of a second, and bytes.
fn limits(shell: &Shell<'_>, name: &str) -> Result<(String, String)> {
    let read = |files: &str| {
        let text = shell.words(&["exec", name, "-c", "main", "--", "sh", "-c", files])?;
        let first = text.split_whitespace().next().unwrap_or_default();
        Ok::<_, anyhow::Error>(first.to_owned())
    };
    let cgroup = "/sys/fs/cgroup";
    Ok((
        read(&format!(
            "cat {cgroup}/cpu/cpu.cfs_quota_us 2>/dev/null || cat {cgroup}/cpu.max"
        ))?,
        read(&format!(
            "cat {cgroup}/memory/memory.limit_in_bytes 2>/dev/null || cat {cgroup}/memory.max"
        ))?,
    ))
}

fn resized(shell: &Shell<'_>) -> Result<()> {
    // Up, and down again.
    for (cpu, memory, quota, bytes) in [
        ("30m", "60Mi", "3000", 60 << 20),
        ("25m", "50Mi", "2500", 50 << 20),
    ] {
        resize(shell, "web", cpu, memory)?;
        let pod = until_resized(shell, "web")?;
        ensure!(restarts(&pod) == 0, "the container was restarted");
        let now = limits(shell, "web")?;
        let wanted = (quota.to_owned(), i64::to_string(&bytes));
        ensure!(now == wanted, "{now:?}, not {wanted:?}");
    }
    shell
        .says(
            "events --for pod/web",
            &["ResizeStarted", "ResizeCompleted"],
        )
        .map(drop)
}

fn restarted(shell: &Shell<'_>) -> Result<()> {
    resize(shell, "anew", "20m", "60Mi")?;
    let pod = until_resized(shell, "anew")?;
    ensure!(restarts(&pod) == 1, "{} restarts", restarts(&pod));
    let (_, bytes) = limits(shell, "anew")?;
    ensure!(bytes == (60 << 20).to_string(), "{bytes}");
    Ok(())
}

fn deferred(shell: &Shell<'_>) -> Result<()> {
    // More than the node has is refused at once.
    ensure!(
        resize(shell, "anew", "100000", "60Mi").is_err(),
        "it is not"
    );
    let cpus = shell.path("nodes", "{.items[0].status.allocatable.cpu}")?;
    resize(shell, "anew", &cpus, "60Mi")?;
    eventually(SOON, "the change is deferred", || {
        let path = "{.status.conditions[?(@.type==\"PodResizePending\")].reason}";
        let reason = shell.path("pod anew", path)?;
        ensure!(reason == "Deferred", "{reason:?}");
        Ok(())
    })?;
    let allocated = "{.status.containerStatuses[0].allocatedResources.cpu}";
    let promised = shell.path("pod anew", allocated)?;
    ensure!(promised == "20m", "{promised:?}");
    Ok(())
}

fn outlasted(shell: &Shell<'_>) -> Result<()> {
    looks(shell)?;
    let web = until_resized(shell, "web")?;
    ensure!(restarts(&web) == 0, "the container was restarted");
    let path = "{.status.containerStatuses[0].allocatedResources.cpu}";
    let promised = shell.path("pod anew", path)?;
    ensure!(promised == "20m", "{promised:?}");
    // There is room once the other one is gone.
    shell.run("delete pod web")?;
    until_resized(shell, "anew").map(drop)
}
