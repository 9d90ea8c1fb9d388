//! What a pod may ask of its node: environment, init containers, restarts, limits, termination, placement, and its
//! network; in files of their own security, volumes, probes and hooks, and logs.

mod logs;
mod manifest;
mod probes;
mod security;
mod volumes;

use std::{process::Command, thread, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use knarr_testkit::{Cluster, NODE_IP, eventually, run};
use serde_json::Value;

use crate::support::{SOON, Shell, newest, restarts, step, with_running_cluster};

/// Looks at one thing; the pods are there already.
type Check = fn(&Shell<'_>) -> Result<()>;

#[test]
fn pods_get_what_they_ask_for() {
    with_running_cluster(|cluster| {
        // All are begun at once, since each mostly waits.
        let hooks = cluster.directory().join(probes::HOOKS);
        probes::listen(cluster, &hooks)?;
        step("apply", || shell(cluster)?.apply(&manifest::text(&hooks)))?;
        // As early as the others, whose ends must not matter to these.
        step("apply what fits nowhere", || {
            shell(cluster)?.apply(&manifest::placement())
        })?;
        let follower = logs::Follower::start(&shell(cluster)?)?;
        let own: [(&str, Check); 17] = [
            ("environment and volumes", environment),
            ("exit codes and restarts", exits),
            ("all containers anew", all_anew),
            ("a program that is nowhere", missing_program),
            ("a mount that cannot be", impossible_mount),
            ("termination message", message),
            ("out of memory", out_of_memory),
            ("liveness probe", liveness),
            ("limits in the control group", limits),
            ("sidecar volumes are shared", shared_volume),
            ("termination is graceful", graceful),
            ("an image that is nowhere", missing_image),
            ("placement", placement),
            ("host network", host_network),
            ("a service without pods refuses", no_endpoints),
            ("a pod reaches itself by its service", hairpin),
            ("the API from within", api_from_within),
        ];
        let more = [
            &security::CHECKS[..],
            &volumes::CHECKS,
            &probes::CHECKS,
            &logs::CHECKS,
        ];
        let checks = own.iter().chain(more.into_iter().flatten());
        let mut failures = Vec::new();
        for (name, check) in checks {
            if let Err(error) = step(name, || check(&shell(cluster)?)) {
                failures.push(format!("{error:#}"));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        step("a log followed through its rotation", || follower.finish())?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

/// Waits until a pod is in a phase; the pod.
fn phase(shell: &Shell<'_>, name: &str, wanted: &str) -> Result<Value> {
    eventually(SOON, &format!("pod {name} is {wanted}"), || {
        let pod = shell.get(&format!("pod {name}"))?;
        ensure!(pod["status"]["phase"] == wanted, "{}", pod["status"]);
        Ok(pod)
    })
}

/// Waits until a pod's first container waits for a reason; why, in words.
fn waiting(shell: &Shell<'_>, name: &str, reason: &str) -> Result<String> {
    eventually(SOON, &format!("pod {name} waits with {reason}"), || {
        let pod = shell.get(&format!("pod {name}"))?;
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        ensure!(waiting["reason"] == reason, "{}", pod["status"]);
        Ok(waiting["message"].as_str().unwrap_or_default().to_owned())
    })
}

/// Waits until the events of a pod say all of this.
fn events(shell: &Shell<'_>, pod: &str, wanted: &[&str]) -> Result<()> {
    eventually(SOON, &format!("events of pod {pod}"), || {
        shell.says(
            &format!("get events --field-selector involvedObject.name={pod}"),
            wanted,
        )
    })
    .map(drop)
}

fn terminated(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["terminated"]
}

/// What a script prints in a running pod.
fn sh(shell: &Shell<'_>, pod: &str, script: &str) -> Result<String> {
    shell.words(&["exec", pod, "--", "sh", "-c", script])
}

fn environment(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "environment", "Succeeded")?;
    let log = shell.run("logs environment")?;
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    for wanted in [
        "PLAIN=a b",
        "MADE=a b-$(MISSING)-$(PLAIN)",
        "POD_NAME=environment",
        &format!("POD_IP={address}"),
        "NODE=node",
        "CPUS=300",
        "ONE_COLOR=blue",
        "S_COLOR=blue",
        "WORD=sesame",
        "KUBERNETES_SERVICE_HOST=10.43.0.1",
        "KUBERNETES_SERVICE_PORT=443",
        "content",
        "app=\"environment\"",
        "sesame",
        "environment",
        "1234",
        "end",
    ] {
        ensure!(lines.contains(&wanted), "{wanted:?} is not in\n{log}");
    }
    ensure!(
        log.contains("first\nsecond\n"),
        "init containers in order: {log}"
    );
    ensure!(!log.contains("NONE="), "{log}");
    ensure!(
        log.contains("-r--r-----") && log.contains(" 2000 "),
        "mode 0440 and group 2000: {log}"
    );
    let inits = pod["status"]["initContainerStatuses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        inits.len() == 2
            && inits
                .iter()
                .all(|i| i["state"]["terminated"]["reason"] == "Completed"),
        "{inits:?}"
    );
    Ok(())
}

fn exits(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "fails", "Failed")?;
    ensure!(
        terminated(&pod)["exitCode"] == 3 && terminated(&pod)["reason"] == "Error",
        "{}",
        pod["status"]
    );
    let pod = phase(shell, "fails-once", "Succeeded")?;
    let status = &pod["status"]["containerStatuses"][0];
    ensure!(
        restarts(&pod) == 1 && status["lastState"]["terminated"]["exitCode"] == 5,
        "{status}"
    );
    ensure!(terminated(&pod)["reason"] == "Completed", "{status}");
    let events = shell.run("get events --field-selector involvedObject.name=fails-once")?;
    ensure!(
        !events.contains("BackOff"),
        "a first restart is not held off:\n{events}"
    );
    Ok(())
}

/// A rule restarts every container, in the same sandbox and in order.
fn all_anew(shell: &Shell<'_>) -> Result<()> {
    let pod = eventually(SOON, "all containers run again", || {
        let pod = shell.get("pod all-anew")?;
        let lists = ["initContainerStatuses", "containerStatuses"].into_iter();
        let statuses = lists.filter_map(|list| pod["status"][list].as_array());
        let again = statuses.flatten().filter(|s| s["restartCount"] == 1);
        let ready = &pod["status"]["containerStatuses"][0]["ready"];
        ensure!(again.count() == 3 && *ready == true, "{}", pod["status"]);
        Ok(pod)
    })?;
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let over = conditions.any(|c| c["type"] == "AllContainersRestarting" && c["status"] == "False");
    ensure!(over, "{}", pod["status"]);
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    ensure!(last["reason"] == "RestartingAllContainers", "{last}");
    let runs = sh(shell, "all-anew", "cat /data/runs")?;
    ensure!(runs == "init\nmain\ninit\nmain\n", "{runs:?}");
    Ok(())
}

fn missing_program(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "no-program", "Failed")?;
    let state = terminated(&pod);
    ensure!(
        state["reason"] == "StartError" && state["exitCode"] == 128,
        "{state}"
    );
    ensure!(
        state["message"]
            .as_str()
            .is_some_and(|m| m.contains("/nowhere")),
        "{state}"
    );
    Ok(())
}

/// What went wrong, to the last cause, and what to do about it: in the container's state as in the event.
fn impossible_mount(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "file-on-directory", "Failed")?;
    let message = terminated(&pod)["message"].as_str().unwrap_or_default();
    let wanted = [
        "failed to prepare rootfs",
        "/etc/hostname on /bin",
        "Invalid argument",
        "compare mountPath and subPath",
    ];
    for text in wanted {
        ensure!(message.contains(text), "{text:?} is missing: {message}");
    }
    events(shell, "file-on-directory", &wanted)
}

fn message(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "last-words", "Failed")?;
    ensure!(
        terminated(&pod)["message"] == "the reason",
        "{}",
        pod["status"]
    );
    Ok(())
}

fn out_of_memory(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "greedy", "Failed")?;
    let state = terminated(&pod);
    ensure!(
        state["reason"] == "OOMKilled" && state["exitCode"] == 137,
        "{state}"
    );
    Ok(())
}

fn liveness(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the container is started again", || {
        let pod = shell.get("pod unwell")?;
        ensure!(restarts(&pod) > 0, "{}", pod["status"]);
        Ok(())
    })?;
    let wanted = [
        "Unhealthy",
        "Liveness probe failed",
        "Killing",
        "failed liveness probe, will be restarted",
    ];
    events(shell, "unwell", &wanted)
}

fn limits(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "limited", "Running")?;
    let read = |paths: &str| {
        sh(
            shell,
            "limited",
            &format!("cat {paths} 2>/dev/null || true"),
        )
    };
    let memory = read("/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes")?;
    ensure!(memory.trim() == (24 << 20).to_string(), "memory: {memory}");
    let quota = read("/sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
    ensure!(
        quota.split_whitespace().next() == Some("25000"),
        "quota: {quota}"
    );
    Ok(())
}

fn shared_volume(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "sharing", "Running")?;
    eventually(SOON, "the other container has read", || {
        let log = shell.run("logs sharing -c other")?;
        ensure!(log == "shared\nlocal\n", "{log:?}");
        Ok(())
    })
}

fn graceful(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "graceful", "Running")?;
    let cluster = shell.cluster;
    let mut follow = cluster.command(&shell.kubectl.path);
    follow.args(["logs", "--follow", "graceful"]);
    let followed = thread::spawn(move || run(follow, SOON));
    let started = Instant::now();
    shell.run("delete pod graceful")?;
    ensure!(
        started.elapsed().as_secs() < 15,
        "it took {:?}, as if it had been killed",
        started.elapsed()
    );
    let followed = followed
        .join()
        .map_err(|_| anyhow::anyhow!("the follower panicked"))??
        .success()?;
    ensure!(followed == "ready\ntold to end\n", "{followed:?}");
    Ok(())
}

fn missing_image(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the pull fails", || {
        let reason = shell.path(
            "pod no-image",
            "{.status.containerStatuses[0].state.waiting.reason}",
        )?;
        ensure!(
            ["ErrImagePull", "ImagePullBackOff"].contains(&reason.as_str()),
            "{reason:?}"
        );
        Ok(())
    })?;
    shell.run("delete pod no-image")?;
    Ok(())
}

fn placement(shell: &Shell<'_>) -> Result<()> {
    let condition = |name: &str| {
        shell.path(
            &format!("pod {name}"),
            "{.status.conditions[?(@.type=='PodScheduled')]}",
        )
    };
    for (name, reason) in [
        (
            "picky",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        ),
        ("huge", "0/1 nodes are available: 1 Insufficient memory."),
    ] {
        eventually(SOON, "the pod is told why", || {
            let text = condition(name)?;
            ensure!(
                text.contains("Unschedulable") && text.contains(reason),
                "{name}: {text}"
            );
            Ok(())
        })?;
    }
    // Other pods have ended since, which helps neither: they were tried once.
    let failures = shell.get("events --field-selector reason=FailedScheduling")?;
    let failures = failures["items"].as_array().cloned().unwrap_or_default();
    let mut counts: Vec<_> = failures
        .iter()
        .map(|event| {
            // A repeat makes a series.
            let count = event["series"]["count"].as_i64().unwrap_or(1);
            format!("{}: {count}", event["involvedObject"]["name"])
        })
        .collect();
    counts.sort_unstable();
    ensure!(counts == [r#""huge": 1"#, r#""picky": 1"#], "{counts:?}");
    shell.run("label node node disk=fast")?;
    phase(shell, "picky", "Running")?;
    shell.run("delete pod huge picky")?;
    Ok(())
}

fn host_network(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "host", "Running")?;
    ensure!(
        pod["status"]["podIP"] == NODE_IP && pod["status"]["hostIP"] == NODE_IP,
        "{}",
        pod["status"]
    );
    let links = sh(shell, "host", "ip -4 address")?;
    ensure!(links.contains(NODE_IP), "{links}");
    Ok(())
}

fn no_endpoints(shell: &Shell<'_>) -> Result<()> {
    let address = shell.path("service nobody", "{.spec.clusterIP}")?;
    let started = Instant::now();
    match shell.cluster.curl(&[&format!("http://{address}/")]) {
        Ok(page) => bail!("it answers: {page}"),
        Err(error) => ensure!(format!("{error:#}").contains("curl: (7)"), "{error:#}"),
    }
    ensure!(
        started.elapsed().as_secs() < 3,
        "refused after {:?}",
        started.elapsed()
    );
    let refused = sh(
        shell,
        "mirror",
        &format!("wget -O - http://{address}/ 2>&1; true"),
    )?;
    ensure!(refused.contains("refused"), "{refused}");
    Ok(())
}

fn hairpin(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "mirror", "Running")?;
    eventually(SOON, "the service leads to the pod itself", || {
        let page = sh(shell, "mirror", "wget -q -O - http://reflection/")?;
        ensure!(page == "myself\n", "{page:?}");
        Ok(())
    })
}

fn api_from_within(shell: &Shell<'_>) -> Result<()> {
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let files = sh(
        shell,
        "mirror",
        &format!("cat {account}/namespace; head -n 1 {account}/ca.crt"),
    )?;
    ensure!(files == "default-----BEGIN CERTIFICATE-----\n", "{files:?}");
    let token = sh(shell, "mirror", &format!("cat {account}/token"))?;
    // With the pod's token and authority, from the node: busybox has no TLS that checks certificates.
    let authority = shell.cluster.directory().join("ca.crt");
    std::fs::write(
        &authority,
        sh(shell, "mirror", &format!("cat {account}/ca.crt"))?,
    )?;
    let mut command: Command = shell.cluster.command("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "5", "--cacert"])
        .arg(&authority)
        .arg("--header")
        .arg(format!("Authorization: Bearer {token}"))
        .arg("https://10.43.0.1/api/v1/namespaces/default/pods");
    let answer = run(command, SOON)?.success()?;
    let answer: Value = serde_json::from_str(&answer).context(answer)?;
    let message = answer["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains(
            "User \"system:serviceaccount:default:default\" cannot list resource \"pods\""
        ),
        "{answer}"
    );
    Ok(())
}
