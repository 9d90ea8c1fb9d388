//! The server, clients of it with and without faults, and the hands that a cluster without nodes lacks.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use knarr_apiserver::{Config, LocalService, Server};
use knarr_auth::UserInfo;
use knarr_auth::tokens::SecretTokens;
use knarr_client::fake::{Faults, Rates};
use knarr_client::throttle::Throttle;
use knarr_client::{Clients, Informers};
use knarr_meta::clock;
use knarr_store::Memory;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long the loops may take to put everything right; the longest back-off is 1 000 s.
const DEADLINE: Duration = Duration::from_secs(3 * 3600);
/// How often it is asked whether they have.
const ASK: Duration = Duration::from_secs(20);
/// What is right has to stay so.
const STEADY: Duration = Duration::from_secs(120);
/// How far the time of day lags behind the paused one at most.
const TICK: Duration = Duration::from_secs(1);

/// Clients whose requests meet faults.
pub struct FaultyClients {
    service: LocalService,
    faults: Faults,
}

impl Clients for FaultyClients {
    fn as_user(&self, name: &str, groups: &[&str]) -> Client {
        let user = UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        };
        let service = self.faults.in_front_of(self.service.with_user(user));
        Client::new(Throttle::new(service), "default")
    }
}

pub struct Cluster {
    pub faults: Faults,
    pub clients: Arc<FaultyClients>,
    /// May do everything, and is always served.
    pub admin: Client,
    pub token: CancellationToken,
    server: Server,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub async fn start(seed: u64) -> Cluster {
        tokio::spawn(keep_time());
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config::on_loopback(dir.path().join("pki"));
        let server = Server::new(config, Arc::new(Memory::default()))
            .await
            .expect("a server");
        let faults = Faults::new(seed, Rates::default());
        let service = server.client_service(UserInfo::default());
        let admin = UserInfo {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..UserInfo::default()
        };
        Cluster {
            admin: Client::new(service.with_user(admin), "default"),
            clients: Arc::new(FaultyClients {
                service,
                faults: faults.clone(),
            }),
            faults,
            token: CancellationToken::new(),
            server,
            _dir: dir,
        }
    }

    /// Starts the controllers.
    pub fn control(&self) {
        self.control_until(self.token.clone());
    }

    /// Starts controllers that end with `token`.
    pub fn control_until(&self, token: CancellationToken) {
        let reader = self
            .clients
            .as_user("system:kube-controller-manager", &["system:authenticated"]);
        let informers = Informers::new(reader, token.clone());
        let config = knarr_controllers::Config {
            root_ca_pem: "a certificate".to_owned(),
            ..knarr_controllers::Config::default()
        };
        let controllers =
            knarr_controllers::Controllers::new(config, self.clients.clone(), informers);
        tokio::spawn(controllers.run(token));
    }

    /// Starts the scheduler.
    pub fn schedule(&self) {
        let client = self
            .clients
            .as_user("system:kube-scheduler", &["system:authenticated"]);
        let informers = Informers::new(client.clone(), self.token.clone());
        let config = knarr_scheduler::Config::default();
        let scheduler = knarr_scheduler::Scheduler::new(config, client, &informers);
        tokio::spawn(scheduler.run(self.token.clone()));
    }

    /// Ends the bad time, and waits until `check` finds nothing wrong and goes on to.
    pub async fn settles<F>(&self, check: impl Fn() -> F)
    where
        F: Future<Output = Result<(), String>>,
    {
        self.faults.set(Rates::default());
        let deadline = Instant::now() + DEADLINE;
        while let Err(wrong) = check().await {
            assert!(Instant::now() < deadline, "still wrong: {wrong}");
            sleep(ASK).await;
        }
        sleep(STEADY).await;
        if let Err(wrong) = check().await {
            panic!("was right and is not any more: {wrong}");
        }
    }

    /// What components are told about this cluster.
    pub fn config(&self, selection: knarr_controllers::Selection) -> knarr_controllers::Config {
        let pki = self.server.pki();
        let tokens = SecretTokens::new(pki.service_account_key()).expect("a key");
        knarr_controllers::Config {
            selection,
            service_cidrs: vec!["10.43.0.0/16".parse().expect("a range")],
            root_ca_pem: pki.ca_pem().to_owned(),
            signer: Some(pki.signer()),
            server_names: pki.server_names(),
            token_signer: Some(Arc::new(tokens)),
            service_lb: Some(Default::default()),
            legacy_token_clean_up_period: Duration::from_secs(24 * 3600),
            ..knarr_controllers::Config::default()
        }
    }

    /// The server as this user sees it, without faults.
    pub fn as_user(&self, user: UserInfo) -> LocalService {
        self.server.client_service(user)
    }

    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.admin.clone())
    }

    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), namespace)
    }
}

/// Lets the time of day pass with the paused one: waits that are counted from a timestamp would never end.
async fn keep_time() {
    loop {
        sleep(TICK).await;
        clock::advance(TICK);
    }
}

/// Everything of a kind.
pub async fn list<K>(api: &Api<K>) -> Vec<K>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.list(&ListParams::default())
        .await
        .expect("a list")
        .items
}

/// Creates an object, unless one of its name is there already or its namespace is on its way out.
pub async fn create<K>(api: &Api<K>, object: Value) -> Option<K>
where
    K: Clone + DeserializeOwned + Debug + serde::Serialize,
{
    let wanted = serde_json::from_value(object.clone()).expect("an object");
    match api.create(&PostParams::default(), &wanted).await {
        Ok(created) => Some(created),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => None,
        Err(error) => panic!("{error}: {object}"),
    }
}

/// Has an object created in the end: one of its name that is being deleted has to be gone first.
pub async fn create_at_last<K>(api: &Api<K>, name: &str, mut create: impl AsyncFnMut())
where
    K: Clone + DeserializeOwned + Debug + Resource,
{
    let deadline = Instant::now() + DEADLINE;
    loop {
        create().await;
        let found = api.get(name).await;
        if found.is_ok_and(|found| found.meta().deletion_timestamp.is_none()) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is still being deleted");
        sleep(Duration::from_secs(1)).await;
    }
}

pub fn merge_patch(patch: Value) -> Patch<Value> {
    Patch::Merge(patch)
}

/// Whether a pod counts: neither ended nor on its way out.
pub fn is_active(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// What a kubelet does: bound pods become ready, deleted ones end.
pub async fn keep_pods(admin: Client) {
    let pods: Api<Pod> = Api::all(admin.clone());
    let mut addresses = 0u32;
    loop {
        for pod in list(&pods).await {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            if node_of(&pod).is_none() {
                continue;
            }
            let api: Api<Pod> = Api::namespaced(admin.clone(), &namespace);
            if pod.metadata.deletion_timestamp.is_some() {
                let _ = api
                    .delete(&name, &DeleteParams::default().grace_period(0))
                    .await;
                continue;
            }
            let status = pod.status.unwrap_or_default();
            let mut conditions = status.conditions.iter().flatten();
            if !conditions.any(|c| c.type_ == "Ready" && c.status == "True") {
                let ip = status.pod_ip.unwrap_or_else(|| {
                    addresses += 1;
                    let [_, _, third, fourth] = addresses.to_be_bytes();
                    format!("10.42.{third}.{fourth}")
                });
                let status = json!({"metadata": {"uid": pod.metadata.uid}, "status": {
                    "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                }});
                let patch = Patch::Strategic(status);
                let _ = api
                    .patch_status(&name, &PatchParams::default(), &patch)
                    .await;
            }
        }
        sleep(Duration::from_millis(700)).await;
    }
}
