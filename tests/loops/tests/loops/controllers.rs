//! All controllers at once: whatever users did meanwhile, the end is what the objects ask for, and nobody else's pods were
//! touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_client::fake::Rates;
use knarr_client::lease::NodeLease;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{Cluster, create, is_active, keep_pods, list, merge_patch, node_of};
use super::seeds;

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const APPS: [&str; 3] = ["web", "db", "job"];
pub(super) const NODES: [&str; 4] = ["n0", "n1", "n2", "n3"];
const STEPS: usize = 80;
const LEASE_INTERVAL: Duration = Duration::from_secs(10);

#[test]
fn the_end_is_what_the_objects_ask_for() {
    seeds(|cluster, mut random| async move {
        for node in NODES {
            add_node(&cluster, node).await;
        }
        for namespace in NAMESPACES {
            add_namespace(&cluster, namespace).await;
        }
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
        // Nothing else happens after this: what follows from it does so by itself.
        for node in NODES {
            move_to_zone(&cluster, node, "c").await;
        }
        cluster.settles(|| check(&cluster)).await;
        hands.iter().for_each(|hand| hand.abort());
        cluster.token.cancel();
    });
}

pub(super) async fn add_node(cluster: &Cluster, name: &str) {
    let node = json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "a"}}});
    create(&cluster.all::<Node>(), node).await;
    report_ready(&cluster.all::<Node>(), name).await;
}

async fn report_ready(nodes: &kube::Api<Node>, name: &str) {
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
        "message": "", "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let patch = merge_patch(status);
    let _ = nodes.patch_status(name, &Default::default(), &patch).await;
}

/// A namespace, and in it a pod that nobody owns: it is to outlive all of this.
pub(super) async fn add_namespace(cluster: &Cluster, name: &str) {
    create(
        &cluster.all::<Namespace>(),
        json!({"metadata": {"name": name}}),
    )
    .await;
    let pod = json!({"metadata": {"name": "innocent"}, "spec": {"nodeName": "n0", "serviceAccountName": "default",
        "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
    let account = json!({"metadata": {"name": "default"}});
    create(&cluster.namespaced::<ServiceAccount>(name), account).await;
    create(&cluster.namespaced::<Pod>(name), pod).await;
}

/// What a scheduler does: no more than a node for each pod.
pub(super) async fn bind_pods(admin: kube::Client) {
    let pods: kube::Api<Pod> = kube::Api::all(admin.clone());
    let nodes: kube::Api<Node> = kube::Api::all(admin.clone());
    let mut turn = 0;
    loop {
        sleep(Duration::from_millis(900)).await;
        let nodes = list(&nodes).await;
        for pod in list(&pods).await {
            if node_of(&pod).is_some()
                || pod.metadata.deletion_timestamp.is_some()
                || nodes.is_empty()
            {
                continue;
            }
            turn += 1;
            let node = nodes[turn % nodes.len()].metadata.name.clone();
            let name = pod.metadata.name.unwrap_or_default();
            let namespace = pod.metadata.namespace.unwrap_or_default();
            let api: kube::Api<Pod> = kube::Api::namespaced(admin.clone(), &namespace);
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                "target": {"kind": "Node", "name": node}});
            let bound: Result<serde_json::Value, _> = api
                .create_subresource("binding", &name, &Default::default(), &binding)
                .await;
            let _ = bound;
        }
    }
}

pub(super) async fn renew_leases(admin: kube::Client) {
    loop {
        for node in NODES {
            let _ = NodeLease::new(admin.clone(), node, None).renew().await;
        }
        // One that was held for lost reports.
        let nodes: kube::Api<Node> = kube::Api::all(admin.clone());
        for node in list(&nodes).await {
            let mut conditions = node
                .status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten());
            let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
            if let (false, Some(name)) = (ready, &node.metadata.name) {
                report_ready(&nodes, name).await;
            }
        }
        sleep(LEASE_INTERVAL).await;
    }
}

async fn step(cluster: &Cluster, random: &mut fastrand::Rng) {
    let namespace = NAMESPACES[random.usize(..NAMESPACES.len())];
    let app = APPS[random.usize(..APPS.len())];
    let deployments = cluster.namespaced::<Deployment>(namespace);
    match random.u8(..16) {
        0..=4 => {
            let labels = json!({"app": app});
            let strategy = if app == "job" {
                "Recreate"
            } else {
                "RollingUpdate"
            };
            let deployment = json!({"metadata": {"name": app}, "spec": {
                "replicas": random.u8(..6), "selector": {"matchLabels": labels}, "strategy": {"type": strategy},
                "revisionHistoryLimit": 1,
                "template": {"metadata": {"labels": labels}, "spec": {"automountServiceAccountToken": false,
                    "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}}}});
            create(&deployments, deployment).await;
            let service = json!({"metadata": {"name": app}, "spec": {"selector": labels, "ports": [{"port": 80}]}});
            create(&cluster.namespaced::<Service>(namespace), service).await;
        }
        5 | 6 => {
            let patch = merge_patch(json!({"spec": {"replicas": random.u8(..6)}}));
            let _ = deployments.patch(app, &Default::default(), &patch).await;
        }
        7 | 8 => {
            let image = format!("i{}", random.u8(..3));
            let template = json!({"spec": {"template": {"spec": {"containers": [
                {"name": "c", "image": image, "ports": [{"containerPort": 80}]}]}}}});
            let _ = deployments
                .patch(app, &Default::default(), &merge_patch(template))
                .await;
        }
        9 => {
            let policies = [PropagationPolicy::Background, PropagationPolicy::Foreground];
            let params = DeleteParams {
                propagation_policy: Some(policies[random.usize(..2)].clone()),
                ..DeleteParams::default()
            };
            let _ = deployments.delete(app, &params).await;
        }
        10 | 11 => delete_some_pod(cluster, random, namespace).await,
        12 => claim_foreign_owner(cluster, random).await,
        13 => {
            let _ = cluster
                .namespaced::<Service>(namespace)
                .delete(app, &Default::default())
                .await;
        }
        14 => {
            let name = NODES[random.usize(1..NODES.len())];
            let zone = ["a", "b"][random.usize(..2)];
            let changed = move_to_zone(cluster, name, zone).await;
            match changed && random.bool() {
                true => drop(
                    cluster
                        .all::<Node>()
                        .delete(name, &Default::default())
                        .await,
                ),
                false => add_node(cluster, name).await,
            }
        }
        _ => {
            // The last one goes and comes back with everything in it.
            let _ = cluster
                .all::<Namespace>()
                .delete("z", &Default::default())
                .await;
            sleep(Duration::from_secs(random.u64(..20))).await;
            add_namespace(cluster, "z").await;
        }
    }
}

/// Whether there is such a node.
pub(super) async fn move_to_zone(cluster: &Cluster, node: &str, zone: &str) -> bool {
    let labels = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
    let patch = merge_patch(labels);
    let nodes = cluster.all::<Node>();
    nodes.patch(node, &Default::default(), &patch).await.is_ok()
}

async fn delete_some_pod(cluster: &Cluster, random: &mut fastrand::Rng, namespace: &str) {
    let api = cluster.namespaced::<Pod>(namespace);
    let pods = list(&api).await;
    let pods: Vec<_> = (pods.iter().filter_map(|pod| pod.metadata.name.as_deref()))
        .filter(|name| *name != "innocent")
        .collect();
    if !pods.is_empty() {
        let _ = api
            .delete(pods[random.usize(..pods.len())], &Default::default())
            .await;
    }
}

/// A pod that says that it is controlled by a ReplicaSet of another namespace.
async fn claim_foreign_owner(cluster: &Cluster, random: &mut fastrand::Rng) {
    let sets = list(&cluster.namespaced::<ReplicaSet>("x")).await;
    let Some(set) = sets.first() else { return };
    let pod = json!({"metadata": {"name": format!("liar-{}", random.u16(..)), "labels": {"app": "web"}, "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set.metadata.name, "uid": set.metadata.uid,
            "controller": true}]},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
    create(&cluster.namespaced::<Pod>("y"), pod).await;
}

fn controller(meta: &ObjectMeta) -> Option<(String, String)> {
    let mut owners = meta.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    Some((
        meta.namespace.clone().unwrap_or_default(),
        owner.uid.clone(),
    ))
}

fn identity(meta: &ObjectMeta) -> (String, String) {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    (part(&meta.namespace), part(&meta.uid))
}

fn named(meta: &ObjectMeta) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&meta.namespace), part(&meta.name))
}

async fn check(cluster: &Cluster) -> Result<(), String> {
    let pods = list(&cluster.all::<Pod>()).await;
    check_namespaces(cluster, &pods).await?;
    check_workloads(cluster, &pods).await?;
    check_services(cluster, &pods).await?;
    check_nodes(cluster, &pods).await
}

async fn check_namespaces(cluster: &Cluster, pods: &[Pod]) -> Result<(), String> {
    for namespace in list(&cluster.all::<Namespace>()).await {
        let name = namespace.metadata.name.unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_some() {
            return Err(format!("namespace {name} does not end"));
        }
        let account = cluster
            .namespaced::<ServiceAccount>(&name)
            .get_opt("default")
            .await;
        let root = cluster
            .namespaced::<ConfigMap>(&name)
            .get_opt("kube-root-ca.crt")
            .await;
        if !matches!((account, root), (Ok(Some(_)), Ok(Some(_)))) {
            return Err(format!("namespace {name} lacks what every one has"));
        }
    }
    for namespace in ["x", "y"] {
        let innocent = format!("{namespace}/innocent");
        let there = pods
            .iter()
            .any(|pod| named(&pod.metadata) == innocent && is_active(pod));
        assert!(there, "{innocent} is gone, and had nothing to do with it");
    }
    Ok(())
}

async fn check_workloads(cluster: &Cluster, pods: &[Pod]) -> Result<(), String> {
    let sets = list(&cluster.all::<ReplicaSet>()).await;
    let deployments = list(&cluster.all::<Deployment>()).await;
    let set_ids: BTreeSet<_> = sets.iter().map(|set| identity(&set.metadata)).collect();
    let deployment_ids: BTreeSet<_> = deployments.iter().map(|d| identity(&d.metadata)).collect();
    let mut of_set: BTreeMap<(String, String), i32> = BTreeMap::new();
    for pod in pods {
        let name = named(&pod.metadata);
        if pod.metadata.deletion_timestamp.is_some() {
            return Err(format!("pod {name} does not end"));
        }
        match controller(&pod.metadata) {
            Some(owner) if set_ids.contains(&owner) => {
                *of_set.entry(owner).or_default() += i32::from(is_active(pod))
            }
            Some(owner) => return Err(format!("pod {name} has no owner any more: {owner:?}")),
            None if name.ends_with("/innocent") => {}
            None => return Err(format!("pod {name} belongs to nobody")),
        }
    }
    for set in &sets {
        let (name, wanted) = (
            named(&set.metadata),
            set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1),
        );
        let there = of_set.get(&identity(&set.metadata)).copied().unwrap_or(0);
        let told = set.status.as_ref().map_or(0, |s| s.replicas);
        if (there, told) != (wanted, wanted) {
            return Err(format!(
                "replica set {name} has {there} and tells of {told} of {wanted}"
            ));
        }
        match controller(&set.metadata) {
            Some(owner) if deployment_ids.contains(&owner) => {}
            owner => {
                return Err(format!(
                    "replica set {name} has no owner any more: {owner:?}"
                ));
            }
        }
    }
    for deployment in deployments {
        let name = named(&deployment.metadata);
        let wanted = deployment
            .spec
            .as_ref()
            .and_then(|s| s.replicas)
            .unwrap_or(1);
        let status = deployment.status.unwrap_or_default();
        let told = [
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        ]
        .map(|n| n.unwrap_or(0));
        if told != [wanted; 3] || status.observed_generation != deployment.metadata.generation {
            return Err(format!(
                "deployment {name} wants {wanted} and tells of {told:?}"
            ));
        }
    }
    Ok(())
}

async fn check_services(cluster: &Cluster, pods: &[Pod]) -> Result<(), String> {
    let slices = list(&cluster.all::<EndpointSlice>()).await;
    let endpoints = list(&cluster.all::<Endpoints>()).await;
    let zones: BTreeMap<String, String> = (list(&cluster.all::<Node>()).await.into_iter())
        .filter_map(|node| {
            let zone = node
                .metadata
                .labels?
                .get("topology.kubernetes.io/zone")?
                .clone();
            Some((node.metadata.name?, zone))
        })
        .collect();
    let services = list(&cluster.all::<Service>()).await;
    for service in &services {
        let name = named(&service.metadata);
        let Some(selector) = service.spec.as_ref().and_then(|s| s.selector.as_ref()) else {
            continue;
        };
        let selected = pods.iter().filter(|pod| {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            pod.metadata.namespace == service.metadata.namespace
                && selector
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
                && is_active(pod)
        });
        let wanted: BTreeSet<_> = selected
            .filter_map(|pod| {
                let address = pod.status.as_ref()?.pod_ip.clone()?;
                Some((address, zones.get(node_of(pod)?).cloned()))
            })
            .collect();
        let ours = slices.iter().filter(|slice| {
            let labels = slice.metadata.labels.as_ref();
            slice.metadata.namespace == service.metadata.namespace
                && labels.and_then(|l| l.get("kubernetes.io/service-name"))
                    == service.metadata.name.as_ref()
        });
        let found: Vec<_> = (ours.flat_map(|slice| &slice.endpoints))
            .flat_map(|e| e.addresses.iter().map(|a| (a.clone(), e.zone.clone())))
            .collect();
        if found.len() != wanted.len() || found.iter().any(|endpoint| !wanted.contains(endpoint)) {
            return Err(format!(
                "service {name} has {found:?} of {wanted:?} in slices"
            ));
        }
        let older = endpoints.iter().find(|e| named(&e.metadata) == name);
        let subsets = older.iter().flat_map(|e| e.subsets.iter().flatten());
        let found = subsets.flat_map(|s| s.addresses.iter().flatten()).count();
        if found != wanted.len() {
            return Err(format!(
                "service {name} has {found} of {} endpoints",
                wanted.len()
            ));
        }
    }
    let names: BTreeSet<_> = services.iter().map(|s| named(&s.metadata)).collect();
    for slice in slices {
        let labels = slice.metadata.labels.clone().unwrap_or_default();
        let service = labels
            .get("kubernetes.io/service-name")
            .cloned()
            .unwrap_or_default();
        let namespace = slice.metadata.namespace.clone().unwrap_or_default();
        if !names.contains(&format!("{namespace}/{service}")) {
            return Err(format!("slice {} has no service", named(&slice.metadata)));
        }
    }
    Ok(())
}

async fn check_nodes(cluster: &Cluster, pods: &[Pod]) -> Result<(), String> {
    let mut ranges = BTreeSet::new();
    let nodes = list(&cluster.all::<Node>()).await;
    for node in &nodes {
        let name = node.metadata.name.clone().unwrap_or_default();
        let spec = node.spec.clone().unwrap_or_default();
        let range = spec
            .pod_cidr
            .ok_or_else(|| format!("node {name} has no range"))?;
        assert!(ranges.insert(range.clone()), "{range} is two nodes'");
        let taints = spec.taints.unwrap_or_default();
        if !taints.is_empty() {
            return Err(format!("node {name} is alive, and tainted: {taints:?}"));
        }
    }
    for pod in pods {
        if let Some(node) = node_of(pod)
            && !nodes
                .iter()
                .any(|n| n.metadata.name.as_deref() == Some(node))
        {
            return Err(format!(
                "pod {} is on {node}, which is gone",
                named(&pod.metadata)
            ));
        }
    }
    let leases = list(&cluster.namespaced::<Lease>("kube-node-lease")).await;
    assert_eq!(leases.len(), NODES.len(), "leases are their nodes'");
    Ok(())
}
