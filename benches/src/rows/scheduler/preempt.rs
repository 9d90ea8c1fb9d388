//! Preemption: every node is taken by a pod of no priority, and as many pods come that each need one of them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join;
use serde_json::json;

use super::{
    Placed, create_pods,
    nodes::{CPU, Nodes},
    placed, pod, remove_pods,
    watch::Bound,
};
use crate::{
    http::{Endpoint, create, delete},
    rows::{Effort, Measured},
    seed,
    target::Target,
};

/// Nodes, and victims.
const VICTIMS: u32 = 1_000;
const VICTIMS_QUICK: u32 = 50;
const MEMORY: &str = "500Mi";
const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let endpoint = &target.endpoint;
    let victims = effort.pick(VICTIMS, VICTIMS_QUICK);
    let class = format!("knarr-bench-{}", std::process::id());
    let namespace = target.block_on(|| seed::create_namespace(endpoint, "preempt"))?;
    let nodes = Nodes::new(victims);
    let time = target.block_on(|| async {
        nodes.create(target).await?;
        let body = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": class}, "value": 1_000,
        });
        create(endpoint, CLASSES, Bytes::from(body.to_string())).await?;
        fill(endpoint, &namespace, &nodes, victims.into()).await?;
        run(endpoint, &namespace, &class, victims.into()).await
    });
    target.block_on(|| async {
        remove_pods(endpoint, &namespace).await?;
        nodes.remove(target).await?;
        delete(endpoint, &format!("{CLASSES}/{class}")).await
    })?;
    let mut measured = Measured::default();
    measured.value("preempt", time?.as_secs_f64());
    measured.note(format!(
        "preempt: {victims} nodes, each with one pod that ends at once; from the first POST to the last of {victims} pods bound in \
         their places"
    ));
    Ok(measured)
}

/// Puts a pod on each node that takes all of its CPU.
async fn fill(endpoint: &Endpoint, namespace: &str, nodes: &Nodes, victims: u64) -> Result<()> {
    let mut bound = Bound::open(endpoint, namespace).await?;
    let make = |number: u64| {
        let mut pod = pod(&format!("victim-{number}"), &CPU.to_string(), MEMORY);
        pod["spec"]["nodeName"] = json!(nodes.name_of(number));
        pod
    };
    create_pods(endpoint, namespace, victims, make).await?;
    bound.await_count(victims).await?;
    Ok(())
}

async fn run(endpoint: &Endpoint, namespace: &str, class: &str, count: u64) -> Result<Duration> {
    let mut bound = Bound::open(endpoint, namespace).await?;
    let make = |number: u64| {
        let mut pod = pod(&format!("preemptor-{number}"), &CPU.to_string(), MEMORY);
        pod["spec"]["priorityClassName"] = json!(class);
        pod
    };
    let started = Instant::now();
    let created = create_pods(endpoint, namespace, count, make);
    let (_, last) = try_join(created, bound.await_count(count)).await?;
    let left = placed(endpoint, namespace).await?;
    let is_victim = |pod: &&Placed| pod.metadata.name.starts_with("victim-");
    let victims = left.iter().filter(is_victim).count();
    ensure!(
        victims == 0 && left.iter().all(|pod| !pod.spec.node_name.is_empty()),
        "{victims} victims are left"
    );
    Ok(last.duration_since(started))
}
