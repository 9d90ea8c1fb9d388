//! Simulated nodes: objects that say they are ready. Nobody renews their leases, so that they are believed for less than a minute.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use knarr_client::SIMULATED_LABEL;
use serde_json::{Value, json};

use crate::{
    http::{Endpoint, delete, merge},
    load::{self, Plan},
    seed,
    target::Target,
};

/// What each has, as upstream's measurements of its scheduler have it.
pub const CPU: u32 = 4;
const MEMORY: &str = "32Gi";
const PODS: &str = "110";
/// As clouds have them in a region.
pub const ZONES: u32 = 3;
const CREATE_TIME: Duration = Duration::from_secs(60);
/// For the controllers to have taken the taint away that a new node has.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(200);
const NODES: &str = "/api/v1/nodes";

/// Nodes of one row.
pub struct Nodes {
    name: String,
    count: u32,
}

impl Nodes {
    /// So many, which are not made yet.
    pub fn new(count: u32) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("knarr-bench-{}-{number}", std::process::id()),
            count,
        }
    }

    /// Makes them. The nodes of a cluster of our own are closed meanwhile: their kubelets would start what they get.
    pub async fn create(&self, target: &Target) -> Result<()> {
        if target.cluster.is_some() {
            close(&target.endpoint, true).await?;
        }
        let endpoint = &target.endpoint;
        let plan = Plan {
            connections: seed::CREATE_CONNECTIONS,
            requests: self.count.into(),
            time: CREATE_TIME,
        };
        let now = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let make = |number| {
            let node = Bytes::from(self.node(number, &now).to_string());
            endpoint.request(Method::POST, NODES, node)
        };
        let load = load::run(endpoint, plan, StatusCode::CREATED, make).await?;
        ensure!(
            load.done == u64::from(self.count),
            "only {} of {} nodes were created within {CREATE_TIME:?}",
            load.done,
            self.count
        );
        self.await_ready(endpoint).await
    }

    /// Deletes them, and opens the others.
    pub async fn remove(&self, target: &Target) -> Result<()> {
        delete(&target.endpoint, &self.path()).await?;
        if target.cluster.is_some() {
            close(&target.endpoint, false).await?;
        }
        Ok(())
    }

    pub fn name_of(&self, number: u64) -> String {
        format!("{}-{number}", self.name)
    }

    /// Which of them has this name.
    pub fn number_of(&self, name: &str) -> Option<u32> {
        let number = name.strip_prefix(&self.name)?.strip_prefix('-')?;
        number.parse().ok().filter(|number| *number < self.count)
    }

    fn path(&self) -> String {
        format!("{NODES}?labelSelector={SIMULATED_LABEL}%3D{}", self.name)
    }

    async fn await_ready(&self, endpoint: &Endpoint) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let list = endpoint.get(&self.path()).await?;
            let items = list["items"].as_array().context("no list of nodes")?;
            let tainted = |node: &&Value| !node["spec"]["taints"].is_null();
            let (all, tainted) = (items.len(), items.iter().filter(tainted).count());
            if all == self.count as usize && tainted == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{tainted} of {all} nodes are tainted after {READY_TIMEOUT:?}");
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    fn node(&self, number: u64, now: &str) -> Value {
        let name = self.name_of(number);
        let room = json!({"cpu": CPU.to_string(), "memory": MEMORY, "pods": PODS});
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": "simulated",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            })
        };
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {
                SIMULATED_LABEL: self.name,
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/exclude-from-external-load-balancers": "",
                "topology.kubernetes.io/region": "simulated",
                "topology.kubernetes.io/zone": format!("zone-{}", number % u64::from(ZONES)),
            }},
            "status": {
                "capacity": room,
                "allocatable": room,
                "conditions": [
                    condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                    condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                    condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                    condition("Ready", "True", "KubeletReady"),
                ],
            },
        })
    }
}

/// Closes the nodes that are not simulated to new pods, or opens them.
pub async fn close(endpoint: &Endpoint, closed: bool) -> Result<()> {
    let real = format!("{NODES}?labelSelector=!{SIMULATED_LABEL}");
    let list = endpoint.get(&real).await?;
    for node in list["items"].as_array().context("no list of nodes")? {
        let name = node["metadata"]["name"].as_str().context("no name")?;
        let body = json!({"spec": {"unschedulable": closed}});
        merge(endpoint, &format!("{NODES}/{name}"), &body).await?;
    }
    Ok(())
}
