//! The scheduler: every pod that fits somewhere is somewhere, no node has more than it can take, and pods end only for others
//! of a higher priority.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod, ServiceAccount};
use k8s_openapi::api::scheduling::v1::PriorityClass;
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
    if random.u8(..10) > 5 {
        return disturb(cluster, random, &name).await;
    }
    let cpu = format!("{}m", random.u64(1..12) * 100);
    let pod = json!({"metadata": {"name": name}, "spec": {"serviceAccountName": "default",
        "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
    let _ = create(&pods, pod).await;
}

/// A pod goes, or a node opens or closes.
async fn disturb(cluster: &Cluster, random: &mut fastrand::Rng, name: &str) {
    let pods = cluster.namespaced::<Pod>("default");
    match random.u8(..4) {
        // Gone at once, so that the name can be another pod's before anybody has seen it.
        0 | 1 => {
            let at_once = DeleteParams::default().grace_period(0);
            let _ = pods.delete(name, &at_once).await;
        }
        2 => {
            let _ = pods.delete(name, &DeleteParams::default()).await;
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
    check_with(cluster, |_| 0).await
}

/// Every pod that waits would fit nowhere, even if all pods of a lower priority had gone.
async fn check_with(cluster: &Cluster, priority: impl Fn(&Pod) -> i32) -> Result<(), String> {
    let pods = list(&cluster.all::<Pod>()).await;
    let mut open = Vec::new();
    for node in list(&cluster.all::<Node>()).await {
        let name = node.metadata.name.unwrap_or_default();
        let on = |pod: &&Pod| node_of(pod) == Some(name.as_str());
        let used: u64 = pods.iter().filter(on).map(milli_cpu).sum();
        assert!(
            used <= NODE_MILLI_CPU,
            "{name} has {used}m of {NODE_MILLI_CPU}m"
        );
        if node.spec.and_then(|spec| spec.unschedulable) != Some(true) {
            open.push(name);
        }
    }
    for pod in pods.iter().filter(|pod| node_of(pod).is_none()) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let stays = |other: &&Pod| !may_preempt(pod) || priority(other) >= priority(pod);
        let room = open.iter().map(|node| {
            let on = |other: &&Pod| node_of(other) == Some(node.as_str());
            let used: u64 = pods.iter().filter(on).filter(stays).map(milli_cpu).sum();
            NODE_MILLI_CPU - used
        });
        let most = room.max().unwrap_or(0);
        if is_active(pod) && milli_cpu(pod) <= most {
            return Err(format!("{name} waits, though it could have {most}m"));
        }
    }
    Ok(())
}

fn may_preempt(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.preemption_policy.as_deref()) != Some("Never")
}

fn priority_of(pod: &Pod) -> i32 {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.priority)
        .unwrap_or(0)
}

/// Class, priority, and whether its pods preempt.
const CLASSES: [(&str, i32, &str); 4] = [
    ("low", -10, "PreemptLowerPriority"),
    ("middle", 10, "PreemptLowerPriority"),
    ("patient", 1000, "Never"),
    ("high", 1000, "PreemptLowerPriority"),
];

#[test]
fn pods_end_only_for_others_of_a_higher_priority() {
    seeds(|cluster, mut random| async move {
        for n in 0..NODES {
            add_node(&cluster, n).await;
        }
        let account = json!({"metadata": {"name": "default"}});
        let accounts = cluster.namespaced::<ServiceAccount>("default");
        create(&accounts, account).await.expect("an account");
        for (name, value, policy) in CLASSES {
            let class =
                json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": policy});
            create(&cluster.all::<PriorityClass>(), class)
                .await
                .expect("a class");
        }
        cluster.schedule();
        let hands = tokio::spawn(keep_pods(cluster.admin.clone()));
        // Every pod that there ever was, by uid.
        let known = RefCell::new(HashMap::new());
        for n in 0..NODES * 4 {
            add_pod(&cluster, &format!("p{n}"), "low", 500, &known).await;
        }
        cluster.faults.set(Rates {
            lost: 250,
            delay: 250,
            ..Rates::BAD
        });
        for _ in 0..STEPS {
            preempting_step(&cluster, &mut random, &known).await;
            sleep(Duration::from_millis(random.u64(..800))).await;
        }
        // Events do not last.
        let known = known.into_inner();
        let preempted = preemptions(&cluster, &known).await;
        cluster.settles(|| check_with(&cluster, priority_of)).await;
        let preempted = preempted + preemptions(&cluster, &known).await;
        assert!(preempted > 0, "nobody was preempted");
        hands.abort();
        cluster.token.cancel();
    });
}

async fn preempting_step(
    cluster: &Cluster,
    random: &mut fastrand::Rng,
    known: &RefCell<HashMap<String, Pod>>,
) {
    let name = format!("p{}", random.usize(..NAMES));
    if random.u8(..10) > 6 {
        return disturb(cluster, random, &name).await;
    }
    let (class, _, _) = CLASSES[random.usize(..CLASSES.len())];
    let milli_cpu = random.u64(1..16) * 100;
    add_pod(cluster, &name, class, milli_cpu, known).await;
}

async fn add_pod(
    cluster: &Cluster,
    name: &str,
    class: &str,
    milli_cpu: u64,
    known: &RefCell<HashMap<String, Pod>>,
) {
    let pods = cluster.namespaced::<Pod>("default");
    let cpu = format!("{milli_cpu}m");
    let pod = json!({"metadata": {"name": name}, "spec": {"serviceAccountName": "default",
        "automountServiceAccountToken": false, "priorityClassName": class,
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
    if let Some(pod) = create(&pods, pod).await {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        known.borrow_mut().insert(uid, pod);
    }
}

/// How many pods have been ended for others, all of which were more important and may do that.
async fn preemptions(cluster: &Cluster, known: &HashMap<String, Pod>) -> usize {
    let events = list(&cluster.namespaced::<Event>("default")).await;
    let mut count = 0;
    for event in &events {
        if event.reason.as_deref() != Some("Preempted") {
            continue;
        }
        let message = event.message.as_deref().unwrap_or_default();
        let words: Vec<&str> = message.split(' ').collect();
        let ["Preempted", "by", "pod", uid, "on", "node", _] = words.as_slice() else {
            panic!("{message}");
        };
        let victim = event.involved_object.uid.as_deref().unwrap_or_default();
        let victim = priority_of(known.get(victim).expect("a pod of a class"));
        let preemptor = known.get(*uid).expect("a pod of a class");
        assert!(
            victim < priority_of(preemptor) && may_preempt(preemptor),
            "{victim} < {}: {message}",
            priority_of(preemptor)
        );
        count += 1;
    }
    count
}
