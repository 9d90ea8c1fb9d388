//! Simulated nodes: pods run on them as far as anybody can see, those of a node that is lost are moved, jobs end, and nothing stays.

use std::{
    fs::File,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options, eventually, run};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, name, newest, step, with_cluster};

const NODES: usize = 6;
const REPLICAS: usize = 12;
const SELECTOR: &str = "knarr.dev/simulated=sim";
/// A node that says nothing for upstream's 50 seconds is lost; then its pods are deleted and others made.
const LOST: Duration = Duration::from_secs(180);
const REPORT_DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn pods_of_a_lost_node_are_moved() {
    with_cluster(Options::default(), |cluster| {
        step("knarr up", || cluster.up())?;
        let shell = Shell::new(cluster, newest()?, "default");
        let mut sim = step("six nodes", || {
            Sim::start(cluster, &["6", "--start-latency=100ms..500ms", "--purge"])
        })?;
        step("all are Ready", || nodes_ready(&shell, NODES))?;
        step("pods run on all of them", || {
            shell.apply(&deployment().to_string())?;
            let pods = shell.wait_ready("app=web", REPLICAS)?;
            for pod in &pods {
                ensure!(
                    pod["spec"]["nodeName"]
                        .as_str()
                        .is_some_and(|node| node.starts_with("sim-")),
                    "{pod:#}"
                );
                ensure!(
                    pod["status"]["podIP"]
                        .as_str()
                        .is_some_and(|ip| ip.starts_with("198.19.")),
                    "{pod:#}"
                );
            }
            ensure!(on_node(&pods, "sim-3") > 0, "none on sim-3");
            Ok(())
        })?;
        step("a job ends", || {
            shell.apply(&job().to_string())?;
            shell
                .says(
                    "wait --for=condition=Complete --timeout=60s job/work",
                    &["condition met"],
                )
                .map(drop)
        })?;
        step("a report", || report(cluster))?;
        step("a machine is off: its pods are moved", || {
            shell.run("annotate node sim-3 sim.knarr.dev/stopped=true")?;
            moved(&shell)
        })?;
        step("the machine is on again", || {
            shell.run("annotate node sim-3 sim.knarr.dev/stopped-")?;
            nodes_ready(&shell, NODES)?;
            eventually(SOON, "what was left there is gone", || {
                let pods = shell.get("pods -l app=web")?;
                let items = pods["items"].as_array().cloned().unwrap_or_default();
                ensure!(items.len() == REPLICAS, "{} pods", items.len());
                Ok(())
            })
        })?;
        step("the end takes the nodes away", || {
            sim.end()?;
            nodes_ready(&shell, 0)
        })
    });
}

fn nodes_ready(shell: &Shell<'_>, wanted: usize) -> Result<()> {
    eventually(SOON, &format!("{wanted} nodes are Ready"), || {
        let list = shell.get(&format!("nodes -l {SELECTOR}"))?;
        let nodes = list["items"].as_array().cloned().unwrap_or_default();
        let is_ready = |node: &&Value| {
            let conditions = node["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        let ready = nodes.iter().filter(is_ready).count();
        ensure!(
            ready == wanted && nodes.len() == wanted,
            "{ready} of {}",
            nodes.len()
        );
        Ok(())
    })
}

fn on_node(pods: &[Value], node: &str) -> usize {
    pods.iter()
        .filter(|pod| pod["spec"]["nodeName"] == node)
        .count()
}

/// As many as before are ready, none of them on the node.
fn moved(shell: &Shell<'_>) -> Result<()> {
    eventually(LOST, "all pods are elsewhere", || {
        let ready = shell.ready_pods("app=web")?;
        let there = on_node(&ready, "sim-3");
        ensure!(
            there == 0 && ready.len() == REPLICAS,
            "{} ready, {there} of them there",
            ready.len()
        );
        let node = shell.get("node sim-3")?;
        let taints = node["spec"]["taints"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let is_lost = |taint: &Value| {
            taint["key"] == "node.kubernetes.io/unreachable" && taint["effect"] == "NoExecute"
        };
        ensure!(taints.iter().any(is_lost), "{taints:?}");
        Ok(())
    })
}

/// Kept on simulated nodes, and patient for seconds only.
fn deployment() -> Value {
    let tolerations = json!([
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1},
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1},
    ]);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "nodeSelector": {"knarr.dev/simulated": "sim"}, "tolerations": tolerations,
            "containers": [{"name": "main", "image": "nowhere.example.com/nothing:1"}],
        }},
    }})
}

fn job() -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": {
        "completions": 3, "parallelism": 3,
        "template": {"metadata": {"annotations": {"sim.knarr.dev/run-for": "1s"}}, "spec": {
            "restartPolicy": "Never", "nodeSelector": {"knarr.dev/simulated": "sim"},
            "containers": [{"name": "main", "image": "nowhere.example.com/nothing:1"}],
        }},
    }})
}

fn report(cluster: &Cluster) -> Result<()> {
    let mut command = cluster.knarr(&["sim", "report", "--for=3s", "--list-interval=200ms"])?;
    command.arg("--data-dir").arg(cluster.data_dir());
    let said = run(command, REPORT_DEADLINE)?.success()?;
    for wanted in [
        "7 nodes",
        "get a pod",
        "patch a ConfigMap",
        "list all pods",
        "p99",
    ] {
        ensure!(said.contains(wanted), "no {wanted:?} in:\n{said}");
    }
    let maps = Shell::new(cluster, newest()?, "default").get("configmaps")?;
    let items = maps["items"].as_array().cloned().unwrap_or_default();
    let left: Vec<&str> = items
        .iter()
        .map(name)
        .filter(|name| name.starts_with("knarr-sim"))
        .collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// `knarr sim nodes`; ended when dropped.
struct Sim(Child);

impl Sim {
    fn start(cluster: &Cluster, flags: &[&str]) -> Result<Self> {
        let log = cluster.directory().join("sim.log");
        let mut command = cluster.knarr(&["sim", "nodes"])?;
        let process = command
            .args(flags)
            .arg("--data-dir")
            .arg(cluster.data_dir())
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::create(log.with_extension("err"))?)
            .spawn();
        Ok(Self(process.context("cannot start knarr sim")?))
    }

    /// As Ctrl-C does it.
    fn end(&mut self) -> Result<()> {
        let pid = i32::try_from(self.0.id()).context("a process id")?;
        kill(Pid::from_raw(pid), Signal::SIGINT).context("SIGINT")?;
        eventually(SOON, "knarr sim ends", || {
            let status = self.0.try_wait()?.context("it runs")?;
            ensure!(status.success(), "{status}");
            Ok(())
        })
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
