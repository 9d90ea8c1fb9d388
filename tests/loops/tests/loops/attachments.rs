//! Volumes of a driver: one that a single node may have is never on two, and is never taken from a node that has mounted it; in the
//! end each is where its pod is, and nowhere else.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount,
};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use knarr_client::fake::Rates;
use knarr_meta::clock;
use kube::Client;
use kube::api::{Api, DeleteParams, PatchParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::{Cluster, create, keep_pods, list, merge_patch, node_of};
use super::seeds;

const NAMESPACE: &str = "x";
const NODES: [&str; 3] = ["a", "b", "c"];
const VOLUMES: usize = 4;
const STEPS: usize = 60;
const LEASES: &str = "kube-node-lease";
const TICK: Duration = Duration::from_millis(900);

#[test]
fn volumes_follow_their_pods() {
    seeds(|cluster, mut random| async move {
        prepare(&cluster).await;
        let pods = tokio::spawn(keep_pods(cluster.admin.clone()));
        let hands = Hands::new(cluster.admin.clone(), random.fork());
        let hands = tokio::spawn(hands.work());
        let mut token = cluster.token.child_token();
        cluster.control_until(token.clone());
        cluster.faults.set(Rates::BAD);
        for n in 0..STEPS {
            step(&cluster, &mut random).await;
            sleep(Duration::from_millis(random.u64(..4000))).await;
            if n % 15 == 14 {
                token.cancel();
                sleep(Duration::from_secs(random.u64(..8))).await;
                token = cluster.token.child_token();
                cluster.control_until(token.clone());
            }
        }
        leave_one_each(&cluster).await;
        cluster.settles(|| check(&cluster)).await;
        assert!(!hands.is_finished(), "what the hands saw was wrong");
        hands.abort();
        pods.abort();
        cluster.token.cancel();
    });
}

fn unique_name(volume: &str) -> String {
    format!("kubernetes.io/csi/d.example^h-{volume}")
}

async fn prepare(cluster: &Cluster) {
    for name in [NAMESPACE, LEASES] {
        create(
            &cluster.all::<Namespace>(),
            json!({"metadata": {"name": name}}),
        )
        .await;
    }
    let account = json!({"metadata": {"name": "default"}});
    create(&cluster.namespaced::<ServiceAccount>(NAMESPACE), account).await;
    for name in NODES {
        create(&cluster.all::<Node>(), json!({"metadata": {"name": name}})).await;
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let patched = cluster
            .all::<Node>()
            .patch_status(name, &PatchParams::default(), &merge_patch(ready))
            .await;
        patched.expect("a node is ready");
    }
    for n in 0..VOLUMES {
        let (volume, claim) = (format!("v{n}"), format!("c{n}"));
        let claims = cluster.namespaced::<PersistentVolumeClaim>(NAMESPACE);
        let storage = json!({"storage": "1Gi"});
        let wanted = json!({
            "metadata": {"name": claim},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": volume,
                "resources": {"requests": storage},
            },
        });
        create(&claims, wanted).await;
        let made = json!({
            "metadata": {"name": volume},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": storage,
                "csi": {"driver": "d.example", "volumeHandle": format!("h-{volume}")},
                "claimRef": {"namespace": NAMESPACE, "name": claim},
            },
        });
        create(&cluster.all::<PersistentVolume>(), made).await;
    }
}

/// A pod comes to a node with one of the claims, or one goes.
async fn step(cluster: &Cluster, random: &mut fastrand::Rng) {
    let pods = cluster.namespaced::<Pod>(NAMESPACE);
    let name = format!("p{}", random.usize(..8));
    if random.u8(..5) < 2 {
        let _ = pods.delete(&name, &DeleteParams::default()).await;
        return;
    }
    let claim = format!("c{}", random.usize(..VOLUMES));
    let node = NODES[random.usize(..NODES.len())];
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
        },
    });
    create(&pods, pod).await;
}

/// The volume that a pod uses.
fn volume_of(pod: &Pod) -> Option<String> {
    let volume = pod.spec.as_ref()?.volumes.as_ref()?.first()?;
    let claim = &volume.persistent_volume_claim.as_ref()?.claim_name;
    Some(claim.replacen('c', "v", 1))
}

async fn leave_one_each(cluster: &Cluster) {
    let pods = cluster.namespaced::<Pod>(NAMESPACE);
    let mut seen = HashSet::new();
    for pod in list(&pods).await {
        let going = pod.metadata.deletion_timestamp.is_some();
        if !going && seen.insert(volume_of(&pod)) {
            continue;
        }
        let name = pod.metadata.name.unwrap_or_default();
        let _ = pods.delete(&name, &DeleteParams::default()).await;
    }
}

async fn check(cluster: &Cluster) -> Result<(), String> {
    let pods = list(&cluster.namespaced::<Pod>(NAMESPACE)).await;
    let mut wanted: Vec<(String, String)> = (pods.iter())
        .filter_map(|pod| Some((node_of(pod)?.to_owned(), volume_of(pod)?)))
        .collect();
    wanted.sort();
    let mut there = Vec::new();
    for attachment in list(&cluster.all::<VolumeAttachment>()).await {
        let status = attachment.status.unwrap_or_default();
        let source = attachment.spec.source.persistent_volume_name;
        if !status.attached || attachment.metadata.deletion_timestamp.is_some() {
            return Err(format!("{:?} is on its way", attachment.metadata.name));
        }
        there.push((attachment.spec.node_name, source.unwrap_or_default()));
    }
    there.sort();
    if there != wanted {
        return Err(format!("attached are {there:?}, wanted {wanted:?}"));
    }
    for node in list(&cluster.all::<Node>()).await {
        let name = node.metadata.name.unwrap_or_default();
        let status = node.status.unwrap_or_default();
        let reported = status.volumes_attached.unwrap_or_default();
        let reported: Vec<String> = reported.into_iter().map(|one| one.name).collect();
        let here = wanted.iter().filter(|(node, _)| *node == name);
        let here: Vec<String> = here.map(|(_, volume)| unique_name(volume)).collect();
        if reported != here {
            return Err(format!("{name} is told of {reported:?}, not of {here:?}"));
        }
    }
    Ok(())
}

/// An external-attacher, and the kubelets of all nodes.
struct Hands {
    admin: Client,
    random: fastrand::Rng,
    /// Node and volume.
    mounted: HashSet<(String, String)>,
}

impl Hands {
    fn new(admin: Client, random: fastrand::Rng) -> Self {
        Self {
            admin,
            random,
            mounted: HashSet::new(),
        }
    }

    async fn work(mut self) {
        loop {
            self.attach().await;
            for node in NODES {
                self.heartbeat(node).await;
                self.mount(node).await;
            }
            sleep(TICK).await;
        }
    }

    /// Does what attachments say, if not at once, and looks that it may be done.
    async fn attach(&mut self) {
        let api: Api<VolumeAttachment> = Api::all(self.admin.clone());
        let all = list(&api).await;
        for attachment in &all {
            if self.random.bool() {
                continue;
            }
            let name = attachment.metadata.name.clone().unwrap_or_default();
            let node = attachment.spec.node_name.clone();
            let source = attachment.spec.source.persistent_volume_name.clone();
            let volume = source.unwrap_or_default();
            let params = PatchParams::default();
            if attachment.metadata.deletion_timestamp.is_some() {
                let held = self.mounted.contains(&(node.clone(), volume.clone()));
                assert!(
                    !held,
                    "{volume} is detached from {node}, where it is mounted"
                );
                let free = json!({"metadata": {"finalizers": null}});
                let _ = api.patch(&name, &params, &merge_patch(free)).await;
                continue;
            }
            let others = all.iter().filter(|other| {
                let same = other.spec.source == attachment.spec.source;
                same && other.spec.node_name != node
            });
            let others: Vec<_> = others.map(|other| &other.spec.node_name).collect();
            assert!(
                others.is_empty(),
                "{volume} is for {node} and for {others:?}"
            );
            if attachment.status.as_ref().is_some_and(|s| s.attached) {
                continue;
            }
            let hold = json!({"metadata": {"finalizers": ["example.com/attacher"]}});
            let _ = api.patch(&name, &params, &merge_patch(hold)).await;
            let done = json!({"status": {"attached": true}});
            let _ = api.patch_status(&name, &params, &merge_patch(done)).await;
        }
    }

    async fn heartbeat(&self, node: &str) {
        let api: Api<Lease> = Api::namespaced(self.admin.clone(), LEASES);
        let spec = json!({"renewTime": format!("{:.6}", clock::now())});
        create(&api, json!({"metadata": {"name": node}, "spec": spec})).await;
        let patch = merge_patch(json!({"spec": spec}));
        let renewed = api.patch(node, &PatchParams::default(), &patch).await;
        renewed.expect("a lease is renewed");
    }

    /// Says what is about to be mounted, and mounts what is attached all the same. What no pod uses any more is unmounted before
    /// that is said.
    async fn mount(&mut self, name: &str) {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let pods = list(&pods).await;
        let here = pods.iter().filter(|pod| node_of(pod) == Some(name));
        let wanted: HashSet<String> = here.filter_map(volume_of).collect();
        self.mounted
            .retain(|(node, volume)| node != name || wanted.contains(volume));
        let in_use: Vec<Value> = wanted.iter().map(|v| json!(unique_name(v))).collect();
        let api: Api<Node> = Api::all(self.admin.clone());
        let patch = merge_patch(json!({"status": {"volumesInUse": in_use}}));
        let patched = api
            .patch_status(name, &PatchParams::default(), &patch)
            .await;
        let status = patched.expect("a node's status").status.unwrap_or_default();
        let attached = status.volumes_attached.unwrap_or_default();
        for volume in wanted {
            let told = unique_name(&volume);
            if attached.iter().any(|one| one.name == told) {
                self.mounted.insert((name.to_owned(), volume));
            }
        }
    }
}
