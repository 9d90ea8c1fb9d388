//! DaemonSets, with the scheduler: every node that fits has its pod, of the newest template, and no other node has one.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_client::fake::Rates;
use kube::api::{DeleteParams, Patch, PropagationPolicy};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::{Cluster, create, create_at_last, keep_pods, list, merge_patch, node_of};
use super::controllers::{NODES, add_namespace, add_node, move_to_zone, renew_leases};
use super::seeds;

const NAMES: [&str; 2] = ["agent", "spy"];
const STEPS: usize = 80;
const ZONE: &str = "topology.kubernetes.io/zone";

#[test]
fn every_node_that_fits_has_its_pod() {
    seeds(|cluster, mut random| async move {
        for node in NODES {
            add_node(&cluster, node).await;
            let room = json!({"cpu": "2", "memory": "4Gi", "pods": "100"});
            let status = json!({"status": {"allocatable": room, "capacity": room}});
            let patch = merge_patch(status);
            let nodes = cluster.all::<Node>();
            let patched = nodes.patch_status(node, &Default::default(), &patch).await;
            patched.expect("a status");
        }
        add_namespace(&cluster, "x").await;
        cluster.control();
        cluster.schedule();
        let hands = [
            tokio::spawn(keep_pods(cluster.admin.clone())),
            tokio::spawn(renew_leases(cluster.admin.clone())),
        ];
        cluster.faults.set(Rates::BAD);
        for _ in 0..STEPS {
            step(&cluster, &mut random).await;
            sleep(Duration::from_millis(random.u64(..3000))).await;
        }
        for name in NAMES {
            let sets = cluster.namespaced::<DaemonSet>("x");
            let create = async || create_set(&cluster, &mut random, name).await;
            create_at_last(&sets, name, create).await;
        }
        set_image(&cluster, NAMES[0], "last").await;
        cluster.settles(|| check(&cluster)).await;
        hands.iter().for_each(|hand| hand.abort());
        cluster.token.cancel();
    });
}

fn strategy(random: &mut fastrand::Rng) -> Value {
    let rolling = [
        json!({"maxUnavailable": 1, "maxSurge": 0}),
        json!({"maxUnavailable": "60%", "maxSurge": 0}),
        json!({"maxUnavailable": 0, "maxSurge": 1}),
    ];
    json!({"type": "RollingUpdate", "rollingUpdate": rolling[random.usize(..3)]})
}

async fn create_set(cluster: &Cluster, random: &mut fastrand::Rng, name: &str) {
    let labels = json!({"app": name});
    let set = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "revisionHistoryLimit": 1,
        "updateStrategy": strategy(random), "template": {"metadata": {"labels": labels}, "spec": {
            "nodeSelector": {ZONE: "a"}, "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "first"}]}}}});
    create(&cluster.namespaced::<DaemonSet>("x"), set).await;
}

async fn patch_set(cluster: &Cluster, name: &str, spec: Value) {
    let sets = cluster.namespaced::<DaemonSet>("x");
    let patch = merge_patch(json!({"spec": spec}));
    let _ = sets.patch(name, &Default::default(), &patch).await;
}

async fn set_image(cluster: &Cluster, name: &str, image: &str) {
    let containers = json!([{"name": "c", "image": image}]);
    let template = json!({"template": {"spec": {"containers": containers}}});
    patch_set(cluster, name, template).await;
}

async fn step(cluster: &Cluster, random: &mut fastrand::Rng) {
    let name = NAMES[random.usize(..NAMES.len())];
    match random.u8(..12) {
        0..=2 => create_set(cluster, random, name).await,
        3 | 4 => set_image(cluster, name, &format!("i{}", random.u8(..3))).await,
        5 => patch_set(cluster, name, json!({"updateStrategy": strategy(random)})).await,
        6 | 7 => drop(
            move_to_zone(
                cluster,
                NODES[random.usize(..NODES.len())],
                ["a", "b"][random.usize(..2)],
            )
            .await,
        ),
        8 | 9 => disturb_some_pod(cluster, random).await,
        10 => {
            let node = NODES[random.usize(1..NODES.len())];
            let nodes = cluster.all::<Node>();
            let taint = json!([{"key": "mine", "effect": "NoExecute"}]);
            let taints =
                json!({"spec": {"taints": if random.bool() { taint } else { Value::Null }}});
            let _ = nodes
                .patch(node, &Default::default(), &merge_patch(taints))
                .await;
        }
        _ => {
            let policies = [PropagationPolicy::Background, PropagationPolicy::Foreground];
            let params = DeleteParams {
                propagation_policy: Some(policies[random.usize(..2)].clone()),
                ..DeleteParams::default()
            };
            let sets = cluster.namespaced::<DaemonSet>("x");
            let _ = sets.delete(name, &params).await;
        }
    }
}

/// Deletes a pod, or makes it one that has failed.
async fn disturb_some_pod(cluster: &Cluster, random: &mut fastrand::Rng) {
    let api = cluster.namespaced::<Pod>("x");
    let pods = list(&api).await;
    let names = pods.iter().filter_map(|pod| pod.metadata.name.as_deref());
    let names: Vec<_> = names.filter(|name| *name != "innocent").collect();
    if names.is_empty() {
        return;
    }
    let name = names[random.usize(..names.len())];
    if random.bool() {
        let _ = api.delete(name, &Default::default()).await;
    } else {
        let failed = Patch::Strategic(json!({"status": {"phase": "Failed"}}));
        let _ = api.patch_status(name, &Default::default(), &failed).await;
    }
}

async fn check(cluster: &Cluster) -> Result<(), String> {
    let sets = list(&cluster.namespaced::<DaemonSet>("x")).await;
    let pods = list(&cluster.namespaced::<Pod>("x")).await;
    let mut wanted = Vec::new();
    for node in list(&cluster.all::<Node>()).await {
        let zone = node.metadata.labels.as_ref().and_then(|l| l.get(ZONE));
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let tainted = taints.iter().any(|taint| taint.key == "mine");
        if taints.len() > usize::from(tainted) {
            return Err(format!("a node is alive, and tainted: {taints:?}"));
        }
        if zone.is_some_and(|zone| zone == "a") && !tainted {
            wanted.extend(node.metadata.name);
        }
    }
    wanted.sort();
    let uids: BTreeSet<_> = sets.iter().map(|set| set.metadata.uid.clone()).collect();
    assert_eq!(sets.len(), NAMES.len(), "both were made at last");
    for pod in &pods {
        let owner = pod.metadata.owner_references.iter().flatten().next();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if name != "innocent" && !owner.is_some_and(|o| uids.contains(&Some(o.uid.clone()))) {
            return Err(format!("pod {name} belongs to nobody"));
        }
    }
    for set in &sets {
        check_set(set, &pods, &wanted)?;
        check_revisions(cluster, set).await?;
    }
    Ok(())
}

fn is_of(set: &DaemonSet, meta: &ObjectMeta) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
}

fn check_set(set: &DaemonSet, pods: &[Pod], wanted: &[String]) -> Result<(), String> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let spec = set.spec.clone().unwrap_or_default();
    let image = spec
        .template
        .spec
        .map(|spec| spec.containers[0].image.clone());
    let mut found = Vec::new();
    for pod in pods.iter().filter(|pod| is_of(set, &pod.metadata)) {
        let spec = pod.spec.as_ref().expect("a spec");
        if Some(&spec.containers[0].image) != image.as_ref() {
            return Err(format!("{name} has a pod of an old template"));
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
        found.push((
            node_of(pod).unwrap_or_default().to_owned(),
            phase.unwrap_or_default(),
        ));
    }
    found.sort();
    let running = wanted
        .iter()
        .map(|node| (node.clone(), "Running".to_owned()));
    if found != running.collect::<Vec<_>>() {
        return Err(format!("{name} has {found:?} and wants {wanted:?}"));
    }
    let status = set.status.clone().unwrap_or_default();
    let count = i32::try_from(wanted.len()).expect("few nodes");
    let told = [
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        status.updated_number_scheduled.unwrap_or(0),
        status.number_available.unwrap_or(0),
    ];
    let rest = status.number_misscheduled + status.number_unavailable.unwrap_or(0);
    if told != [count; 5] || rest != 0 || status.observed_generation != set.metadata.generation {
        return Err(format!("{name} wants {count} and tells {status:?}"));
    }
    Ok(())
}

async fn check_revisions(cluster: &Cluster, set: &DaemonSet) -> Result<(), String> {
    let revisions = list(&cluster.namespaced::<ControllerRevision>("x")).await;
    let owned = revisions
        .iter()
        .filter(|revision| is_of(set, &revision.metadata));
    let mut numbers: Vec<_> = owned.map(|revision| revision.revision).collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() != count || !(1..=2).contains(&count) {
        return Err(format!(
            "a set of one old revision has {numbers:?} of {count}"
        ));
    }
    Ok(())
}
