//! Real connections through a node with two pods and a client outside, in both families.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    thread::sleep,
    time::{Duration, Instant},
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use knarr_client::Informer;
use knarr_nft::Family;
use knarr_testkit::machine::Machine;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    Proxy,
    testing::{TABLE, cluster_ip, dual_config, nodes, pod},
};

const SOON: Duration = Duration::from_secs(20);
const PORT: u16 = 8080;
const NODE_PORT: u16 = 30080;
const NODE_PORT_LOCAL: u16 = 30081;

/// Last numbers of addresses of Services, each of a kind of its own.
const WEB: u8 = 20;
const BOTH: u8 = 21;
const STICKY: u8 = 22;
const EMPTY: u8 = 23;
const UDP: u8 = 24;
const AWAY: u8 = 25;
/// Of load balancers: for everybody, and for some.
const OPEN: u8 = 30;
const GUARDED: u8 = 31;
const BARRED: u8 = 32;

/// An address outside of the cluster.
fn outside(family: Family, last: u8) -> IpAddr {
    match family {
        Family::Ip => [192, 0, 2, last].into(),
        Family::Ip6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()].into(),
    }
}

struct Net {
    node: Machine,
    /// At [`pod`] 2 and 3.
    a: Machine,
    b: Machine,
    /// At [`outside`] 2; the node is 1.
    client: Machine,
}

impl Net {
    fn new() -> Self {
        let net = Self {
            node: Machine::new(),
            a: Machine::new(),
            b: Machine::new(),
            client: Machine::new(),
        };
        net.node.forward();
        let both = |last| Family::BOTH.map(|family| pod(family, last));
        net.node.connect_pod("pod-a", &net.a, &both(2));
        net.node.connect_pod("pod-b", &net.b, &both(3));
        net.node.connect("out", &net.client);
        for (machine, last) in [(&net.node, 1), (&net.client, 2)] {
            for (family, more) in [
                (Family::Ip, "/24 dev out"),
                (Family::Ip6, "/64 dev out nodad"),
            ] {
                machine.ip(&format!("address add {}{more}", outside(family, last)));
            }
        }
        for (family, range) in [(Family::Ip, "10.43.0.0/16"), (Family::Ip6, "fd00:43::/108")] {
            net.node.ip(&format!("route add {range} dev lo"));
            // What is for the balancers' addresses and for Services comes to the node.
            for address in [
                outside(family, OPEN),
                outside(family, GUARDED),
                outside(family, BARRED),
            ] {
                net.client
                    .ip(&format!("route add {address} via {}", outside(family, 1)));
            }
            net.client
                .ip(&format!("route add {range} via {}", outside(family, 1)));
        }
        let lo = |address: &str| net.node.ip(&format!("address add {address} dev lo"));
        lo("169.254.20.10/32");
        lo("fd6b:6e61:7272::53/128");
        net.a.serve("a", PORT);
        net.b.serve("b", PORT);
        net.node.serve("dns", 53);
        net
    }
}

fn service(name: &str, last: u8, spec: Value) -> Service {
    let ips: Vec<_> = Family::BOTH.map(|family| cluster_ip(family, last)).into();
    let mut service = json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ips[0], "clusterIPs": ips, "ports": [{"port": 80}]},
    });
    for (member, value) in spec.as_object().unwrap() {
        match member.as_str() {
            "ingress" => service["status"] = json!({"loadBalancer": {"ingress": value}}),
            _ => service["spec"][member] = value.clone(),
        }
    }
    serde_json::from_value(service).unwrap()
}

fn slices(name: &str, protocol: &str, pods: &[(u8, &str)]) -> [EndpointSlice; 2] {
    [(Family::Ip, "IPv4"), (Family::Ip6, "IPv6")].map(|(family, kind)| {
        let endpoint = |(last, node): &(u8, &str)| json!({"addresses": [pod(family, *last)], "nodeName": node});
        let labels = json!({super::SERVICE_NAME_LABEL: name});
        let endpoints: Vec<_> = pods.iter().map(endpoint).collect();
        let slice = json!({
            "metadata": {"name": format!("{name}-{kind}"), "namespace": "default", "labels": labels},
            "addressType": kind, "ports": [{"port": PORT, "protocol": protocol}], "endpoints": endpoints,
        });
        serde_json::from_value(slice).unwrap()
    })
}

fn balancer(last: u8, ranges: &[&str]) -> Value {
    let ips = Family::BOTH.map(|family| json!({"ip": outside(family, last)}));
    json!({"type": "LoadBalancer", "ingress": ips, "loadBalancerSourceRanges": ranges})
}

fn objects() -> (Vec<Service>, Vec<EndpointSlice>) {
    let node_port = |number: u16| json!([{"port": 80, "nodePort": number}]);
    let udp = json!({"ports": [{"port": 80, "protocol": "UDP"}]});
    let services = vec![
        service("web", WEB, json!({"ports": node_port(NODE_PORT)})),
        service("both", BOTH, json!({})),
        service("sticky", STICKY, json!({"sessionAffinity": "ClientIP"})),
        service("empty", EMPTY, json!({})),
        service("udp", UDP, udp),
        // Of which outside clients get endpoints of this node alone: b.
        service(
            "local",
            AWAY,
            json!({"ports": node_port(NODE_PORT_LOCAL), "externalTrafficPolicy": "Local"}),
        ),
        service("open", OPEN, balancer(OPEN, &[])),
        service(
            "guarded",
            GUARDED,
            balancer(GUARDED, &["192.0.2.0/24", "2001:db8::/64"]),
        ),
        service(
            "barred",
            BARRED,
            balancer(BARRED, &["198.51.100.0/24", "2001:db8:1::/64"]),
        ),
    ];
    let (one, two) = (&[(2, "a")][..], &[(2, "a"), (3, "a")][..]);
    let all = [
        slices("web", "TCP", one),
        slices("both", "TCP", two),
        slices("sticky", "TCP", two),
        slices("udp", "UDP", one),
        slices("local", "TCP", &[(2, "elsewhere"), (3, "a")]),
        slices("open", "TCP", one),
        slices("guarded", "TCP", one),
        slices("barred", "TCP", one),
    ];
    (services, all.into_iter().flatten().collect())
}

#[test]
fn connections_find_their_endpoints_in_both_families() {
    if !Machine::allowed() {
        return;
    }
    let net = Net::new();
    let (services, sliced) = (Informer::new(), Informer::new());
    let all = objects();
    services.replace(all.0);
    sliced.replace(all.1);
    let stop = CancellationToken::new();
    let proxy = Proxy::with(dual_config(), services, sliced.clone(), nodes());
    std::thread::scope(|scope| {
        let running = stop.clone().drop_guard();
        scope.spawn(|| run(&net, proxy, stop));
        for family in Family::BOTH {
            let web = SocketAddr::new(cluster_ip(family, WEB), 80);
            until("a service answers", || net.b.call(web).starts_with("a "));
            callers(&net, family);
            from_outside(&net, family);
            udp(&net, family, &sliced);
        }
        // The last: clients lose the endpoints that they had.
        for family in Family::BOTH {
            stays(&net, family);
        }
        drop(running);
    });
}

/// Whoever comes back within the time has the endpoint that it had, also from a proxy that has just been started.
#[test]
fn clients_keep_their_endpoints_when_the_proxy_starts_again() {
    if !Machine::allowed() {
        return;
    }
    let net = Net::new();
    let callers = [&net.node, &net.a, &net.b, &net.client];
    let met = || -> Vec<String> {
        let at = |family| SocketAddr::new(cluster_ip(family, STICKY), 80);
        let each = Family::BOTH.into_iter().flat_map(|family| {
            let answers = callers.iter().map(move |caller| caller.call(at(family)));
            answers.map(|answer| answer.split(' ').next().unwrap().to_owned())
        });
        each.collect()
    };
    let (services, sliced) = objects();
    let during = |sliced: Vec<EndpointSlice>, work: &dyn Fn() -> Vec<String>| {
        let before = tables(&net);
        serving(&net, services.clone(), sliced, || {
            until("the tables are new", || {
                let now = tables(&net);
                now.len() == 2 && now.iter().all(|table| !before.contains(table))
            });
            work()
        })
    };
    let first = during(sliced.clone(), &met);
    for _ in 0..2 {
        assert_eq!(during(sliced.clone(), &met), first);
    }
    // The time that a client is remembered goes on: three hours from its last call.
    let remembered = during(sliced.clone(), &|| {
        let list = format!("nft list table ip {TABLE}");
        vec![net.node.program(&list)]
    });
    let is_younger = |line: &str| line.contains("expires 2h59m");
    assert!(remembered[0].lines().any(is_younger), "{remembered:?}");
    let mut left = sliced;
    left.retain(|slice| {
        !slice
            .metadata
            .name
            .as_deref()
            .unwrap()
            .starts_with("sticky")
    });
    left.extend(slices("sticky", "TCP", &[(2, "a")]));
    assert!(during(left, &met).iter().all(|name| name == "a"));
}

/// The tables that there are, each with the number that the kernel gave it when it was made.
fn tables(net: &Net) -> Vec<String> {
    let listing = net.node.program("nft -a list ruleset");
    let lines = listing.lines().filter(|line| line.starts_with("table "));
    lines.map(str::to_owned).collect()
}

/// What `work` gives while a proxy runs, which has ended then.
fn serving<T>(
    net: &Net,
    services: Vec<Service>,
    sliced: Vec<EndpointSlice>,
    work: impl FnOnce() -> T,
) -> T {
    let (all_services, all_slices) = (Informer::new(), Informer::new());
    all_services.replace(services);
    all_slices.replace(sliced);
    let stop = CancellationToken::new();
    let proxy = Proxy::with(dual_config(), all_services, all_slices, nodes());
    std::thread::scope(|scope| {
        let _running = stop.clone().drop_guard();
        scope.spawn(|| run(net, proxy, stop));
        work()
    })
}

fn run(net: &Net, proxy: Proxy, stop: CancellationToken) {
    net.node.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(proxy.run(stop));
    });
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "not yet: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// From pods and the node itself to cluster addresses.
fn callers(net: &Net, family: Family) {
    let at = |last| SocketAddr::new(cluster_ip(family, last), 80);
    let (a, b) = (pod(family, 2), pod(family, 3));
    assert_eq!(
        net.b.call(at(WEB)),
        format!("a {b}"),
        "a pod keeps its address"
    );
    let own = net.a.call(at(WEB));
    assert!(
        own.starts_with("a ") && own != format!("a {a}"),
        "to itself: {own}"
    );
    assert!(net.node.call(at(WEB)).starts_with("a "), "the node itself");
    let met: BTreeSet<_> = (0..40)
        .map(|_| net.b.call(at(BOTH)).split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(met.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    let met: BTreeSet<_> = (0..10).map(|_| net.node.call(at(STICKY))).collect();
    assert_eq!(met.len(), 1, "a client keeps its endpoint: {met:?}");
    for (name, caller) in [("a pod", &net.a), ("the node", &net.node)] {
        assert_eq!(caller.call(at(EMPTY)), "refused", "{name}, {family}");
    }
    let dns = SocketAddr::new(cluster_ip(family, 10), 53);
    assert_eq!(
        net.a.call(dns),
        format!("dns {a}"),
        "the node's own DNS server"
    );
    // From inside, what is of other nodes may be reached as well.
    let met: BTreeSet<_> = (0..40)
        .map(|_| net.b.call((outside(family, 1), NODE_PORT_LOCAL)))
        .collect();
    assert_eq!(met.len(), 2, "{met:?}");
}

fn from_outside(net: &Net, family: Family) {
    let (node, client) = (outside(family, 1), outside(family, 2));
    let masqueraded = |answer: String| {
        assert!(
            answer.starts_with("a ") && answer != format!("a {client}"),
            "{answer}"
        );
    };
    masqueraded(net.client.call((node, NODE_PORT)));
    masqueraded(net.client.call((outside(family, OPEN), 80)));
    masqueraded(net.client.call((outside(family, GUARDED), 80)));
    assert_eq!(net.client.call((outside(family, BARRED), 80)), "nothing");
    masqueraded(net.node.call((node, NODE_PORT)));
    if family == Family::Ip6 {
        let loopback: IpAddr = Ipv6Addr::LOCALHOST.into();
        assert_eq!(net.node.call((loopback, NODE_PORT)), "refused");
    }
    for _ in 0..10 {
        assert_eq!(
            net.client.call((node, NODE_PORT_LOCAL)),
            format!("b {client}"),
            "it keeps its address"
        );
    }
    // No service has it.
    assert_eq!(net.client.call((node, NODE_PORT + 5)), "refused");
}

/// Whoever replaces the table, connections go on.
fn stays(net: &Net, family: Family) {
    let at = SocketAddr::new(cluster_ip(family, WEB), 80);
    let mut connection = net.b.connection(at, SOON).unwrap();
    net.node.program("nft flush ruleset");
    until("the rules are back", || net.b.call(at).starts_with("a "));
    assert!(connection.lives(), "a connection of before");
}

/// A client of UDP is led elsewhere when its endpoint goes.
fn udp(net: &Net, family: Family, sliced: &Informer<EndpointSlice>) {
    let client = net.node.datagrams((cluster_ip(family, UDP), 80));
    until("an answer", || client.ask().starts_with("a "));
    for slice in slices("udp", "UDP", &[(3, "a")]) {
        sliced.apply(slice);
    }
    until("the other endpoint", || client.ask().starts_with("b "));
    for slice in slices("udp", "UDP", &[(2, "a")]) {
        sliced.apply(slice);
    }
    until("the first endpoint", || client.ask().starts_with("a "));
}
