//! The user story with every kubectl: apply, get, describe, logs, exec, scale, set image, rollout, delete; the Services
//! answer, and names resolve.

use std::{collections::BTreeSet, sync::Mutex, thread};

use anyhow::{Result, bail, ensure};
use knarr_testkit::{Cluster, Kubectl, NODE_IP, eventually, kubectls};

use crate::support::{SOON, Shell, field, hello_yaml, name, step, with_running_cluster};

/// Sessions side by side: they mostly wait for probes and for programs to end.
const SESSIONS_AT_ONCE: usize = 3;
/// Requests by which every one of three pods is met: missing one has a chance of (2/3)^60.
const REQUESTS: usize = 60;

#[test]
fn the_example_works_with_every_kubectl() {
    with_running_cluster(|cluster| {
        let kubectls = kubectls()?;
        step("the node is ready", || node_is_ready(cluster, &kubectls[0]))?;
        sessions(cluster, kubectls)?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn node_is_ready(cluster: &Cluster, kubectl: &Kubectl) -> Result<()> {
    let shell = Shell::new(cluster, kubectl.clone(), "default");
    eventually(SOON, "the node is ready", || {
        shell.run("wait --for=condition=Ready node/node --timeout=30s")
    })?;
    Ok(())
}

/// Every kubectl in a namespace of its own.
fn sessions(cluster: &Cluster, kubectls: Vec<Kubectl>) -> Result<()> {
    let waiting = Mutex::new(kubectls.into_iter().enumerate());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..SESSIONS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((index, kubectl)) = lock(&waiting).next() else {
                        break;
                    };
                    let version = kubectl.version.clone();
                    let title = format!("session of kubectl {version}");
                    if let Err(error) = step(&title, || session(cluster, index, kubectl)) {
                        lock(&failures).push(format!("{error:#}"));
                    }
                }
            });
        }
    });
    let failures = lock(&failures);
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One user's way through the example.
fn session(cluster: &Cluster, index: usize, kubectl: Kubectl) -> Result<()> {
    // The first one does exactly as the example says.
    let (namespace, port) = match index {
        0 => ("default".to_owned(), 30080),
        _ => (
            format!("v1-{}", kubectl.minor),
            30080 + u16::try_from(index)?,
        ),
    };
    let minor = kubectl.minor;
    let shell = Shell::new(cluster, kubectl, &namespace);
    if index > 0 {
        shell.run(&format!("create namespace {namespace}"))?;
    }
    let tag = |part: &str| format!("  1.{minor} {part}");
    let yaml = hello_yaml(port)?;
    step(&tag("apply"), || apply(&shell, &yaml))?;
    step(&tag("get"), || get(&shell))?;
    step(&tag("describe"), || describe(&shell))?;
    step(&tag("services"), || services(&shell, port))?;
    step(&tag("logs"), || logs(&shell))?;
    step(&tag("exec"), || exec(&shell))?;
    step(&tag("scale"), || scale(&shell))?;
    step(&tag("rollout"), || rollout(&shell))?;
    step(&tag("delete"), || delete(&shell, &yaml, port))
}

fn apply(shell: &Shell<'_>, yaml: &str) -> Result<()> {
    let created = shell.apply(yaml)?;
    for object in [
        "configmap/hello",
        "secret/hello",
        "deployment.apps/hello",
        "service/hello",
        "service/hello-nodeport",
    ] {
        ensure!(
            created.contains(&format!("{object} created")),
            "{object}: {created}"
        );
    }
    shell.says(
        "rollout status deployment/hello --timeout=60s",
        &["deployment \"hello\" successfully rolled out"],
    )?;
    let again = shell.apply(yaml)?;
    // kubectl always sends `stringData`, which is never there to compare with; the server then changes nothing.
    let unchanged = |line: &str| line.ends_with(" unchanged") || line == "secret/hello configured";
    ensure!(again.lines().all(unchanged), "applied again: {again}");
    Ok(())
}

fn get(shell: &Shell<'_>) -> Result<()> {
    let deployment = shell.run("get deployment hello")?;
    let row: Vec<&str> = deployment
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    ensure!(
        row.get(..4) == Some(&["hello", "3/3", "3", "3"]),
        "{deployment}"
    );
    let pods = shell.run("get pods -l app=hello -o wide")?;
    let running = pods
        .lines()
        .filter(|line| line.contains(" 1/1 ") && line.contains(" Running "))
        .count();
    ensure!(
        running == 3 && pods.contains("10.42.") && pods.contains(" node "),
        "{pods}"
    );
    shell.says(
        "get all",
        &[
            "pod/hello-",
            "service/hello ",
            "deployment.apps/hello ",
            "replicaset.apps/hello-",
        ],
    )?;
    shell.says("get service hello-nodeport", &["NodePort", "80:300"])?;
    shell.says(
        "get deployment hello -o yaml",
        &[
            "apiVersion: apps/v1",
            "availableReplicas: 3",
            "progressDeadlineSeconds: 600",
        ],
    )?;
    shell.says("get nodes", &["node", "Ready", "v1.37"])?;
    shell.says("get events", &["Scheduled", "Started"])?;
    shell.says("api-resources --api-group=apps", &["deployments", "deploy"])?;
    shell.says("explain deployment.spec.replicas", &["replicas", "integer"])?;
    Ok(())
}

fn describe(shell: &Shell<'_>) -> Result<()> {
    shell.says(
        "describe deployment hello",
        &[
            "RollingUpdate",
            "3 desired | 3 updated | 3 total | 3 available",
            "ScalingReplicaSet",
            "knarr/hello:latest",
        ],
    )?;
    let pods = shell.wait_ready("app=hello", 3)?;
    shell.says(
        &format!("describe pod {}", name(&pods[0])),
        &[
            "Status:",
            "Running",
            "Controlled By:",
            "ReplicaSet/hello-",
            "Readiness:",
            "QoS Class:",
            "Burstable",
            "Started",
        ],
    )?;
    shell.says(
        "describe service hello",
        &["ClusterIP", "Endpoints:", ":8080", "TargetPort:"],
    )?;
    shell.says(
        "describe configmap hello",
        &["greeting", "Hello from knarr!"],
    )?;
    shell.says("describe secret hello", &["token:", "19 bytes"])?;
    shell.says(
        "describe node node",
        &["KubeletReady", "Allocatable:", "pods:", "PodCIDR"],
    )?;
    Ok(())
}

fn services(shell: &Shell<'_>, port: u16) -> Result<()> {
    let pods = shell.wait_ready("app=hello", 3)?;
    let wanted: BTreeSet<&str> = pods.iter().map(name).collect();
    let address = shell.path("service hello", "{.spec.clusterIP}")?;
    let cluster = shell.cluster;
    let urls = [
        format!("http://{address}/"),
        format!("http://{NODE_IP}:{port}/"),
    ];
    for url in &urls {
        let mut met = BTreeSet::new();
        for _ in 0..REQUESTS {
            let page = cluster.curl(&[url])?;
            ensure!(
                page.starts_with("Hello from knarr!\n") && field(&page, "secret") == "present",
                "{page}"
            );
            met.insert(field(&page, "host").to_owned());
            if met.len() == wanted.len() {
                break;
            }
        }
        ensure!(
            met.iter().map(String::as_str).eq(wanted.iter().copied()),
            "{url}: met {met:?} of {wanted:?}"
        );
    }
    // From another machine.
    let page = cluster.client_curl(&[&urls[1]])?;
    ensure!(wanted.contains(field(&page, "host")), "{page}");
    Ok(())
}

fn logs(shell: &Shell<'_>) -> Result<()> {
    let pods = shell.wait_ready("app=hello", 3)?;
    let pod = name(&pods[0]);
    let first = shell.run(&format!("logs {pod}"))?;
    ensure!(
        first.starts_with("hello: listening on [::]:8080\n"),
        "{first}"
    );
    let line = shell.run(&format!("logs {pod} --tail=1 --timestamps"))?;
    ensure!(
        line.lines().count() == 1 && line.starts_with("20") && line.contains('Z'),
        "{line}"
    );
    shell.says("logs deployment/hello", &["hello: listening"])?;
    shell.says("logs -l app=hello --tail=1 --prefix", &["[pod/hello-"])?;
    Ok(())
}

fn exec(shell: &Shell<'_>) -> Result<()> {
    shell.run("run shell --image=knarr/busybox:latest --image-pull-policy=IfNotPresent --restart=Never -- sleep 3600")?;
    eventually(SOON, "the shell runs", || {
        shell.run("wait --for=condition=Ready pod/shell --timeout=30s")
    })?;
    let sh = |script: &str, input: &str| {
        shell.output(&["exec", "-i", "shell", "--", "sh", "-c", script], input)
    };

    let output = sh("echo out; echo err >&2", "")?;
    ensure!(
        output.stdout == "out\n" && output.stderr.contains("err"),
        "{output}"
    );
    let output = sh("cat; echo end", "a line\n")?;
    ensure!(output.stdout == "a line\nend\n", "{output}");
    let output = sh("exit 7", "")?;
    ensure!(
        output
            .failure(7)?
            .contains("command terminated with exit code 7")
    );

    let address = shell.path("service hello", "{.spec.clusterIP}")?;
    let full = format!("hello.{}.svc.cluster.local", shell.namespace);
    let output = sh(&format!("nslookup {full}"), "")?;
    ensure!(
        output.stdout.contains(&address),
        "{full} is not {address}: {output}"
    );
    for host in ["hello", &full] {
        let output = sh(&format!("wget -q -O - http://{host}/"), "")?;
        ensure!(
            output.stdout.contains("Hello from knarr!"),
            "{host}: {output}"
        );
    }
    // A name that does not exist is answered, not waited for.
    let output = sh("nslookup nothing.default.svc.cluster.local", "")?;
    ensure!(
        output.clone().failure(1).is_ok() && format!("{output}").contains("NXDOMAIN"),
        "{output}"
    );
    shell.run("delete pod shell --grace-period=1")?;
    Ok(())
}

fn scale(shell: &Shell<'_>) -> Result<()> {
    shell.says(
        "scale deployment/hello --replicas=5",
        &["deployment.apps/hello scaled"],
    )?;
    shell.run("rollout status deployment/hello --timeout=60s")?;
    shell.wait_ready("app=hello", 5)?;
    shell.run("scale deployment/hello --replicas=2 --current-replicas=5")?;
    shell.wait_ready("app=hello", 2)?;
    Ok(())
}

fn rollout(shell: &Shell<'_>) -> Result<()> {
    shell.says(
        "set image deployment/hello hello=knarr/hello:v2",
        &["deployment.apps/hello image updated"],
    )?;
    shell.says(
        "rollout status deployment/hello --timeout=60s",
        &["successfully rolled out"],
    )?;
    version_is(shell, "2")?;
    shell.says(
        "rollout history deployment/hello",
        &["REVISION", "1 ", "2 "],
    )?;
    shell.says(
        "rollout undo deployment/hello",
        &["deployment.apps/hello rolled back"],
    )?;
    shell.run("rollout status deployment/hello --timeout=60s")?;
    version_is(shell, "1")
}

/// Every pod is of that version, and the Service leads to such only.
fn version_is(shell: &Shell<'_>, version: &str) -> Result<()> {
    shell.wait_ready("app=hello", 2)?;
    let address = shell.path("service hello", "{.spec.clusterIP}")?;
    for _ in 0..10 {
        let page = shell.cluster.curl(&[&format!("http://{address}/")])?;
        ensure!(
            field(&page, "version") == version,
            "wanted version {version}: {page}"
        );
    }
    Ok(())
}

fn delete(shell: &Shell<'_>, yaml: &str, port: u16) -> Result<()> {
    let deleted = shell.output(&["delete", "-f", "-"], yaml)?.success()?;
    ensure!(
        deleted.contains("deployment.apps \"hello\" deleted"),
        "{deleted}"
    );
    shell.wait_ready("app=hello", 0)?;
    eventually(SOON, "the node port is closed", || {
        match shell.cluster.curl(&[&format!("http://{NODE_IP}:{port}/")]) {
            Ok(page) => bail!("it answers: {page}"),
            Err(_) => Ok(()),
        }
    })?;
    if shell.namespace != "default" {
        shell.run(&format!(
            "delete namespace {} --timeout=60s",
            shell.namespace
        ))?;
    }
    Ok(())
}
