//! What a pod costs in memory: on a control plane whose nodes are elsewhere, and on the node that runs it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    http::{Endpoint, delete},
    load::{self, Plan},
    process::{self, Memory},
    rows::{
        Effort, Measured, pods,
        start::{ABSENT, wait},
    },
    seed,
    stats::number,
    target::{self, Target},
};

/// Pods bound to a node that nobody runs, so that only the control plane has them.
const ELSEWHERE: u64 = 20_000;
const ELSEWHERE_QUICK: u64 = 500;
/// Pods on the cluster's own node.
const RUNNING: u32 = 20;
const RUNNING_QUICK: u32 = 3;
const CREATE_TIME: Duration = Duration::from_secs(60);
/// For informers to have seen the last pod, and for what was freed to be given back.
const SETTLE: Duration = Duration::from_secs(3);
/// After which nothing is kept that nobody reads: what a pod costs a cluster at rest.
const REST: Duration = Duration::from_secs(30);
const NODE: &str = "elsewhere";

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let Some(cluster) = &target.cluster else {
        bail!(ABSENT)
    };
    let mut measured = Measured::default();
    let all = || {
        let mut sum = Memory::default();
        for pid in process::members(cluster.pid(), cluster.namespace.path()) {
            sum += process::memory(pid);
        }
        sum
    };
    target.block_on(|| pods::await_node(&target.endpoint))?;

    let namespace = target.block_on(|| seed::create_namespace(&target.endpoint, "memory"))?;
    wait(SETTLE)?;
    let count = effort.pick(RUNNING, RUNNING_QUICK);
    // One future: the connection of the watch lives as long as its runtime.
    let (before, running) = target.block_on(|| async {
        let before = all();
        let (endpoint, pods) = (&target.endpoint, count as usize);
        let (_, events) = pods::start(endpoint, &namespace, pods, &target.image).await?;
        tokio::time::sleep(SETTLE).await;
        let running = all();
        pods::remove(endpoint, &namespace, pods, events).await?;
        Ok((before, running))
    })?;
    let each = growth(before, running) / f64::from(count);
    measured.value("memory-running", each / f64::from(1 << 20));
    measured.note("the memory of a running pod has its shim and its program in it");

    let count = effort.pick(ELSEWHERE, ELSEWHERE_QUICK);
    target.block_on(|| create_node(&target.endpoint))?;
    let before = process::memory(cluster.pid());
    target.block_on(|| bind_elsewhere(&target.endpoint, &namespace, count))?;
    wait(SETTLE)?;
    let busy = process::memory(cluster.pid());
    wait(REST)?;
    let after = process::memory(cluster.pid());
    let each = |memory| growth(before, memory) / count as f64 / f64::from(1 << 10);
    measured.value("memory-pod", each(after));
    measured.value("memory-pod-busy", each(busy));
    measured.note(format!(
        "{count} pods elsewhere: {} MB before, {} MB after",
        number(before.anonymous as f64 / f64::from(1 << 20)),
        number(after.anonymous as f64 / f64::from(1 << 20))
    ));
    target.block_on(|| clean_up(&target.endpoint, &namespace))?;
    Ok(measured)
}

/// Of what is in no file: mapped files come and go with the page cache.
fn growth(before: Memory, after: Memory) -> f64 {
    after.anonymous.saturating_sub(before.anonymous) as f64
}

/// The node that nobody runs.
pub async fn create_node(endpoint: &Endpoint) -> Result<()> {
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE},
        "spec": {"unschedulable": true},
    });
    target::create(endpoint, "/api/v1/nodes", Bytes::from(node.to_string())).await
}

/// Creates so many pods on that node.
pub async fn bind_elsewhere(endpoint: &Endpoint, namespace: &str, count: u64) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let plan = Plan {
        connections: seed::CREATE_CONNECTIONS,
        requests: count,
        time: CREATE_TIME,
    };
    let make = |number| endpoint.request(Method::POST, &path, pod(number));
    let load = load::run(endpoint, plan, StatusCode::CREATED, make).await?;
    ensure!(
        load.done == count,
        "only {} of {count} pods were created within {CREATE_TIME:?}",
        load.done
    );
    Ok(())
}

/// As many fields as pods of workloads usually have.
fn pod(number: u64) -> Bytes {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("web-7d4b9c6f5d-{number:05}"),
            "labels": {"app": "web", "pod-template-hash": "7d4b9c6f5d", "tier": "frontend"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
        },
        "spec": {
            "nodeName": NODE,
            "containers": [{
                "name": "web",
                "image": "registry.example.com/team/web:1.14.2",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [
                    {"name": "LOG_LEVEL", "value": "info"},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                ],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": "256Mi"},
                },
                "readinessProbe": probe,
                "livenessProbe": probe,
            }],
        },
    });
    Bytes::from(object.to_string())
}

/// Deletes these pods, their node and their namespace.
pub async fn clean_up(endpoint: &Endpoint, namespace: &str) -> Result<()> {
    let pods = format!("/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0");
    for path in [pods, format!("/api/v1/nodes/{NODE}")] {
        delete(endpoint, &path).await?;
    }
    seed::delete_namespace(endpoint, namespace).await
}
