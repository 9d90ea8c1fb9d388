//! The network's own plugin: what it makes, and that it gives everything back.

use std::{
    fs,
    net::{SocketAddrV6, UdpSocket},
    os::{fd::AsRawFd, unix::fs::symlink},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use knarr_cni::plugin;
use nix::{
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
        socket, sockopt,
    },
    unistd::geteuid,
};
use serde_json::{Value, json};

use crate::kit::{Call, Namespace};

const INSTANCE: &str = "abcdefgh";
/// How long a datagram may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node, and where its plugin keeps things.
pub struct Node {
    dir: tempfile::TempDir,
    program: PathBuf,
    namespace: Namespace,
}

impl Node {
    /// None, with the reason printed, where it is not allowed.
    pub fn new() -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(plugin::NAME);
        symlink(env!("CARGO_BIN_EXE_knarr-cni"), &program).unwrap();
        Some(Self {
            dir,
            program,
            namespace: Namespace::new(),
        })
    }

    fn config(&self) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "pods", "type": plugin::NAME, "instance": INSTANCE,
            "subnet": "10.1.2.0/24", "dataDir": self.dir.path(),
        })
    }

    pub fn call(
        &self,
        verb: &str,
        id: &str,
        pod: Option<&Namespace>,
        more: &Value,
    ) -> (i32, Value) {
        let mut config = self.config();
        if more.get("subnets").is_some() {
            // In its place: what a version of one family has written is read, too.
            config.as_object_mut().unwrap().remove("subnet");
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        Call {
            program: &self.program,
            node: Some(&self.namespace),
            id,
            ifname: "eth0",
            netns: pod.map(|pod| pod.path.as_path()),
        }
        .run(verb, &config)
    }

    pub fn run(&self, line: &str) -> String {
        self.namespace.run(line)
    }

    /// Addresses that are taken.
    fn addresses(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir.path().join("networks/pods")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let of_pods = |name: &String| name.starts_with("10.") || name.starts_with("fd");
        let mut found: Vec<_> = names.filter(of_pods).collect();
        found.sort();
        found
    }

    pub fn links(&self) -> usize {
        self.run("ip -brief link").matches("knarrabcd").count()
    }
}

fn host_port() -> Value {
    json!({"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]}})
}

#[test]
fn what_is_added_is_deleted() {
    let Some(node) = Node::new() else { return };
    let pod = Namespace::new();
    let (code, result) = node.call("ADD", "a", Some(&pod), &json!({}));
    assert_eq!(code, 0, "{result}");
    let address = result["ips"][0]["address"].as_str().unwrap();
    assert_eq!(address, "10.1.2.3/32");
    let link = result["interfaces"][0]["name"].as_str().unwrap();
    let localnet = format!("cat /proc/sys/net/ipv4/conf/{link}/route_localnet");
    assert_eq!(node.run(&localnet), "1\n");
    assert_eq!((node.addresses().len(), node.links()), (1, 1));
    assert_eq!(node.call("DEL", "a", None, &json!({})), (0, Value::Null));
    assert_eq!((node.addresses().len(), node.links()), (0, 0));
}

#[test]
fn a_failed_add_keeps_no_address() {
    let Some(node) = Node::new() else { return };
    let pod = Namespace::new();
    // The node's table, where the port goes, is not there.
    let (code, error) = node.call("ADD", "a", Some(&pod), &host_port());
    assert_eq!((code, &error["code"]), (1, &json!(101)), "{error}");
    assert_eq!((node.addresses().len(), node.links()), (0, 0));
}

/// After a reboot a pod's records are there, but not the node's table.
#[test]
fn an_address_is_freed_although_the_table_is_gone() {
    let Some(node) = Node::new() else { return };
    let pod = Namespace::new();
    let table = format!("knarr-cni-{INSTANCE}");
    node.run(&format!("nft add table ip {table}"));
    for (map, key) in [("hostports", ""), ("hostports-ip", "ipv4_addr . ")] {
        node.run(&format!(
            "nft add map ip {table} {map} {{ type {key}inet_proto . inet_service : ipv4_addr . inet_service; }}"
        ));
    }
    let (code, result) = node.call("ADD", "a", Some(&pod), &host_port());
    assert_eq!(code, 0, "{result}");
    assert!(node.run("nft list ruleset").contains("10.1.2.3 . 8080"));
    node.run(&format!("nft delete table ip {table}"));
    assert_eq!(node.call("DEL", "a", None, &json!({})), (0, Value::Null));
    assert_eq!((node.addresses().len(), node.links()), (0, 0));
    assert!(!node.run("nft list ruleset").contains("8080"));
}

#[test]
fn what_no_sandbox_has_is_collected() {
    let Some(node) = Node::new() else { return };
    let pods = [Namespace::new(), Namespace::new()];
    for (id, pod) in ["a", "b"].into_iter().zip(&pods) {
        let (code, result) = node.call("ADD", id, Some(pod), &json!({}));
        assert_eq!(code, 0, "{result}");
    }
    let torn = node.dir.path().join("networks/pods/10.1.2.77");
    fs::write(&torn, "").unwrap();
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]});
    assert_eq!(node.call("GC", "", None, &valid), (0, Value::Null));
    assert_eq!(
        (node.addresses(), node.links()),
        (vec!["10.1.2.4".to_owned()], 1)
    );
}

fn both() -> Value {
    json!({"subnets": ["10.1.2.0/24", "fd01:0:0:2::/64"]})
}

#[test]
fn a_pod_has_an_address_of_each_family() {
    let Some(node) = Node::new() else { return };
    let pods = [Namespace::new(), Namespace::new()];
    node.run("sysctl -q net.ipv4.ip_forward=1");
    node.run("sysctl -q net.ipv6.conf.all.forwarding=1");
    for (id, pod) in ["a", "b"].into_iter().zip(&pods) {
        let (code, result) = node.call("ADD", id, Some(pod), &both());
        assert_eq!(code, 0, "{result}");
    }
    // At once: nobody is asked whether somebody else has them.
    for (own, other) in [("10.1.2.3", "10.1.2.4"), ("fd01:0:0:2::3", "fd01:0:0:2::4")] {
        let receiver = pods[1].within(|| UdpSocket::bind((other, 0)).unwrap());
        let port = receiver.local_addr().unwrap().port();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = pods[0].within(|| UdpSocket::bind((own, 0)).unwrap());
        sender.send_to(b"hello", (other, port)).unwrap();
        let (_, from) = receiver.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from.ip().to_string(), own);
    }
    let addresses = pods[0].run("ip -6 -oneline address show scope global");
    assert!(addresses.contains("fd01:0:0:2::3/128"), "{addresses}");
    let routes = pods[0].run("ip -6 route");
    assert!(routes.contains("default via fe80::1 dev eth0"), "{routes}");
    assert_eq!(node.addresses().len(), 4);
    for id in ["a", "b"] {
        assert_eq!(node.call("DEL", id, None, &both()), (0, Value::Null));
    }
    assert_eq!((node.addresses().len(), node.links()), (0, 0));
    for odd in [json!([]), json!(["10.1.2.0/24", "10.1.3.0/24"])] {
        let (code, error) = node.call("ADD", "c", Some(&pods[0]), &json!({"subnets": odd}));
        assert_eq!((code, &error["code"]), (1, &json!(7)), "{error}");
    }
}

/// A machine that does not forward IPv6 takes its ways from whoever says that he is a router.
#[test]
fn no_pod_becomes_a_router_of_its_node() {
    for subnets in [json!(["10.1.2.0/24"]), both()["subnets"].clone()] {
        let Some(node) = Node::new() else { return };
        let pod = Namespace::new();
        for links in ["all", "default"] {
            let dad = format!("sysctl -q net.ipv6.conf.{links}.accept_dad=0");
            pod.run(&dad);
            node.run(&dad);
            node.run(&format!("sysctl -q net.ipv6.conf.{links}.accept_ra=2"));
        }
        let (code, result) = node.call("ADD", "a", Some(&pod), &json!({"subnets": subnets}));
        assert_eq!(code, 0, "{result}");
        let link = result["interfaces"][0]["name"].as_str().unwrap();
        let hardware = result["interfaces"][0]["mac"].as_str().unwrap();
        pod.run(&format!(
            "ip neighbour replace fe80::ecee:eeff:feee:eeee lladdr {hardware} dev eth0"
        ));
        // Links have addresses of their own once the other end is seen to be up, which takes the kernel a second at most.
        let (start, mut ways) = (Instant::now(), String::new());
        while ways.is_empty() && start.elapsed() < Duration::from_secs(2) {
            pod.within(|| advertise("fe80::ecee:eeff:feee:eeee", 2));
            ways = node.run("ip -6 route show default");
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(ways, "", "{subnets}");
        let redirects = format!("cat /proc/sys/net/ipv6/conf/{link}/accept_redirects");
        assert_eq!(node.run(&redirects), "0\n", "{subnets}");
    }
}

/// Says that the sender is a router for all that is elsewhere.
fn advertise(to: &str, scope: u32) {
    const ROUTER_ADVERTISEMENT: u8 = 134;
    const SECONDS: u8 = 200;
    let socket = socket(
        AddressFamily::Inet6,
        SockType::Raw,
        SockFlag::empty(),
        SockProtocol::IcmpV6,
    )
    .unwrap();
    setsockopt(&socket, sockopt::Ipv6Ttl, &255).unwrap();
    let mut message = [0; 16];
    (message[0], message[7]) = (ROUTER_ADVERTISEMENT, SECONDS);
    let to = SocketAddrV6::new(to.parse().unwrap(), 0, 0, scope);
    let to = SockaddrIn6::from(to);
    sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty()).unwrap();
}
