//! What a pod may ask of its node: environment, volumes, init containers, restarts, probes, limits, termination,
//! placement, and its network.

use std::{process::Command, thread, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use knarr_testkit::{Cluster, NODE_IP, eventually, run};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, newest, restarts, step, with_running_cluster};

const IMAGE: &str = "knarr/busybox:latest";

#[test]
fn pods_get_what_they_ask_for() {
    with_running_cluster(|cluster| {
        // All are begun at once, since each mostly waits.
        step("apply", || shell(cluster)?.apply(&manifest()))?;
        let checks: [(&str, fn(&Shell<'_>) -> Result<()>); 14] = [
            ("environment and volumes", environment),
            ("exit codes and restarts", exits),
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
        let mut failures = Vec::new();
        for (name, check) in checks {
            if let Err(error) = step(name, || check(&shell(cluster)?)) {
                failures.push(format!("{error:#}"));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

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

fn manifest() -> String {
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
        pod(
            "last-words",
            "echo -n the reason > /dev/termination-log; exit 1",
            none(),
            none(),
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
        pod("host", "sleep 3600", none(), json!({"hostNetwork": true})),
        pod(
            "mirror",
            "echo myself > /tmp/index.html; exec httpd -f -p 8080 -h /tmp",
            none(),
            none(),
        ),
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn environment_pod() -> Value {
    let script = "env | sort; cat /settings/renamed /order; cat /info/labels; echo; ls -l /hidden/..data/PASSWORD; cat /hidden/PASSWORD; echo; hostname; id -u; echo end";
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
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

/// Waits until a pod is in a phase; the pod.
fn phase(shell: &Shell<'_>, name: &str, wanted: &str) -> Result<Value> {
    eventually(SOON, &format!("pod {name} is {wanted}"), || {
        let pod = shell.get(&format!("pod {name}"))?;
        ensure!(pod["status"]["phase"] == wanted, "{}", pod["status"]);
        Ok(pod)
    })
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
    Ok(())
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
    let events = shell.run("get events --field-selector involvedObject.name=unwell")?;
    for wanted in [
        "Unhealthy",
        "Liveness probe failed",
        "Killing",
        "failed liveness probe, will be restarted",
    ] {
        ensure!(events.contains(wanted), "{wanted:?} is not in\n{events}");
    }
    Ok(())
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
    shell.says(
        "get events --field-selector involvedObject.name=picky",
        &["FailedScheduling"],
    )?;
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
