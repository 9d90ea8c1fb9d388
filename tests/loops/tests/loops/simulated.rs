//! Simulated nodes, with scheduler and controllers: whatever is lost in between, pods run where they are said to, each at an address of
//! its own, and nothing is left on its way out.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_client::Clients;
use knarr_client::fake::Rates;
use knarr_sim::{Config, Latency, STOPPED_ANNOTATION, Share, Sim};
use kube::api::{DeleteParams, PatchParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::{Cluster, create, list, merge_patch, node_of};
use super::seeds;

const NAMESPACE: &str = "x";
const NODES: u32 = 4;
const STEPS: usize = 60;
const APPS: [&str; 3] = ["a", "b", "c"];

fn config(seed: u64) -> Config {
    let latency = |text: &str| text.parse::<Latency>().expect("a latency");
    let amount = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
    Config {
        name: "sim".to_owned(),
        count: NODES,
        version: "v1.37.0".to_owned(),
        zones: 2,
        labels: Default::default(),
        taints: Vec::new(),
        capacity: [
            amount("cpu", "8"),
            amount("memory", "8Gi"),
            amount("pods", "20"),
        ]
        .into(),
        node_range: "198.18.0.0/16".parse().expect("a range"),
        pod_range: "198.19.0.0/16".parse().expect("a range"),
        start: latency("100ms..5s"),
        stop: latency("100ms..2s"),
        job: latency("1s..20s"),
        not_ready: Share::NONE,
        failing: Share::NONE,
        outages: Share::NONE,
        outage: latency("1m"),
        seed,
    }
}

#[test]
fn pods_of_simulated_nodes_are_as_asked_for() {
    seeds(|cluster, mut random| async move {
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        create(&cluster.all::<Namespace>(), namespace).await;
        let account = json!({"metadata": {"name": "default"}});
        create(&cluster.namespaced::<ServiceAccount>(NAMESPACE), account).await;
        cluster.control();
        cluster.schedule();
        let clients = cluster.clients.clone();
        let client = move || clients.as_user("sim", &["system:masters"]);
        let sim = Sim::new(config(random.u64(..)), client).expect("addresses");
        let watcher = sim.watcher();
        tokio::spawn(sim.run(cluster.token.clone()));
        cluster.faults.set(Rates::BAD);
        for _ in 0..STEPS {
            step(&cluster, &mut random).await;
            sleep(Duration::from_millis(random.u64(..4000))).await;
        }
        for node in 1..=NODES {
            stop(&cluster, node, Value::Null).await;
        }
        cluster.settles(|| check(&cluster)).await;
        let figures = watcher.figures();
        assert_eq!((figures.registered, figures.down), (NODES, 0));
        assert!(figures.leases > u64::from(NODES) * 10, "{figures:?}");
        cluster.token.cancel();
    });
}

fn template(app: &str, policy: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"automountServiceAccountToken": false, "restartPolicy": policy,
        "terminationGracePeriodSeconds": 2, "containers": [{"name": "c", "image": "i"}]}})
}

async fn stop(cluster: &Cluster, node: u32, said: Value) {
    let patch = merge_patch(json!({"metadata": {"annotations": {STOPPED_ANNOTATION: said}}}));
    let nodes = cluster.all::<Node>();
    // It may not be there yet.
    let _ = nodes
        .patch(&format!("sim-{node}"), &PatchParams::default(), &patch)
        .await;
}

async fn step(cluster: &Cluster, random: &mut fastrand::Rng) {
    let deployments = cluster.namespaced::<Deployment>(NAMESPACE);
    let app = APPS[random.usize(..APPS.len())];
    match random.u8(..10) {
        0..=3 => {
            let replicas = random.u8(..8);
            let deployment = json!({"metadata": {"name": app}, "spec": {"replicas": replicas,
                "selector": {"matchLabels": {"app": app}}, "template": template(app, "Always")}});
            if create(&deployments, deployment).await.is_none() {
                let patch = merge_patch(json!({"spec": {"replicas": replicas}}));
                let _ = deployments
                    .patch(app, &PatchParams::default(), &patch)
                    .await;
            }
        }
        4 | 5 => {
            let name = format!("j{}", random.u8(..5));
            let job = json!({"metadata": {"name": name}, "spec": {"completions": random.u8(1..4), "backoffLimit": 1000,
                "template": template(&name, "Never")}});
            create(&cluster.namespaced::<Job>(NAMESPACE), job).await;
        }
        6 | 7 => {
            let pods = cluster.namespaced::<Pod>(NAMESPACE);
            let all = list(&pods).await;
            if !all.is_empty() {
                let victim = all[random.usize(..all.len())].metadata.name.clone();
                let victim = victim.unwrap_or_default();
                let _ = pods.delete(&victim, &DeleteParams::default()).await;
            }
        }
        _ => {
            let said = if random.bool() {
                json!("true")
            } else {
                Value::Null
            };
            stop(cluster, random.u32(1..=NODES), said).await;
        }
    }
}

fn holds(conditions: &Value, kind: &str) -> bool {
    let mut conditions = conditions.as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == kind && c["status"] == "True")
}

fn tree(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

async fn check(cluster: &Cluster) -> Result<(), String> {
    let nodes = list(&cluster.all::<Node>()).await;
    for node in &nodes {
        if !holds(&tree(node)["status"]["conditions"], "Ready") {
            return Err(format!("{:?} is not ready", node.metadata.name));
        }
    }
    if nodes.len() != usize::try_from(NODES).unwrap_or(0) {
        return Err(format!("{} nodes", nodes.len()));
    }
    for deployment in list(&cluster.namespaced::<Deployment>(NAMESPACE)).await {
        let (spec, status) = (
            deployment.spec.unwrap_or_default(),
            deployment.status.unwrap_or_default(),
        );
        if status.ready_replicas.unwrap_or(0) != spec.replicas.unwrap_or(1) {
            return Err(format!("{:?}: {status:?}", deployment.metadata.name));
        }
    }
    for job in list(&cluster.namespaced::<Job>(NAMESPACE)).await {
        if !holds(&tree(&job)["status"]["conditions"], "Complete") {
            return Err(format!("job {:?} is not complete", job.metadata.name));
        }
    }
    let mut addresses = HashSet::new();
    for pod in list(&cluster.namespaced::<Pod>(NAMESPACE)).await {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            return Err(format!("{name} does not go"));
        }
        if !node_of(&pod).is_some_and(|node| node.starts_with("sim-")) {
            return Err(format!("{name} is nowhere"));
        }
        match status.phase.as_deref() {
            Some("Running") if status.pod_ip.is_none() => {
                return Err(format!("{name} has no address"));
            }
            Some("Running") if !addresses.insert(status.pod_ip.clone()) => {
                return Err(format!("{name} has another's address {:?}", status.pod_ip));
            }
            Some("Running" | "Succeeded" | "Failed") => {}
            phase => return Err(format!("{name} is {phase:?}")),
        }
    }
    Ok(())
}
