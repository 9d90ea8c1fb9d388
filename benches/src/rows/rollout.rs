//! Rollouts: what each pod of a Deployment costs that gets another template, in writes, and whether it costs more among many.
//!
//! Pods are those of `knarr sim nodes`, which become ready at once and end at once, with the writes that a kubelet makes. A write is
//! a revision of the store.

use std::{
    process::Child,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::{
    cluster::{self, Cluster},
    http::{Endpoint, create, delete, merge},
    rows::{
        Effort, Measured,
        scheduler::{nodes::close, remove_events},
        start::{ABSENT, wait},
    },
    seed,
    stats::number,
    target::Target,
};

const PODS: [u64; 2] = [500, 5_000];
const PODS_QUICK: [u64; 2] = [20, 100];
/// With room for the pods that are more than wanted meanwhile.
const NODES: u64 = 60;
const NODES_QUICK: u64 = 3;
/// For the simulated nodes to have registered, and for each step of a rollout.
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// For the last writes about pods that are gone.
const SETTLE: Duration = Duration::from_secs(1);
const NODE_NAME: &str = "rollout";

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let Some(cluster) = &target.cluster else {
        bail!(ABSENT)
    };
    let endpoint = &target.endpoint;
    let namespace = target.block_on(|| seed::create_namespace(endpoint, "rollout"))?;
    target.block_on(|| close(endpoint, true))?;
    let rolled = roll_both(target, cluster, &namespace, effort);
    target.block_on(|| async {
        close(endpoint, false).await?;
        remove_events(endpoint, &namespace).await?;
        seed::delete_namespace(endpoint, &namespace).await
    })?;
    let [few, many] = rolled?;
    let [_, pods] = effort.pick(PODS, PODS_QUICK);
    let mut measured = Measured::default();
    measured.value("rollout", many.time.as_secs_f64());
    measured.value("rollout-writes", many.writes);
    measured.value("rollout-growth", many.writes / few.writes);
    measured.note(format!(
        "rollout: from the change of the template until {pods} pods have it and are available; writes with those of scheduler, \
         simulated kubelets and events, {} a pod among few",
        number(few.writes)
    ));
    Ok(measured)
}

/// What a rollout took.
struct Rolled {
    time: Duration,
    /// For each pod.
    writes: f64,
}

fn roll_both(
    target: &Target,
    cluster: &Cluster,
    namespace: &str,
    effort: Effort,
) -> Result<[Rolled; 2]> {
    let nodes = effort.pick(NODES, NODES_QUICK);
    let sim = Sim::start(cluster, nodes)?;
    target.block_on(|| sim.await_nodes(&target.endpoint, nodes))?;
    let [few, many] = effort.pick(PODS, PODS_QUICK);
    Ok([
        roll(target, namespace, few)?,
        roll(target, namespace, many)?,
    ])
}

/// Rolls a Deployment of so many pods, and deletes it.
fn roll(target: &Target, namespace: &str, pods: u64) -> Result<Rolled> {
    let endpoint = &target.endpoint;
    let all = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let one = format!("{all}/web");
    let before = target.block_on(|| async {
        create(endpoint, &all, deployment(pods)).await?;
        await_rolled(endpoint, &one, 1, pods).await?;
        revision(endpoint, namespace).await
    })?;
    let time = target.block_on(|| async {
        let template = json!({"metadata": {"annotations": {"rolled": "once"}}});
        let change = json!({"spec": {"template": template}});
        let started = Instant::now();
        merge(endpoint, &one, &change).await?;
        await_rolled(endpoint, &one, 2, pods).await?;
        let time = started.elapsed();
        await_pods(endpoint, namespace, pods).await?;
        Ok(time)
    })?;
    wait(SETTLE)?;
    let after = target.block_on(|| async {
        let after = revision(endpoint, namespace).await?;
        delete(endpoint, &format!("{one}?propagationPolicy=Background")).await?;
        await_pods(endpoint, namespace, 0).await?;
        Ok(after)
    })?;
    let writes = after.saturating_sub(before) as f64 / pods as f64;
    Ok(Rolled { time, writes })
}

/// Until all pods of a generation are available, and no others are wanted.
async fn await_rolled(endpoint: &Endpoint, path: &str, generation: u64, pods: u64) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let mut connection = endpoint.connect().await?;
    loop {
        let request = endpoint.request(Method::GET, path, Bytes::new())?;
        let (_, body) = connection.call(request).await?;
        let deployment: Value = serde_json::from_slice(&body).context("a Deployment")?;
        let status = &deployment["status"];
        let are = |field: &str| status[field] == pods;
        let seen = status["observedGeneration"].as_u64() >= Some(generation);
        if seen && are("updatedReplicas") && are("replicas") && are("availableReplicas") {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the Deployment of {pods} pods is at {status} after {TIMEOUT:?}"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Until the namespace has so many pods, with those that are about to end.
async fn await_pods(endpoint: &Endpoint, namespace: &str, pods: u64) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let path = format!("/api/v1/namespaces/{namespace}/pods?limit=1");
        let list = endpoint.get(&path).await?;
        let shown = list["items"].as_array().map_or(0, Vec::len) as u64;
        let more = list["metadata"]["remainingItemCount"].as_u64();
        let there = shown + more.unwrap_or(0);
        if there == pods {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "there are {there} pods where {pods} are to be, after {TIMEOUT:?}"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// How many writes the store has seen.
async fn revision(endpoint: &Endpoint, namespace: &str) -> Result<u64> {
    let path = format!("{}?limit=1", seed::config_maps(namespace));
    let list = endpoint.get(&path).await?;
    let revision = list["metadata"]["resourceVersion"].as_str();
    let revision = revision.and_then(|text| text.parse().ok());
    revision.context("no revision")
}

fn deployment(pods: u64) -> Bytes {
    let labels = json!({"app": "web"});
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{
                    "name": "web",
                    "image": "registry.example.com/team/web:1.14.2",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                }]},
            },
        },
    });
    Bytes::from(object.to_string())
}

/// `knarr sim nodes`, which takes its nodes with it.
struct Sim(Child);

impl Sim {
    fn start(cluster: &Cluster, nodes: u64) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig().to_string_lossy().into_owned();
        let child = cluster.spawn(&[
            "sim",
            "nodes",
            &nodes.to_string(),
            "--name",
            NODE_NAME,
            "--purge",
            "--start-latency",
            "1ms",
            "--stop-latency",
            "1ms",
            "--kubeconfig",
            &kubeconfig,
        ])?;
        Ok(Self(child))
    }

    async fn await_nodes(&self, endpoint: &Endpoint, count: u64) -> Result<()> {
        let label = knarr_client::SIMULATED_LABEL;
        let path = format!("/api/v1/nodes?labelSelector={label}%3D{NODE_NAME}");
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let list = endpoint.get(&path).await?;
            let open = |node: &&Value| node["spec"]["taints"].is_null();
            let nodes = list["items"].as_array().context("no list of nodes")?;
            if nodes.iter().filter(open).count() as u64 == count {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "not all of {count} simulated nodes were there within {TIMEOUT:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if let Err(error) = cluster::end(&mut self.0) {
            eprintln!("the simulated nodes could not be ended: {error:#}");
        }
    }
}
