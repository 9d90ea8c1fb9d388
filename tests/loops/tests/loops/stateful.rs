//! StatefulSets: each number has one pod, of the newest template, and no other pod is left; never are two of a name there.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use knarr_client::fake::Rates;
use kube::api::{DeleteParams, Patch, PropagationPolicy};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::{Cluster, create, create_at_last, keep_pods, list, merge_patch};
use super::controllers::{NODES, add_namespace, add_node, bind_pods, renew_leases};
use super::seeds;

const NAMES: [&str; 2] = ["db", "queue"];
const STEPS: usize = 80;

#[test]
fn every_number_has_its_pod() {
    seeds(|cluster, mut random| async move {
        for node in NODES {
            add_node(&cluster, node).await;
        }
        add_namespace(&cluster, "x").await;
        cluster.control();
        let hands = [
            tokio::spawn(keep_pods(cluster.admin.clone())),
            tokio::spawn(bind_pods(cluster.admin.clone())),
            tokio::spawn(renew_leases(cluster.admin.clone())),
        ];
        cluster.faults.set(Rates::BAD);
        for _ in 0..STEPS {
            step(&cluster, &mut random).await;
            sleep(Duration::from_millis(random.u64(..3000))).await;
        }
        for name in NAMES {
            let sets = cluster.namespaced::<StatefulSet>("x");
            let create = async || create_set(&cluster, &mut random, name).await;
            create_at_last(&sets, name, create).await;
            patch_set(
                &cluster,
                name,
                json!({"updateStrategy": {"rollingUpdate": {"partition": 0}}}),
            )
            .await;
        }
        set_image(&cluster, NAMES[0], "last").await;
        cluster.settles(|| check(&cluster)).await;
        hands.iter().for_each(|hand| hand.abort());
        cluster.token.cancel();
    });
}

async fn create_set(cluster: &Cluster, random: &mut fastrand::Rng, name: &str) {
    let labels = json!({"app": name});
    let policy = ["OrderedReady", "Parallel"][random.usize(..2)];
    let set = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "revisionHistoryLimit": 1,
        "serviceName": name, "podManagementPolicy": policy, "replicas": random.u8(..5),
        "template": {"metadata": {"labels": labels}, "spec": {"automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "first"}]}}}});
    create(&cluster.namespaced::<StatefulSet>("x"), set).await;
}

async fn patch_set(cluster: &Cluster, name: &str, spec: Value) {
    let sets = cluster.namespaced::<StatefulSet>("x");
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
        3 | 4 => patch_set(cluster, name, json!({"replicas": random.u8(..5)})).await,
        5 | 6 => set_image(cluster, name, &format!("i{}", random.u8(..3))).await,
        7 => {
            let partition = random.u8(..4);
            let rolling = json!({"partition": partition, "maxUnavailable": random.u8(1..3)});
            patch_set(
                cluster,
                name,
                json!({"updateStrategy": {"rollingUpdate": rolling}}),
            )
            .await;
        }
        8 => {
            patch_set(
                cluster,
                name,
                json!({"ordinals": {"start": random.u8(..3)}}),
            )
            .await
        }
        9 | 10 => disturb_some_pod(cluster, random).await,
        _ => {
            let policies = [PropagationPolicy::Background, PropagationPolicy::Foreground];
            let params = DeleteParams {
                propagation_policy: Some(policies[random.usize(..2)].clone()),
                ..DeleteParams::default()
            };
            let sets = cluster.namespaced::<StatefulSet>("x");
            let _ = sets.delete(name, &params).await;
        }
    }
}

/// Deletes a pod, makes it one that has failed, or takes its name from its labels.
async fn disturb_some_pod(cluster: &Cluster, random: &mut fastrand::Rng) {
    let api = cluster.namespaced::<Pod>("x");
    let pods = list(&api).await;
    let names = pods.iter().filter_map(|pod| pod.metadata.name.as_deref());
    let names: Vec<_> = names.filter(|name| *name != "innocent").collect();
    if names.is_empty() {
        return;
    }
    let name = names[random.usize(..names.len())];
    match random.u8(..3) {
        0 => drop(api.delete(name, &Default::default()).await),
        1 => {
            let failed = Patch::Strategic(json!({"status": {"phase": "Failed"}}));
            let _ = api.patch_status(name, &Default::default(), &failed).await;
        }
        _ => {
            let label =
                json!({"metadata": {"labels": {"statefulset.kubernetes.io/pod-name": null}}});
            let _ = api
                .patch(name, &Default::default(), &merge_patch(label))
                .await;
        }
    }
}

async fn check(cluster: &Cluster) -> Result<(), String> {
    let sets = list(&cluster.namespaced::<StatefulSet>("x")).await;
    let pods = list(&cluster.namespaced::<Pod>("x")).await;
    let revisions = list(&cluster.namespaced::<ControllerRevision>("x")).await;
    assert_eq!(sets.len(), NAMES.len(), "both were made at last");
    let mut owned = 0;
    for set in &sets {
        let uid = set.metadata.uid.as_ref();
        let is_of = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            let mut owners = meta.owner_references.iter().flatten();
            owners.any(|owner| Some(&owner.uid) == uid)
        };
        let mine: Vec<&Pod> = pods.iter().filter(|pod| is_of(&pod.metadata)).collect();
        owned += mine.len();
        check_set(set, &mine)?;
        let kept = revisions.iter().filter(|r| is_of(&r.metadata)).count();
        if !(1..=2).contains(&kept) {
            return Err(format!("a set of one old revision has {kept}"));
        }
    }
    if owned + 1 != pods.len() {
        return Err(format!("{owned} of {} pods have a set", pods.len()));
    }
    Ok(())
}

fn check_set(set: &StatefulSet, pods: &[&Pod]) -> Result<(), String> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let spec = set.spec.clone().unwrap_or_default();
    let count = spec.replicas.unwrap_or(1);
    let start = spec.ordinals.and_then(|o| o.start).unwrap_or(0);
    let template = spec.template.spec.expect("a template");
    let mut wanted: Vec<String> = (start..start + count)
        .map(|n| format!("{name}-{n}"))
        .collect();
    wanted.sort();
    let mut found = Vec::new();
    for pod in pods {
        let pod_name = pod.metadata.name.clone().unwrap_or_default();
        let image = pod.spec.as_ref().map(|spec| &spec.containers[0].image);
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let label = labels.get("statefulset.kubernetes.io/pod-name");
        if image != Some(&template.containers[0].image) {
            return Err(format!("{pod_name} is of an old template"));
        }
        if phase != Some("Running") || label != Some(&pod_name) {
            return Err(format!("{pod_name} is {phase:?} and named {label:?}"));
        }
        found.push(pod_name);
    }
    found.sort();
    if found != wanted {
        return Err(format!("{name} has {found:?} and wants {wanted:?}"));
    }
    let status = set.status.clone().unwrap_or_default();
    let told = [
        Some(status.replicas),
        status.ready_replicas.or(Some(0)),
        status.available_replicas,
        status.current_replicas.or(Some(0)),
        status.updated_replicas.or(Some(0)),
    ];
    let rolled = status.current_revision == status.update_revision;
    let seen = status.observed_generation == set.metadata.generation;
    if told != [Some(count); 5] || !rolled || !seen {
        return Err(format!("{name} wants {count} and tells {status:?}"));
    }
    Ok(())
}
