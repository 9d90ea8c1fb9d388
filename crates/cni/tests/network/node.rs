//! A node of a cluster as far as the network goes: its table, the ways to other nodes, and one pod.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use k8s_openapi::api::core::v1::Node as ApiNode;
use knarr_client::Informer;
use knarr_cni::{
    InstanceId,
    node::{self, NodeNetwork},
    peers::{Config, Peers, Reach},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::kit::{Machine, Place, run, within};

const CLUSTER: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 42, 0, 0), 16);
const SERVICES: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 43, 0, 0), 16);
const DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

/// What the API says of the nodes: `10.42.<number>.0/24` are a node's pods. The first is the oldest.
pub fn api_node(name: &str, number: u8, address: IpAddr) -> ApiNode {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z")},
        "spec": {"podCIDR": format!("10.42.{number}.0/24"), "podCIDRs": [format!("10.42.{number}.0/24")]},
        "status": {"addresses": [{"type": "InternalIP", "address": address.to_string()}]},
    }))
    .unwrap()
}

pub struct Node {
    pub name: String,
    pub path: PathBuf,
    pub address: IpAddr,
    number: u8,
    pub instance: InstanceId,
    pod: Machine,
    pub nodes: Informer<ApiNode>,
    token: CancellationToken,
    peers: Option<JoinHandle<()>>,
}

impl Node {
    /// In a namespace that has the address.
    pub fn start(
        path: &Path,
        (name, number, address): (&str, u8, &str),
        instance: InstanceId,
        reach: Reach,
    ) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            address: address.parse().unwrap(),
            number,
            instance,
            pod: Machine::new(),
            nodes: Informer::new(),
            token: CancellationToken::new(),
            peers: None,
        };
        let network = node.network();
        node.block_on(|| node::prepare(&network)).unwrap();
        node.add_pod();
        node.peers = Some(node.spawn_peers(reach));
        node
    }

    /// As the API tells of it.
    pub fn api(&self) -> ApiNode {
        api_node(&self.name, self.number, self.address)
    }

    /// Its own place, and its pod's.
    pub fn own(&self) -> Place<'_> {
        (&self.path, self.address)
    }

    pub fn pod(&self) -> Place<'_> {
        (&self.pod.path, self.pod_address())
    }

    pub fn pod_address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 42, self.number, 5))
    }

    pub fn overlay_address(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 42, self.number, 0))
    }

    /// The end of its process: what it made stays.
    pub fn stop(&mut self) {
        self.token.cancel();
        if let Some(peers) = self.peers.take() {
            peers.join().unwrap();
        }
    }

    pub fn teardown(&mut self) {
        self.stop();
        run(&self.path, &format!("ip link del {}", self.pod_link()));
        self.block_on(|| node::teardown(&self.instance, DNS))
            .unwrap();
    }

    fn network(&self) -> NodeNetwork {
        let IpAddr::V4(node_ip) = self.address else {
            unreachable!()
        };
        NodeNetwork {
            instance: self.instance,
            data_dir: PathBuf::from("/var/lib/knarr"),
            node_ip,
            cluster_cidr: CLUSTER,
            service_cidr: SERVICES,
            dns_listen: DNS,
        }
    }

    fn block_on<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send) -> T {
        within(&self.path, || runtime().block_on(work()))
    }

    fn pod_link(&self) -> String {
        format!("{}pod", self.instance.link_prefix())
    }

    /// As the plugin makes them.
    fn add_pod(&self) {
        let (link, address) = (self.pod_link(), self.pod_address());
        let thread = self.pod.thread();
        let in_node = |line: &str| run(&self.path, line);
        in_node(&format!(
            "ip link add {link} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {thread}"
        ));
        self.pod.ip(&format!("address add {address}/32 dev eth0"));
        self.pod.ip("link set eth0 up");
        self.pod.ip("route add 169.254.1.1 dev eth0 scope link");
        self.pod.ip("route add default via 169.254.1.1");
        self.pod
            .ip("neighbour add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent");
        in_node(&format!("ip link set {link} up"));
        in_node(&format!("ip route add {address}/32 dev {link} scope link"));
    }

    fn spawn_peers(&self, reach: Reach) -> JoinHandle<()> {
        let config = Config {
            instance: self.instance,
            node_name: self.name.clone(),
            node_ip: self.address,
            cluster_cidr: CLUSTER.into(),
            service_cidr: SERVICES.into(),
            reach,
        };
        let (path, nodes, token) = (self.path.clone(), self.nodes.clone(), self.token.clone());
        thread::spawn(move || {
            within(&path, || {
                runtime().block_on(async {
                    let (client, _server) = knarr_client::fake::client();
                    Peers::with(config, client, nodes).run(token).await;
                });
            });
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// All of them hear of all of them.
pub fn introduce(nodes: &[&Node]) {
    for node in nodes {
        node.nodes
            .replace(nodes.iter().map(|node| node.api()).collect());
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
