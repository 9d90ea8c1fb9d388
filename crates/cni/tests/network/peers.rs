//! The ways between nodes.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use k8s_openapi::api::core::v1::NodeAddress;
use knarr_cni::{InstanceId, local, peers::Reach};

use crate::{
    cluster::Cluster,
    kit::{Machine, allowed, deliver, is_lost, run, until},
    node::{Node, api_node, introduce},
};

/// Of UDP and IP, by family.
const HEADERS_BYTES: [usize; 2] = [28, 48];
/// The longest packet of the overlay, by family.
const OVERLAY_BYTES: [usize; 2] = [1450, 1430];

/// Addresses of the machines and of their router, on two links.
struct Plan {
    lan: [&'static str; 3],
    far: [&'static str; 2],
    bits: u8,
}

const PLANS: [Plan; 2] = [
    Plan {
        lan: ["192.0.2.1", "192.0.2.2", "192.0.2.254"],
        far: ["198.51.100.3", "198.51.100.254"],
        bits: 24,
    },
    Plan {
        lan: ["2001:db8:2::1", "2001:db8:2::2", "2001:db8:2::fe"],
        far: ["2001:db8:3::3", "2001:db8:3::fe"],
        bits: 64,
    },
];

/// Two machines on one link, and a third behind a router.
struct Site {
    router: Machine,
    /// Before anything of a cluster is made.
    untouched: Vec<(PathBuf, String)>,
    _machines: Vec<Machine>,
    nodes: Vec<Node>,
}

impl Site {
    fn new(reach: Reach) -> Self {
        Self::of_family(reach, 0)
    }

    fn of_family(reach: Reach, family: usize) -> Self {
        let (router, machines) = (Machine::new(), [(); 3].map(|()| Machine::new()));
        let Plan {
            lan: [first, second, gateway],
            far: [third, far_gateway],
            bits,
        } = &PLANS[family];
        router.ip("link add lan type bridge");
        let at_once = if family == 1 { " nodad" } else { "" };
        router.ip(&format!("address add {gateway}/{bits} dev lan{at_once}"));
        router.ip("link set lan up");
        let links = [("to-a", first), ("to-b", second), ("to-c", third)];
        for (machine, (link, address)) in machines.iter().zip(links) {
            let own = format!("{address}/{bits}");
            let (others, gateway) = match link {
                "to-c" => (format!("{far_gateway}/{bits}"), far_gateway),
                _ => ("0.0.0.0/0".to_owned(), gateway),
            };
            machine.connect(link, &own, &router, &others);
            if link != "to-c" {
                router.ip(&format!("link set {link} master lan"));
            }
            machine.ip(&format!("route add default via {gateway}"));
        }
        run(&router.path, "sysctl -q net.ipv4.ip_forward=1");
        run(&router.path, "sysctl -q net.ipv6.conf.all.forwarding=1");
        let untouched = machines
            .iter()
            .map(|m| (m.path.clone(), m.state()))
            .collect();
        let nodes = [("a", 1, *first), ("b", 2, *second), ("c", 3, *third)];
        let nodes = machines.iter().zip(nodes).map(|(machine, node)| {
            Node::start(&machine.path, node, InstanceId::random().unwrap(), reach)
        });
        let nodes: Vec<Node> = nodes.collect();
        introduce(&nodes.iter().collect::<Vec<_>>());
        Self {
            router,
            untouched,
            nodes,
            _machines: machines.into(),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&Node, &Node)> {
        let all = || self.nodes.iter();
        all()
            .flat_map(move |from| all().map(move |to| (from, to)))
            .filter(|(from, to)| from.name != to.name)
    }
}

#[test]
fn pods_reach_pods_of_every_node() {
    pods_reach_pods(0);
}

#[test]
fn pods_reach_pods_of_every_node_over_ipv6() {
    pods_reach_pods(1);
}

fn pods_reach_pods(family: usize) {
    if !allowed() {
        return;
    }
    for reach in [Reach::Auto, Reach::Overlay] {
        let site = Site::of_family(reach, family);
        for (from, to) in site.pairs() {
            let direct = reach == Reach::Auto && from.name != "c" && to.name != "c";
            let longest = if direct { 1500 } else { OVERLAY_BYTES[family] } - HEADERS_BYTES[family];
            for bytes in [8, longest, longest + 1, 8000] {
                let source = deliver(from.pod(), to.pod(), bytes);
                assert_eq!(source, from.pod_address(), "{} to {}", from.name, to.name);
            }
            // As a node's own programs do, which answers find again.
            deliver((&from.path, unspecified(family)), to.pod(), 8);
            // Under the node's own address, or where answers to that would come another way, the one it has on the overlay.
            let source = deliver(from.own(), to.pod(), 8);
            let expected = if direct {
                from.address
            } else {
                from.overlay_address()
            };
            assert_eq!(source, expected, "{} to {}", from.name, to.name);
            // From 127.0.0.1, as connections to node ports of it come to be.
            if family == 0 {
                let own = (from.path.as_path(), IpAddr::V4(Ipv4Addr::LOCALHOST));
                assert_eq!(deliver(own, to.pod(), 8), expected, "{}", from.name);
            }
            // The node takes it for its peer's.
            let source = deliver(from.pod(), to.own(), 8);
            assert_eq!(source, from.address);
        }
    }
}

#[test]
fn nodes_come_and_go_and_leave_nothing() {
    come_and_go(0);
}

#[test]
fn nodes_of_ipv6_come_and_go_and_leave_nothing() {
    come_and_go(1);
}

fn come_and_go(family: usize) {
    if !allowed() {
        return;
    }
    let mut site = Site::of_family(Reach::Auto, family);
    for (from, to) in site.pairs() {
        deliver(from.pod(), to.pod(), 8);
    }
    let (a, c) = (&site.nodes[0], &site.nodes[2]);
    a.nodes.remove(c.api());
    until("c is forgotten", || {
        !run(&a.path, "ip link").contains("kx-")
    });
    assert!(is_lost(a.pod(), c.pod()));
    for routes in ["ip route", "ip -6 route"] {
        let routes = run(&a.path, routes);
        assert!(!routes.contains("10.42.3.0") && !routes.contains("fd42:0:0:3"));
    }
    a.nodes.apply(c.api());
    deliver(a.pod(), c.pod(), 8);
    // Whoever ends leaves the ways there.
    site.nodes[1].stop();
    deliver(site.nodes[1].pod(), site.nodes[0].pod(), 8);
    for node in &mut site.nodes {
        node.teardown();
    }
    for (path, untouched) in &site.untouched {
        let machine = crate::kit::state(path);
        assert_eq!(&machine, untouched);
    }
}

#[test]
fn what_others_remove_is_put_back() {
    if !allowed() {
        return;
    }
    let site = Site::new(Reach::Auto);
    let (a, b, c) = (&site.nodes[0], &site.nodes[1], &site.nodes[2]);
    let whole = || {
        deliver(a.pod(), b.pod(), 8);
        deliver(a.pod(), c.pod(), 8);
    };
    whole();
    let table = format!("ip knarr-cni-{}", a.instance);
    let overlay = format!("kx-{}", a.instance);
    for line in [
        "ip route del 10.42.2.0/24".to_owned(),
        "ip route del 10.42.3.0/24".to_owned(),
        format!("ip link del {overlay}"),
        format!("ip link set {overlay} down"),
        format!("ip address flush dev {overlay}"),
        format!("ip neighbour flush nud permanent dev {overlay}"),
        format!("bridge fdb del 0a:58:0a:2a:03:00 dev {overlay} dst 198.51.100.3"),
        format!("nft flush chain {table} to-peers"),
        "ip link set to-a down".to_owned(),
    ] {
        run(&a.path, &line);
        if line.ends_with("to-a down") {
            run(&a.path, "ip link set to-a up");
            run(&a.path, "ip route add default via 192.0.2.254");
        }
        whole();
    }
}

#[test]
fn who_claims_what_another_has_gets_nothing() {
    if !allowed() {
        return;
    }
    let site = Site::new(Reach::Auto);
    let (a, b) = (&site.nodes[0], &site.nodes[1]);
    deliver(a.pod(), b.pod(), 8);
    let routes = run(&a.path, "ip route");
    let mut thief = api_node("thief", 2, "192.0.2.254".parse().unwrap());
    a.nodes.apply(thief.clone());
    // Addresses that nothing can be sent to are in nobody else's way.
    let mut odd = api_node("odd", 1, "255.255.255.255".parse().unwrap());
    odd.metadata.name = Some("a-odd".to_owned());
    odd.spec.as_mut().unwrap().pod_cidrs = Some(vec!["10.42.8.0/24".to_owned()]);
    odd.spec.as_mut().unwrap().pod_cidr = None;
    let addresses = odd.status.as_mut().unwrap().addresses.as_mut().unwrap();
    addresses.push(NodeAddress {
        type_: "InternalIP".to_owned(),
        address: "fd01::9".to_owned(),
    });
    a.nodes.apply(odd);
    // One that is believed shows that the thief was seen.
    let honest = api_node("honest", 9, "192.0.2.253".parse().unwrap());
    a.nodes.apply(honest.clone());
    until("honest has a route", || {
        run(&a.path, "ip route").contains("10.42.9.0/24 via 192.0.2.253")
    });
    assert_eq!(deliver(a.pod(), b.pod(), 8), a.pod_address());
    a.nodes.remove(honest);
    until("honest is gone", || run(&a.path, "ip route") == routes);
    // It gets them when they are free.
    a.nodes.remove(b.api());
    until("the thief has a route", || {
        run(&a.path, "ip route").contains("10.42.2.0/24 via 192.0.2.254")
    });
    // And keeps them then, however old the other says to be.
    thief.metadata.creation_timestamp = None;
    a.nodes.apply(b.api());
    assert!(is_lost(a.pod(), b.pod()));
}

#[test]
fn strangers_are_no_pods() {
    if !allowed() {
        return;
    }
    let site = Site::new(Reach::Auto);
    let (a, c, router) = (&site.nodes[0], &site.nodes[2], &site.router);
    deliver(c.pod(), a.pod(), 8);
    // Addresses of a pod behind the overlay, and of nobody.
    router.ip(&format!("route add {} via 192.0.2.1", a.pod_address()));
    for claimed in ["10.42.3.5", "10.42.200.1"] {
        let claimed: IpAddr = claimed.parse().unwrap();
        router.ip(&format!("address add {claimed}/32 dev lo"));
        assert!(is_lost((&router.path, claimed), a.pod()), "{claimed}");
    }
    // Through the overlay, from a machine that is no node.
    router.ip("link add vx type vxlan id 1 dstport 8472 remote 192.0.2.1 local 192.0.2.254");
    router.ip("link set vx up");
    router.ip(&format!("route replace {} dev vx", a.pod_address()));
    router.ip(&format!(
        "neighbour add {} lladdr 0a:58:0a:2a:01:00 dev vx nud permanent",
        a.pod_address()
    ));
    let claimed: IpAddr = "10.42.3.5".parse().unwrap();
    assert!(is_lost((&router.path, claimed), a.pod()));
    deliver(c.pod(), a.pod(), 8);
}

#[test]
fn strangers_are_no_pods_over_ipv6_either() {
    if !allowed() {
        return;
    }
    let site = Site::of_family(Reach::Auto, 1);
    let (a, c, router) = (&site.nodes[0], &site.nodes[2], &site.router);
    deliver(c.pod(), a.pod(), 8);
    router.ip(&format!("route add {} via 2001:db8:2::1", a.pod_address()));
    for claimed in ["fd42:0:0:3::5", "fd42:0:0:77::1"] {
        router.ip(&format!("address add {claimed}/128 dev lo nodad"));
        let claimed: IpAddr = claimed.parse().unwrap();
        assert!(is_lost((&router.path, claimed), a.pod()), "{claimed}");
    }
    // Nor is a pod another one, which for IPv4 a setting of its link sees to.
    let (pod, _) = a.pod();
    run(pod, "ip address add fd42:0:0:1::9/128 dev eth0 nodad");
    assert!(is_lost((pod, "fd42:0:0:1::9".parse().unwrap()), a.own()));
    deliver(a.pod(), a.own(), 8);
}

/// What is for a pod or a Service that there is none of does not leave, and is told at once where the node itself asks.
#[test]
fn nothing_of_the_cluster_leaves_over_ipv6() {
    if !allowed() {
        return;
    }
    let site = Site::of_family(Reach::Auto, 1);
    let (a, router) = (&site.nodes[0], &site.router);
    for nobody in ["fd42:0:0:1::77", "fd42:0:0:99::1", "fd43::1"] {
        router.ip(&format!("address add {nobody}/128 dev lo nodad"));
        let nobody = (router.path.as_path(), nobody.parse().unwrap());
        assert!(is_lost(a.pod(), nobody), "{}", nobody.1);
        assert!(is_lost(a.own(), nobody), "{}", nobody.1);
    }
    // The world is another matter, and sees the node.
    router.ip("address add 2001:db8:9::9/128 dev lo nodad");
    let world = (router.path.as_path(), "2001:db8:9::9".parse().unwrap());
    assert_eq!(deliver(a.pod(), world, 8), a.address);
}

#[test]
fn nodes_of_one_machine() {
    one_machine(0);
}

#[test]
fn nodes_of_one_machine_over_ipv6() {
    one_machine(1);
}

fn one_machine(family: usize) {
    if !allowed() {
        return;
    }
    let cluster = Cluster::new();
    let (machine, instance) = (&cluster.machine, cluster.instance);
    let nodes = cluster.prepare_both();
    let two = cluster.add(&nodes, "two", 2);
    let three = cluster.add(&nodes, "three", 3);
    let start = |path, node: (&str, u8, IpAddr), instance| {
        let node = (node.0, node.1, &*node.2.to_string());
        Node::start(path, node, instance, Reach::Direct)
    };
    let own = || InstanceId::random().unwrap();
    let all = [
        start(
            &machine.path,
            ("one", 1, Cluster::own(&nodes, family)),
            instance,
        ),
        start(&two.path, ("two", 2, two.addresses[family]), own()),
        start(&three.path, ("three", 3, three.addresses[family]), own()),
    ];
    let all: Vec<&Node> = all.iter().collect();
    introduce(&all);
    for from in &all {
        for to in all.iter().filter(|to| to.name != from.name) {
            assert_eq!(deliver(from.pod(), to.pod(), 1400), from.pod_address());
            assert_eq!(deliver(from.own(), to.pod(), 8), from.address);
            if family == 0 {
                let own = (from.path.as_path(), IpAddr::V4(Ipv4Addr::LOCALHOST));
                assert_eq!(deliver(own, to.pod(), 8), from.address);
            }
            assert_eq!(deliver(from.pod(), to.own(), 8), from.address);
        }
    }
    machine.block_on(|| local::cut(&instance, "two")).unwrap();
    assert!(is_lost(all[0].pod(), all[1].pod()) && is_lost(all[1].pod(), all[2].pod()));
    deliver(all[0].pod(), all[2].pod(), 8);
    machine.block_on(|| local::heal(&instance, "two")).unwrap();
    deliver(all[1].pod(), all[2].pod(), 8);
}

fn unspecified(family: usize) -> IpAddr {
    [IpAddr::from([0; 4]), IpAddr::from([0; 16])][family]
}
