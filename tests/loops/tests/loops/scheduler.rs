//! The scheduler: every pod that fits somewhere is somewhere, and no node has more than it can take.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use knarr_client::fake::Rates;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{Cluster, create, is_active, keep_pods, list, node_of};
use super::seeds;

const NODES: usize = 5;
const NODE_MILLI_CPU: u64 = 2000;
const STEPS: usize = 160;
const NAMES: usize = 40;

#[test]
fn every_pod_that_fits_has_a_node_and_no_node_too_many_pods() {
    seeds(|cluster, mut random| async move {
        for n in 0..NODES {
            add_node(&cluster, n).await;
        }
        let account = json!({"metadata": {"name": "default"}});
        let accounts = cluster.namespaced::<ServiceAccount>("default");
        create(&accounts, account).await.expect("an account");
        cluster.schedule();
        let hands = tokio::spawn(keep_pods(cluster.admin.clone()));
        // Bindings that are made and not answered, and seen only later: whoever took their room for free would give it away.
        cluster.faults.set(Rates {
            lost: 250,
            delay: 250,
            ..Rates::BAD
        });
        for _ in 0..STEPS {
            step(&cluster, &mut random).await;
            sleep(Duration::from_millis(random.u64(..800))).await;
        }
        cluster.settles(|| check(&cluster)).await;
        hands.abort();
        cluster.token.cancel();
    });
}

async fn add_node(cluster: &Cluster, n: usize) {
    let name = format!("n{n}");
    let room = json!({"cpu": format!("{NODE_MILLI_CPU}m"), "memory": "64Gi", "pods": "100"});
    let nodes = cluster.all::<Node>();
    create(&nodes, json!({"metadata": {"name": name}})).await;
    let status = json!({"status": {"allocatable": room, "capacity": room}});
    let patch = super::cluster::merge_patch(status);
    let patched = nodes.patch_status(&name, &Default::default(), &patch).await;
    patched.expect("a status");
    // New nodes are tainted until somebody has seen that they are ready.
    let ready = super::cluster::merge_patch(json!({"spec": {"taints": null}}));
    let patched = nodes.patch(&name, &Default::default(), &ready).await;
    patched.expect("no taints");
}

async fn step(cluster: &Cluster, random: &mut fastrand::Rng) {
    let pods = cluster.namespaced::<Pod>("default");
    let name = format!("p{}", random.usize(..NAMES));
    match random.u8(..10) {
        0..=5 => {
            let cpu = format!("{}m", random.u64(1..12) * 100);
            let pod = json!({"metadata": {"name": name}, "spec": {"serviceAccountName": "default",
                "automountServiceAccountToken": false,
                "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
            let _ = create(&pods, pod).await;
        }
        // Gone at once, so that the name can be another pod's before anybody has seen it.
        6 | 7 => {
            let _ = pods
                .delete(&name, &DeleteParams::default().grace_period(0))
                .await;
        }
        8 => {
            let _ = pods.delete(&name, &DeleteParams::default()).await;
        }
        _ => {
            let n = random.usize(..NODES);
            let name = format!("n{n}");
            let cordon = json!({"spec": {"unschedulable": random.bool()}});
            let patch = super::cluster::merge_patch(cordon);
            let _ = cluster
                .all::<Node>()
                .patch(&name, &Default::default(), &patch)
                .await;
        }
    }
}

fn milli_cpu(pod: &Pod) -> u64 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requests = containers.filter_map(|c| c.resources.as_ref()?.requests.as_ref()?.get("cpu"));
    requests
        .map(|quantity| match quantity.0.strip_suffix('m') {
            Some(milli) => milli.parse::<u64>().expect("a number"),
            None => quantity.0.parse::<u64>().expect("a number") * 1000,
        })
        .sum()
}

async fn check(cluster: &Cluster) -> Result<(), String> {
    let pods = list(&cluster.all::<Pod>()).await;
    let mut room = Vec::new();
    for node in list(&cluster.all::<Node>()).await {
        let name = node.metadata.name.unwrap_or_default();
        let on = |pod: &&Pod| node_of(pod) == Some(name.as_str());
        let used: u64 = pods.iter().filter(on).map(milli_cpu).sum();
        assert!(
            used <= NODE_MILLI_CPU,
            "{name} has {used}m of {NODE_MILLI_CPU}m"
        );
        let cordoned = node.spec.and_then(|spec| spec.unschedulable) == Some(true);
        room.push(if cordoned { 0 } else { NODE_MILLI_CPU - used });
    }
    let most = room.into_iter().max().unwrap_or(0);
    for pod in pods.iter().filter(|pod| node_of(pod).is_none()) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if is_active(pod) && milli_cpu(pod) <= most {
            return Err(format!("{name} waits, though {most}m are free"));
        }
    }
    Ok(())
}
