//! A node of a cluster as far as the network goes: its table, the ways to other nodes, and one pod.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use k8s_openapi::api::core::v1::Node as ApiNode;
use knarr_client::Informer;
use knarr_cni::{
    InstanceId,
    node::{self, DnsListen, NodeNetwork},
    peers::{Config, Peers, Reach},
};
use knarr_meta::prefix::Prefix;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::kit::{Machine, Place, run, within};

/// Of each family, of which a cluster here has one.
const CLUSTER: [&str; 2] = ["10.42.0.0/16", "fd42::/48"];
const SERVICES: [&str; 2] = ["10.43.0.0/16", "fd43::/112"];
const DNS: DnsListen = DnsListen {
    ipv4: Ipv4Addr::new(169, 254, 20, 10),
    ipv6: Ipv6Addr::new(0xfd6b, 0x6e61, 0x7272, 0, 0, 0, 0, 0xa),
};

fn prefix(of: [&str; 2], family: IpAddr) -> Prefix {
    of[usize::from(family.is_ipv6())].parse().unwrap()
}

/// A node's pods.
fn pods(number: u8, family: IpAddr) -> String {
    match family {
        IpAddr::V4(_) => format!("10.42.{number}.0/24"),
        IpAddr::V6(_) => format!("fd42:0:0:{number:x}::/64"),
    }
}

/// What the API says of the nodes: `10.42.<number>.0/24`, or `fd42:0:0:<number>::/64`, are a node's pods. The first is the oldest.
pub fn api_node(name: &str, number: u8, address: IpAddr) -> ApiNode {
    let pods = pods(number, address);
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z")},
        "spec": {"podCIDR": pods, "podCIDRs": [pods]},
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
        self.place(5)
    }

    pub fn overlay_address(&self) -> IpAddr {
        self.place(0)
    }

    fn place(&self, place: u32) -> IpAddr {
        let pods: Prefix = pods(self.number, self.address).parse().unwrap();
        pods.nth(place).unwrap()
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
        NodeNetwork {
            instance: self.instance,
            data_dir: PathBuf::from("/var/lib/knarr"),
            node_ips: vec![self.address],
            cluster_cidrs: vec![prefix(CLUSTER, self.address)],
            service_cidrs: vec![prefix(SERVICES, self.address)],
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
            "ip link add {link} address ee:ee:ee:ee:ee:ee type veth peer name eth0 address 0a:58:00:00:00:01 netns {thread}"
        ));
        let (gateway, at_once) = match address {
            IpAddr::V4(_) => ("169.254.1.1", ""),
            IpAddr::V6(_) => ("fe80::1", " nodad"),
        };
        let host = Prefix::host(address);
        self.pod
            .ip(&format!("address add {host} dev eth0{at_once}"));
        self.pod.ip("link set eth0 up");
        if address.is_ipv4() {
            self.pod.ip("route add 169.254.1.1 dev eth0 scope link");
        }
        self.pod
            .ip(&format!("route add default via {gateway} dev eth0"));
        self.pod.ip(&format!(
            "neighbour add {gateway} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent"
        ));
        in_node(&format!("ip link set {link} up"));
        in_node(&format!("ip route add {host} dev {link} scope link"));
        in_node(&format!(
            "ip neighbour add {address} lladdr 0a:58:00:00:00:01 dev {link} nud permanent"
        ));
    }

    fn spawn_peers(&self, reach: Reach) -> JoinHandle<()> {
        let config = Config {
            instance: self.instance,
            node_name: self.name.clone(),
            node_ips: vec![self.address],
            cluster_cidrs: vec![prefix(CLUSTER, self.address)],
            service_cidrs: vec![prefix(SERVICES, self.address)],
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
