//! What objects cost in memory, in the server and in each of its readers: bytes that are allocated, counted, so that neither
//! an allocator's mood nor the machine is in the figures.
//!
//! The figures are printed (`--no-capture`). The limits are those of the design; a debug build counts as much as any other.

#![allow(clippy::print_stdout)]
// Counting needs an allocator of its own, which is the system's with two numbers beside it.
#![allow(unsafe_code)]

mod counting;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use knarr_apiserver::{Config, LocalService, Server};
use knarr_auth::UserInfo;
use knarr_client::throttle::Throttle;
use knarr_client::{Clients, Informers};
use knarr_store::Memory;
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use counting::allocated;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const PODS: usize = 4_000;
/// Of a pod that runs elsewhere.
const POD_BYTES: usize = 12 << 10;
const CONFIG_MAPS: usize = 16_000;
/// What readers may have left of each that was created and deleted. (The store of these tests keeps all history.)
const GONE_BYTES: usize = 128;
/// Requests at once.
const AT_ONCE: usize = 64;
/// After which nothing is kept decoded that nobody reads.
const REST: Duration = Duration::from_secs(60);

struct LocalClients(LocalService);

impl Clients for LocalClients {
    fn as_user(&self, name: &str, groups: &[&str]) -> Client {
        let user = UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        };
        Client::new(Throttle::new(self.0.with_user(user)), "default")
    }
}

struct Cluster {
    clients: Arc<LocalClients>,
    admin: Client,
    token: CancellationToken,
    _server: Server,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config::on_loopback(dir.path().join("pki"));
        let server = Server::new(config, Arc::new(Memory::default()))
            .await
            .expect("a server");
        let clients = Arc::new(LocalClients(server.client_service(UserInfo::default())));
        Self {
            admin: clients.as_user("admin", &["system:masters"]),
            clients,
            token: CancellationToken::new(),
            _server: server,
            _dir: dir,
        }
    }

    fn control(&self) {
        let reader = self
            .clients
            .as_user("system:kube-controller-manager", &["system:authenticated"]);
        let config = knarr_controllers::Config {
            root_ca_pem: "a certificate".to_owned(),
            ..knarr_controllers::Config::default()
        };
        let informers = Informers::new(reader, self.token.clone());
        let clients = self.clients.clone();
        let controllers = knarr_controllers::Controllers::new(config, clients, informers);
        tokio::spawn(controllers.run(self.token.clone()));
    }

    fn schedule(&self) {
        let client = self
            .clients
            .as_user("system:kube-scheduler", &["system:authenticated"]);
        let informers = Informers::new(client.clone(), self.token.clone());
        let config = knarr_scheduler::Config::default();
        let scheduler = knarr_scheduler::Scheduler::new(config, client, &informers);
        tokio::spawn(scheduler.run(self.token.clone()));
    }

    async fn create<K>(&self, api: &Api<K>, object: Value)
    where
        K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let object = serde_json::from_value(object).expect("an object");
        api.create(&PostParams::default(), &object)
            .await
            .expect("created");
    }

    async fn create_all<K>(&self, namespace: &str, count: usize, make: fn(usize) -> Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.admin.clone(), namespace);
        stream::iter(0..count)
            .for_each_concurrent(AT_ONCE, |number| self.create(&api, make(number)))
            .await;
    }
}

/// As many fields as pods of workloads usually have.
fn pod(number: usize) -> Value {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("web-7d4b9c6f5d-{number:05}"),
            "labels": {"app": "web", "pod-template-hash": "7d4b9c6f5d", "tier": "frontend"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
        },
        "spec": {
            "nodeName": "elsewhere",
            "containers": [{
                "name": "web",
                "image": "registry.example.com/team/web:1.14.2",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [
                    {"name": "LOG_LEVEL", "value": "info"},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                ],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": "256Mi"},
                },
                "readinessProbe": probe, "livenessProbe": probe,
            }],
        },
    })
}

fn config_map(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("map-{number:06}")},
        "data": {"key": "v".repeat(512)},
    })
}

/// What the readers of a server cost a pod.
#[derive(Clone, Copy)]
struct Readers {
    name: &'static str,
    controllers: bool,
    scheduler: bool,
}

async fn bytes_of_a_pod(readers: Readers) -> usize {
    let cluster = Cluster::start().await;
    if readers.controllers {
        cluster.control();
    }
    if readers.scheduler {
        cluster.schedule();
    }
    let node = json!({"metadata": {"name": "elsewhere"}, "spec": {"unschedulable": true}});
    let nodes: Api<Node> = Api::all(cluster.admin.clone());
    cluster.create(&nodes, node).await;
    let namespaces: Api<Namespace> = Api::all(cluster.admin.clone());
    let namespace = json!({"metadata": {"name": "memory"}});
    cluster.create(&namespaces, namespace).await;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(cluster.admin.clone(), "memory");
    if accounts.get_opt("default").await.expect("a look").is_none() {
        // Nobody may be there to make it, or be late.
        let account = json!({"metadata": {"name": "default"}});
        let account = serde_json::from_value(account).expect("an account");
        let _ = accounts.create(&PostParams::default(), &account).await;
    }
    sleep(REST).await;
    let before = allocated();
    cluster.create_all::<Pod>("memory", PODS, pod).await;
    sleep(Duration::from_secs(1)).await;
    let awake = allocated().saturating_sub(before) / PODS;
    sleep(REST).await;
    let each = allocated().saturating_sub(before) / PODS;
    println!(
        "{:<28} {each:>6} bytes a pod, {awake:>6} before what nobody reads is forgotten",
        readers.name
    );
    cluster.token.cancel();
    each
}

/// On a runtime of its own, whose end frees everything.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(work)
}

/// One test: what others allocate meanwhile would be counted.
#[test]
fn objects_cost_little_and_leave_little() {
    let readers = [
        ("the server", false, false),
        ("the server and controllers", true, false),
        ("the server and scheduler", false, true),
        ("all", true, true),
    ];
    for (name, controllers, scheduler) in readers {
        let each = run(bytes_of_a_pod(Readers {
            name,
            controllers,
            scheduler,
        }));
        assert!(each < POD_BYTES, "{name}: {each} bytes a pod");
    }
    let server = run(left_of_config_maps("the server", false));
    let left = run(left_of_config_maps("all", true)).saturating_sub(server);
    assert!(left < GONE_BYTES, "{left} bytes of each that is gone");
}

async fn left_of_config_maps(name: &str, readers: bool) -> usize {
    let cluster = Cluster::start().await;
    if readers {
        cluster.control();
        cluster.schedule();
    }
    sleep(REST).await;
    let before = allocated();
    cluster
        .create_all::<ConfigMap>("default", CONFIG_MAPS, config_map)
        .await;
    sleep(Duration::from_secs(1)).await;
    let there = allocated().saturating_sub(before) / CONFIG_MAPS;
    let api: Api<ConfigMap> = Api::namespaced(cluster.admin.clone(), "default");
    stream::iter(0..CONFIG_MAPS)
        .for_each_concurrent(AT_ONCE, |number| {
            let api = api.clone();
            async move {
                let name = format!("map-{number:06}");
                let deleted = api.delete(&name, &DeleteParams::default()).await;
                deleted.expect("deleted");
            }
        })
        .await;
    sleep(REST).await;
    let left = allocated().saturating_sub(before) / CONFIG_MAPS;
    println!("{name:<28} {there:>6} bytes a ConfigMap, {left:>6} when it is gone");
    cluster.token.cancel();
    left
}
