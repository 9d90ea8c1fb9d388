use std::{path::Path, sync::Arc};

use knarr_numa::{Cpu, Topology, discover::Found, merge::Nodes};
use serde_json::{Value, json};

use super::*;
use crate::{
    config::Config,
    configuration::{KubeletConfiguration, Reserved, Settings},
    testing::{
        self,
        fake::{Api, Fake},
    },
};

const GI: u64 = 1 << 30;

/// Two NUMA nodes of two CPUs and 4 GiB each.
fn machine() -> Found {
    let cpu = |number: usize| {
        let place = Cpu {
            core: number,
            socket: number / 2,
            node: number / 2,
            cache: number / 2,
        };
        (number, place)
    };
    let memory = || BTreeMap::from([("memory".to_owned(), 4 * GI)]);
    Found {
        topology: Topology::new((0..4).map(cpu).collect()),
        nodes: Nodes {
            numbers: vec![0, 1],
            ..Nodes::default()
        },
        memory: BTreeMap::from([(0, memory()), (1, memory())]),
    }
}

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let own = KubeletConfiguration::with(|own| {
        own.cpu_manager_policy = "static".to_owned();
        own.reserved_system_cpus = "0".to_owned();
        change(own);
    });
    Settings::clone(&own.settings)
}

fn load(settings: &Settings, root: &Path) -> Result<Alignment, String> {
    let kept = Reserved {
        memory_bytes: GI as i64,
        ..settings.reserved()
    };
    Alignment::load(settings, &machine(), kept, root.to_owned())
}

fn with_memory(own: &mut Settings) {
    own.memory_manager_policy = "Static".to_owned();
    own.reserved_memory =
        serde_json::from_value(json!([{ "numaNode": 0, "limits": { "memory": "1Gi" } }])).unwrap();
}

fn pod(uid: &str, cpu: &str, memory: &str) -> Pod {
    let all = json!({ "cpu": cpu, "memory": memory });
    let mut pod = testing::pod(json!({ "containers": [
        { "name": "a", "image": "img:1", "resources": { "limits": all, "requests": all } },
    ] }));
    pod.metadata.uid = Some(uid.to_owned());
    pod
}

fn devices(root: &Path) -> DevicePlugins {
    DevicePlugins::load(root.join("devices"))
}

fn cpuset(own: &Alignment, pod: &Pod) -> (String, String) {
    let mut given = LinuxContainerResources::default();
    own.limit(pod, "a", &mut given);
    (given.cpuset_cpus, given.cpuset_mems)
}

#[tokio::test(flavor = "multi_thread")]
async fn guaranteed_pods_have_whole_cpus_and_the_others_share_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let own = load(&settings(with_memory), root).unwrap();
    let devices = devices(root);
    let large = pod("u1", "2", "1Gi");
    let part = pod("u2", "1500m", "1Gi");
    for pod in [&large, &part] {
        own.admit(pod, &devices).await.unwrap();
    }
    assert_eq!(cpuset(&own, &large), ("2-3".to_owned(), "0".to_owned()));
    assert_eq!(cpuset(&own, &part), ("0-1".to_owned(), "0".to_owned()));
    let mut burstable = testing::pod(json!({ "containers": [{ "name": "a" }] }));
    burstable.metadata.uid = Some("u4".to_owned());
    assert_eq!(cpuset(&own, &burstable), ("0-1".to_owned(), String::new()));
    let told = own.own("u1", "a");
    assert_eq!((told.cpus, told.memory[0].size), (vec![2, 3], GI));
    assert_eq!(own.allocatable().cpus, [1, 2, 3]);
    let rejected = own
        .admit(&pod("u3", "2", "1Gi"), &devices)
        .await
        .unwrap_err();
    assert_eq!(rejected.reason, "UnexpectedAdmissionError");
    let said = "Allocate failed due to not enough cpus available to satisfy request: requested=2, available=1, which is unexpected";
    assert_eq!(rejected.message, said);
    // The next kubelet knows of it, whatever this one had in memory.
    let next = load(&settings(with_memory), root).unwrap();
    assert_eq!(cpuset(&next, &large), ("2-3".to_owned(), "0".to_owned()));
    next.admit(&large, &devices).await.unwrap();
    next.release("u1");
    next.release("u2");
    assert_eq!(next.uids(), Vec::<String>::new());
    assert_eq!(cpuset(&next, &burstable).0, "0-3");
    let again = load(&settings(with_memory), root).unwrap();
    assert_eq!(again.uids(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_apart_is_refused_by_policy() {
    for (policy, scope, reason) in [
        ("best-effort", "container", None),
        ("restricted", "container", None),
        (
            "single-numa-node",
            "container",
            Some("TopologyAffinityError"),
        ),
        ("single-numa-node", "pod", Some("TopologyAffinityError")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let own = settings(|own| {
            own.topology_manager_policy = policy.to_owned();
            own.topology_manager_scope = scope.to_owned();
        });
        let own = load(&own, dir.path()).unwrap();
        let devices = devices(dir.path());
        // No node has three.
        let given = own.admit(&pod("u1", "3", "1Gi"), &devices).await;
        assert_eq!(
            given.err().map(|r| r.reason),
            reason.map(str::to_owned),
            "{policy} {scope}"
        );
        own.release("u1");
        own.admit(&pod("u2", "2", "1Gi"), &devices).await.unwrap();
        assert_eq!(own.own("u2", "a").cpus, [2, 3], "{policy} {scope}");
    }
}

#[test]
fn what_cannot_be_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: fn(&mut Settings)| {
        load(&settings(change), dir.path())
            .err()
            .unwrap_or_default()
    };
    let said = refused(|own| own.reserved_system_cpus = String::new());
    assert!(
        said.contains("requires systemreserved.cpu + kubereserved.cpu to be greater than zero"),
        "{said}"
    );
    let said = refused(|own| own.reserved_system_cpus = "9".to_owned());
    assert!(said.contains("unknown CPU ID: 9"), "{said}");
    let said = refused(|own| own.memory_manager_policy = "Static".to_owned());
    assert!(said.contains("is not equal to the value"), "{said}");
    let said = refused(|own| {
        with_memory(own);
        own.reserved_memory[0].numa_node = 7;
    });
    assert!(
        said.contains("references a NUMA node 7 that does not exist"),
        "{said}"
    );
    load(&settings(|_| ()), dir.path()).unwrap();
    let said = refused(|own| own.cpu_manager_policy = "none".to_owned());
    assert!(
        said.contains("configured policy \"none\" differs from state checkpoint policy \"static\""),
        "{said}"
    );
    std::fs::write(dir.path().join(checkpoint::CPU_FILE), "{").unwrap();
    assert!(refused(|_| ()).contains("checkpoint is corrupted"));
}

#[test]
fn pods_with_cpus_of_their_own_keep_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let own = load(&settings(|_| ()), dir.path()).unwrap();
    let why = own.keeps_from_resizing(&pod("u", "1", "1Gi")).unwrap();
    assert_eq!(
        why,
        "Resize is infeasible for Guaranteed Pods alongside CPU Manager policy \"static\""
    );
    let burstable = testing::pod(json!({ "containers": [{ "name": "a" }] }));
    assert_eq!(own.keeps_from_resizing(&burstable), None);
    assert_eq!(
        Alignment::default().keeps_from_resizing(&pod("u", "1", "1Gi")),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_run_follow_the_shared_cpus() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.serve(&dir.path().join("cri.sock"));
    let labels = |uid: &str, name: &str| {
        [
            (labels_of::POD_UID, uid),
            (labels_of::OWNER_LABEL, ""),
            (labels_of::CONTAINER_NAME, name),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    };
    fake.state(|state| {
        let mut sandbox = testing::sandbox(0, 1);
        sandbox.labels = labels("old", "");
        state.sandboxes.insert(sandbox.id.clone(), sandbox);
        let running = knarr_cri::v1::ContainerState::ContainerRunning;
        let mut container = testing::container("a", 0, running, 1, 0);
        container.labels = labels("old", "a");
        state.containers.insert(container.id.clone(), container);
    });
    let api = Api::new(&pod("old", "1", "1Gi"));
    let ctx = testing::context(api.client(), Config::default(), dir.path()).await;
    let mut ctx = Arc::into_inner(ctx).unwrap();
    ctx.alignment = load(&settings(|_| ()), dir.path()).unwrap();
    ctx.observed.relist().await.unwrap();
    let shown = || {
        let told = |state: &mut testing::fake::State| state.containers["a-0"].resources.clone();
        let told = fake.state(told).and_then(|r| r.linux);
        told.map_or(String::new(), |linux| linux.cpuset_cpus)
    };
    reconcile::once(&ctx).await;
    assert_eq!(shown(), "0-3");
    ctx.alignment
        .admit(&pod("new", "2", "1Gi"), &ctx.devices)
        .await
        .unwrap();
    reconcile::once(&ctx).await;
    assert_eq!(shown(), "0-1");
    // What is as it should be is not touched.
    let updates = |state: &mut testing::fake::State| state.log.len();
    let before = fake.state(updates);
    reconcile::once(&ctx).await;
    assert_eq!(fake.state(updates), before);
    ctx.alignment.release("new");
    reconcile::once(&ctx).await;
    assert_eq!(shown(), "0-3");
}

use crate::labels as labels_of;

#[test]
fn demands_are_whole_cpus_of_guaranteed_pods() {
    let of = |spec: Value| {
        let wanted = demand::of(&testing::pod(spec));
        let shown = wanted.containers.iter().map(|c| (c.cpus, c.memory.len()));
        shown.collect::<Vec<_>>()
    };
    let limits = |cpu: &str| json!({ "limits": { "cpu": cpu, "memory": "1Gi" } });
    assert_eq!(
        of(json!({ "containers": [{ "name": "a", "resources": limits("2") }] })),
        [(2, 1)]
    );
    assert_eq!(
        of(json!({ "containers": [{ "name": "a", "resources": limits("1500m") }] })),
        [(0, 1)]
    );
    let two = json!({ "containers": [{ "name": "a", "resources": limits("2") }, { "name": "b" }] });
    assert_eq!(of(two), [(0, 0), (0, 0)]);
    let whole = json!({
        "resources": limits("2"),
        "containers": [{ "name": "a", "resources": limits("2") }],
    });
    assert_eq!(of(whole), [(0, 0)], "a pod that is sized as a whole shares");
}
