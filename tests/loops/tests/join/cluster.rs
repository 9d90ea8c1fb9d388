//! A server that listens, its controllers, and machines that want to be nodes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Secret};
use knarr_apiserver::{Config, LocalService, Server};
use knarr_auth::UserInfo;
use knarr_auth::bootstrap_token::{BootstrapToken, NAMESPACE, SECRET_TYPE, TokenSecret, Usage};
use knarr_auth::pki::Pki;
use knarr_client::{Clients, Informers};
use knarr_controllers::Controllers;
use knarr_join::{CaHash, ClusterSettings, Error, JoinToken, Membership, Options};
use knarr_store::Memory;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Every wait of a test ends after this.
pub const DEADLINE: Duration = Duration::from_secs(60);

struct Local(LocalService);

impl Clients for Local {
    fn as_user(&self, name: &str, groups: &[&str]) -> Client {
        let user = UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        };
        Client::new(self.0.with_user(user), "default")
    }
}

pub struct Cluster {
    pub admin: Client,
    pub pki: Arc<Pki>,
    /// `https://127.0.0.1:port`
    pub server: String,
    dir: tempfile::TempDir,
    _stop: DropGuard,
}

pub fn settings() -> ClusterSettings {
    ClusterSettings {
        cluster_cidr: "10.42.0.0/16".to_owned(),
        service_cidr: "10.43.0.0/16".to_owned(),
        cluster_dns: vec![[10, 43, 0, 10].into()],
        cluster_domain: "cluster.local".to_owned(),
        network_policy: true,
        load_balancer_ranges: String::new(),
    }
}

impl Cluster {
    pub async fn start() -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config {
            node_settings: settings().data(),
            ..Config::on_loopback(dir.path().join("server"))
        };
        let server = Server::new(config, Arc::new(Memory::default()))
            .await
            .expect("a server");
        let clients = Arc::new(Local(server.client_service(UserInfo::default())));
        let (pki, address) = (server.pki().clone(), server.address());
        let token = CancellationToken::new();
        let reader = clients.as_user("system:kube-controller-manager", &["system:authenticated"]);
        let config = knarr_controllers::Config {
            service_cidrs: vec![settings().service_cidr.parse().expect("a range")],
            root_ca_pem: pki.ca_pem().to_owned(),
            signer: Some(pki.signer()),
            server_names: pki.server_names(),
            ..knarr_controllers::Config::default()
        };
        let informers = Informers::new(reader, token.clone());
        let controllers = Controllers::new(config, clients.clone(), informers);
        tokio::spawn(controllers.run(token.clone()));
        tokio::spawn(server.run(token.clone()));
        Cluster {
            admin: clients.as_user("admin", &["system:masters", "system:authenticated"]),
            pki,
            server: format!("https://{address}"),
            dir,
            _stop: token.drop_guard(),
        }
    }

    pub fn hash(&self) -> CaHash {
        CaHash::of_pem(self.pki.ca_pem()).expect("a certificate")
    }

    /// A token that the cluster knows.
    pub async fn token(&self) -> JoinToken {
        let token = BootstrapToken::generate().expect("randomness");
        self.put_token(&token, None).await;
        JoinToken {
            token,
            ca: Some(self.hash()),
        }
    }

    pub async fn put_token(&self, token: &BootstrapToken, expires: Option<&str>) {
        let secret = TokenSecret {
            token: token.clone(),
            expires: expires.map(|time| time.parse().expect("a time")),
            usages: vec![Usage::Authentication, Usage::Signing],
            extra_groups: Vec::new(),
            description: String::new(),
        };
        let secret: Secret = object(json!({
            "metadata": {"name": token.secret_name()},
            "type": SECRET_TYPE,
            "stringData": secret.data(),
        }));
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), NAMESPACE);
        let created = secrets.create(&PostParams::default(), &secret).await;
        created.expect("a secret");
    }

    /// Keys of a machine.
    pub fn machine(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn options(&self, name: &str, address: [u8; 4], token: Option<JoinToken>) -> Options {
        Options {
            servers: vec![self.server.parse().expect("an address")],
            token,
            ca_file: None,
            pki_dir: self.machine(name),
            node_name: name.to_owned(),
            node_ips: vec![IpAddr::from(address)],
            certificate_life: None,
            follows_servers: true,
            foreign: None,
        }
    }

    /// A machine of this name that has joined and registered.
    pub async fn node(&self, name: &str, address: [u8; 4]) -> Membership {
        let token = self.token().await;
        let options = self.options(name, address, Some(token));
        let membership = knarr_join::join(&options).await.expect("a node");
        register(&membership, name, address).await;
        membership
    }
}

/// What a kubelet does first.
pub async fn register(membership: &Membership, name: &str, address: [u8; 4]) {
    let nodes: Api<Node> = Api::all(own(membership, name));
    let node = object(json!({
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": IpAddr::from(address)}]},
    }));
    let created = nodes.create(&PostParams::default(), &node).await;
    created.expect("a Node");
}

/// The node's own client.
pub fn own(membership: &Membership, name: &str) -> Client {
    let user = format!("system:node:{name}");
    membership.clients().as_user(&user, &[])
}

pub fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of this type")
}

/// Why joining failed.
pub async fn refused(options: &Options) -> Error {
    match knarr_join::join(options).await {
        Ok(_) => panic!("{} has joined", options.node_name),
        Err(error) => error,
    }
}

/// The code of a refusal.
pub fn code<T>(result: Result<T, kube::Error>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

/// Asks until it is so.
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !check().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub fn api<K: Resource<DynamicType = ()>>(client: &Client) -> Api<K> {
    Api::all(client.clone())
}
