//! Quotas and budgets: what their statuses say is what there is, whatever was lost in between.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ResourceQuota, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use knarr_client::fake::Rates;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::{Cluster, create, is_active, keep_pods, list, merge_patch};
use super::seeds;

const NAMESPACE: &str = "x";
const NAMES: usize = 12;
const STEPS: usize = 80;

#[test]
fn statuses_say_what_there_is() {
    seeds(|cluster, mut random| async move {
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        create(&cluster.all::<Namespace>(), namespace).await;
        let account = json!({"metadata": {"name": "default"}});
        create(&cluster.namespaced::<ServiceAccount>(NAMESPACE), account).await;
        let hard = json!({"pods": "6", "requests.cpu": "2", "count/configmaps": "8"});
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
        create(&cluster.namespaced::<ResourceQuota>(NAMESPACE), quota).await;
        let spec = json!({"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}});
        let budget = json!({"metadata": {"name": "b"}, "spec": spec});
        create(
            &cluster.namespaced::<PodDisruptionBudget>(NAMESPACE),
            budget,
        )
        .await;
        let hand = tokio::spawn(keep_pods(cluster.admin.clone()));
        let mut token = cluster.token.child_token();
        cluster.control_until(token.clone());
        cluster.faults.set(Rates::BAD);
        for n in 0..STEPS {
            step(&cluster, &mut random).await;
            sleep(Duration::from_millis(random.u64(..2000))).await;
            if n % 20 == 19 {
                token.cancel();
                sleep(Duration::from_secs(random.u64(..8))).await;
                token = cluster.token.child_token();
                cluster.control_until(token.clone());
            }
        }
        cluster.settles(|| check(&cluster)).await;
        hand.abort();
        cluster.token.cancel();
    });
}

fn pod(name: &str, random: &mut fastrand::Rng) -> Value {
    let cpu = format!("{}m", random.u32(1..6) * 100);
    let mut pod = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
    if random.bool() {
        pod["spec"]["nodeName"] = json!("n");
    }
    pod
}

async fn step(cluster: &Cluster, random: &mut fastrand::Rng) {
    let pods = cluster.namespaced::<Pod>(NAMESPACE);
    let maps = cluster.namespaced::<ConfigMap>(NAMESPACE);
    let name = format!("o{}", random.usize(..NAMES));
    match random.u8(..10) {
        0..=2 => drop(create(&pods, pod(&name, random)).await),
        3 | 4 => drop(pods.delete(&name, &DeleteParams::default()).await),
        5..=7 => drop(create(&maps, json!({"metadata": {"name": name}})).await),
        8 => drop(maps.delete(&name, &DeleteParams::default()).await),
        _ => {
            let quotas = cluster.namespaced::<ResourceQuota>(NAMESPACE);
            let patch = json!({"spec": {"hard": {"pods": random.u8(4..8).to_string()}}});
            let _ = quotas
                .patch("q", &Default::default(), &merge_patch(patch))
                .await;
        }
    }
}

async fn check(cluster: &Cluster) -> Result<(), String> {
    let pods = list(&cluster.namespaced::<Pod>(NAMESPACE)).await;
    if let Some(going) = pods.iter().find(|pod| !is_active(pod)) {
        return Err(format!("pod {:?} does not go", going.metadata.name));
    }
    let cpu: u32 = pods.iter().map(millis).sum();
    let maps = list(&cluster.namespaced::<ConfigMap>(NAMESPACE)).await;
    for quota in list(&cluster.namespaced::<ResourceQuota>(NAMESPACE)).await {
        let status = quota.status.unwrap_or_default();
        let used = status.used.unwrap_or_default();
        for (name, expected) in [
            ("pods", pods.len() * 1000),
            ("requests.cpu", cpu as usize),
            ("count/configmaps", maps.len() * 1000),
        ] {
            let told = used.get(name).map(|q| milli(&q.0));
            if told != Some(expected) {
                return Err(format!("{name}: {told:?} and not {expected} thousandths"));
            }
        }
        if status.hard != quota.spec.and_then(|spec| spec.hard) {
            return Err("the limits are others".to_owned());
        }
    }
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    for budget in list(&cluster.namespaced::<PodDisruptionBudget>(NAMESPACE)).await {
        let status = budget.status.unwrap_or_default();
        let told = (
            status.expected_pods,
            status.current_healthy,
            status.disruptions_allowed,
        );
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let expected = (count(pods.len()), count(ready), (count(ready) - 2).max(0));
        if told != expected {
            return Err(format!("the budget says {told:?} and not {expected:?}"));
        }
    }
    Ok(())
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

fn millis(pod: &Pod) -> u32 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requests = containers.filter_map(|c| c.resources.as_ref()?.requests.as_ref()?.get("cpu"));
    let total: usize = requests.map(|cpu| milli(&cpu.0)).sum();
    u32::try_from(total).unwrap_or(u32::MAX)
}

/// Thousandths of an amount of whole or of thousandths.
fn milli(text: &str) -> usize {
    match text.strip_suffix('m') {
        Some(text) => text.parse().unwrap_or(0),
        None => text.parse::<usize>().unwrap_or(0) * 1000,
    }
}
