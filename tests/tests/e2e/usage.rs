//! What nodes and pods use: kubectl top, autoscalers on processor time, the kubelet's documents, and whose the metrics API is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options, eventually};
use serde_json::Value;

use crate::support::{SOON, Shell, newest, step, with_cluster, with_running_cluster};

/// A container must be ten seconds old before there is anything to say of it, and an autoscaler looks every fifteen.
const SCALING: Duration = Duration::from_secs(180);
const NODES: &str = "/apis/metrics.k8s.io/v1beta1/nodes";
const API_SERVICE: &str = "apiservice v1beta1.metrics.k8s.io";

/// A tenth of a core, all the time; half of it is asked for.
const BUSY: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: busy
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata:
      labels: {app: busy}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: knarr/busybox:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, 'while true; do :; done']
        resources:
          requests: {cpu: 50m, memory: 8Mi}
          limits: {cpu: 100m, memory: 32Mi}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: busy
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  minReplicas: 1
  maxReplicas: 2
  metrics:
  - type: Resource
    resource:
      name: cpu
      target: {type: Utilization, averageUtilization: 60}
";

#[test]
fn what_is_used_is_told_and_scales() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        step("apply", || shell.apply(BUSY))?;
        step("top", || top(&shell))?;
        step("forms", || forms(&shell))?;
        step("rights", || rights(&shell))?;
        step("the kubelet's documents", || documents(&shell))?;
        step("an autoscaler", || scales(&shell))
    });
}

fn top(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "figures of nodes", || {
        shell.says("top nodes", &["CPU", "MEMORY"])
    })?;
    eventually(SOON, "figures of pods", || {
        shell.says("top pods --selector app=busy", &["busy-"])
    })?;
    shell.says("top pods --containers", &["main"])?;
    let list = raw(
        shell,
        "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods",
    )?;
    let pod = &list["items"][0];
    let memory = pod["containers"][0]["usage"]["memory"].as_str();
    ensure!(memory.is_some_and(|memory| memory != "0"), "{pod}");
    let missing = shell.output(&["get", "--raw", &format!("{NODES}/nobody")], "")?;
    ensure!(missing.failure(1)?.contains("not found"));
    Ok(())
}

/// Tables, selectors, discovery and schemas are those of any API.
fn forms(shell: &Shell<'_>) -> Result<()> {
    shell.says(
        "get nodes.metrics.k8s.io",
        &["NAME", "CPU", "MEMORY", "WINDOW"],
    )?;
    shell.says("get pods.metrics.k8s.io -l app=busy", &["busy-"])?;
    let none = shell.run("get pods.metrics.k8s.io -l app=other -o name")?;
    ensure!(none.trim().is_empty(), "{none}");
    shell.says(
        "api-resources --api-group=metrics.k8s.io",
        &["NodeMetrics", "PodMetrics"],
    )?;
    shell.says(
        "explain podmetrics --api-version=metrics.k8s.io/v1beta1",
        &["containers", "window"],
    )?;
    Ok(())
}

fn rights(shell: &Shell<'_>) -> Result<()> {
    let refused = shell.output(&["get", "--raw", NODES, "--as=ann"], "")?;
    ensure!(refused.failure(1)?.contains("forbidden"));
    shell.run("create rolebinding ann --clusterrole=view --user=ann")?;
    shell.run("get pods.metrics.k8s.io --as=ann")?;
    let refused = shell.output(&["get", "nodes.metrics.k8s.io", "--as=ann"], "")?;
    ensure!(refused.failure(1)?.contains("forbidden"));
    Ok(())
}

fn documents(shell: &Shell<'_>) -> Result<()> {
    let node = shell.path("nodes", "{.items[0].metadata.name}")?;
    let proxy = format!("/api/v1/nodes/{}/proxy", node.trim());
    let summary = raw(shell, &format!("{proxy}/stats/summary"))?;
    let positive = |value: &Value| value.as_u64().is_some_and(|value| value > 0);
    ensure!(
        positive(&summary["node"]["memory"]["workingSetBytes"]),
        "{summary}"
    );
    ensure!(
        positive(&summary["node"]["fs"]["capacityBytes"]),
        "{summary}"
    );
    let pods = summary["pods"].as_array().context("no pods")?;
    let busy = pods.iter().find(|pod| {
        let name = pod["podRef"]["name"].as_str();
        name.is_some_and(|name| name.starts_with("busy-"))
    });
    let busy = busy.context("the pod is not there")?;
    let container = &busy["containers"][0];
    for figure in [
        &busy["cpu"]["usageCoreNanoSeconds"],
        &busy["memory"]["workingSetBytes"],
        &container["cpu"]["usageCoreNanoSeconds"],
        &container["memory"]["rssBytes"],
        &container["rootfs"]["capacityBytes"],
    ] {
        ensure!(positive(figure), "{busy}");
    }
    ensure!(busy["network"]["interfaces"][0]["name"] == "eth0", "{busy}");
    for (path, families) in [
        (
            "metrics/resource",
            &[
                "node_cpu_usage_seconds_total ",
                "pod_memory_working_set_bytes{",
                "resource_scrape_error 0",
            ][..],
        ),
        (
            "metrics/cadvisor",
            &[
                "container_cpu_usage_seconds_total{container=\"main\",cpu=\"total\"",
                "container_network_receive_bytes_total{",
                "machine_memory_bytes ",
            ],
        ),
        ("metrics/probes", &["# TYPE prober_probe_total counter"]),
    ] {
        shell.says(&format!("get --raw {proxy}/{path}"), families)?;
    }
    Ok(())
}

fn scales(shell: &Shell<'_>) -> Result<()> {
    eventually(SCALING, "a second replica", || {
        let replicas = shell.path("deployment busy", "{.spec.replicas}")?;
        let autoscaler = shell.get("hpa busy")?;
        ensure!(replicas.trim() == "2", "{}", autoscaler["status"]);
        Ok(())
    })
}

fn raw(shell: &Shell<'_>, path: &str) -> Result<Value> {
    let text = shell.run(&format!("get --raw {path}"))?;
    serde_json::from_str(&text).with_context(|| text)
}

#[test]
fn the_metrics_api_is_whose_it_is_said_to_be() {
    with_cluster(Options::default(), |cluster| {
        cluster.up()?;
        step("ours", || ours(&shell(cluster)?))?;
        step("somebody's", || taken(&shell(cluster)?))?;
        cluster.stop()?;
        cluster.up()?;
        step("still somebody's", || {
            let service = shell(cluster)?.path(API_SERVICE, "{.spec.service.name}")?;
            ensure!(service.trim() == "metrics-server", "{service}");
            shell(cluster)?
                .run(&format!("delete {API_SERVICE}"))
                .map(drop)
        })?;
        cluster.stop()?;
        cluster.up()?;
        step("ours again", || ours(&shell(cluster)?))?;
        cluster.stop()?;
        cluster.add_flag("--metrics-api=false".to_owned());
        cluster.up()?;
        step("nobody's", || {
            let shell = shell(cluster)?;
            eventually(SOON, "no APIService", || {
                let gone = shell.output(&["get", "apiservice", "v1beta1.metrics.k8s.io"], "")?;
                ensure!(gone.failure(1)?.contains("not found"));
                Ok(())
            })?;
            let gone = shell.output(&["get", "--raw", NODES], "")?;
            ensure!(
                gone.failure(1)?
                    .contains("could not find the requested resource")
            );
            Ok(())
        })
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn ours(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the metrics API", || {
        raw(shell, NODES)?;
        shell.says(&format!("get {API_SERVICE}"), &["Local", "True"])
    })?;
    Ok(())
}

/// A manifest that names a Service takes the group-version, although nobody is behind it yet.
fn taken(shell: &Shell<'_>) -> Result<()> {
    shell.apply(
        "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v1beta1.metrics.k8s.io}\nspec:\n  \
         service: {name: metrics-server, namespace: kube-system}\n  group: metrics.k8s.io\n  version: v1beta1\n  \
         insecureSkipTLSVerify: true\n  groupPriorityMinimum: 100\n  versionPriority: 100\n",
    )?;
    eventually(SOON, "its absence", || {
        let refused = shell.output(&["get", "--raw", NODES], "")?.failure(1)?;
        ensure!(
            refused.contains("unavailable") || refused.contains("unable to handle"),
            "{refused}"
        );
        Ok(())
    })
}
