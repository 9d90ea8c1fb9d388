//! Who lives beside an attack: the cluster, its memory, and another's pod.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, eventually};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, name, restarts};

const BYSTANDER: &str = "bystander";
/// Of a pod that nobody attacks.
const NAMESPACE: &str = "neighbours";
/// What memory may have grown by in the end, percent.
const GROWTH_PERCENT: u64 = 20;

/// How they were before.
pub struct Neighbours {
    memory_kib: u64,
    /// Restarts of each pod, by namespace and name.
    restarts: BTreeMap<String, u64>,
}

impl Neighbours {
    /// Starts a bystander, whom nothing is to happen to.
    pub fn settle(shell: &Shell<'_>) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": BYSTANDER, "namespace": NAMESPACE},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "3600"],
                }],
            },
        });
        shell.run(&format!("create namespace {NAMESPACE}"))?;
        eventually(SOON, "pods may be made", || {
            shell.run(&format!("get serviceaccount default -n {NAMESPACE}"))
        })?;
        shell
            .output(&["-n", NAMESPACE, "apply", "-f", "-"], &pod.to_string())?
            .success()?;
        eventually(SOON, "the bystander runs", || {
            let phase = shell.run(&format!(
                "get pod {BYSTANDER} -n {NAMESPACE} -o jsonpath={{.status.phase}}"
            ))?;
            ensure!(phase == "Running", "{phase}");
            Ok(())
        })
    }

    /// Remembers how the cluster and all its pods are now.
    pub fn meet(cluster: &Cluster, shell: &Shell<'_>) -> Result<Self> {
        Ok(Self {
            memory_kib: memory_kib(cluster)?,
            restarts: all_restarts(shell)?,
        })
    }

    /// Ready, no bigger, and nobody's pod but those of the attack was touched.
    pub fn unharmed(&self, cluster: &Cluster, shell: &Shell<'_>) -> Result<()> {
        ensure!(shell.run("get --raw /readyz")? == "ok", "not ready");
        let ready = "{.status.conditions[?(@.type=='Ready')].status}";
        let ready = shell.path("node node", ready)?;
        ensure!(ready == "True", "the node is not ready: {ready}");
        let bystander = format!("{NAMESPACE}/{BYSTANDER}");
        let now = all_restarts(shell)?;
        ensure!(now.get(&bystander) == Some(&0), "the bystander: {now:?}");
        for (pod, before) in &self.restarts {
            // Those of the attack may have gone.
            let after = now.get(pod).unwrap_or(before);
            ensure!(
                after == before,
                "{pod} was restarted: {before} to {after} times"
            );
        }
        let most = self.memory_kib + self.memory_kib * GROWTH_PERCENT / 100;
        eventually(2 * SOON, "memory is given back", || {
            let now = memory_kib(cluster)?;
            ensure!(now <= most, "{now} KiB after {} KiB", self.memory_kib);
            Ok(())
        })
    }
}

/// What the server has of its own. Its program's pages are the page cache's, and come and go.
fn memory_kib(cluster: &Cluster) -> Result<u64> {
    let pid = cluster.pid().context("the cluster runs")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|text| text.split_whitespace().next());
    Ok(number.context("no resident size")?.parse()?)
}

fn all_restarts(shell: &Shell<'_>) -> Result<BTreeMap<String, u64>> {
    let pods: Value = serde_json::from_str(&shell.run("get pods -A -o json")?)?;
    let pods = pods["items"].as_array().context("a list")?;
    let namespace = |pod: &Value| {
        pod["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let of = |pod: &Value| (format!("{}/{}", namespace(pod), name(pod)), restarts(pod));
    Ok(pods.iter().map(of).collect())
}
