use k8s_openapi::api::core::v1::Service;
use knarr_meta::prefix::Prefix;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, object, pod};

fn node(name: &str, addresses: Value, more: Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name},
        "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    merge(&mut node, more);
    object(node)
}

fn internal(address: &str) -> Value {
    json!([{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": "x"}])
}

fn service(name: &str, created: &str, spec: Value) -> Service {
    let mut service = json!({
        "metadata": {"namespace": "x", "name": name, "uid": name, "creationTimestamp": created},
        "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [{"port": 80}]},
    });
    merge(&mut service, json!({"spec": spec}));
    object(service)
}

fn has(mut service: Service, addresses: &[&str]) -> Service {
    let ingress: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    service.status = Some(object(json!({"loadBalancer": {"ingress": ingress}})));
    service
}

fn controller(config: Config) -> ServiceLb {
    let (client, _server) = knarr_client::fake::client();
    ServiceLb {
        recorder: Recorder::new(client.clone(), "service-controller"),
        client,
        config,
        services: Informer::new(),
        nodes: Informer::new(),
        slices: Informer::new(),
        pods: Informer::new(),
        state: Mutex::default(),
        queue: WorkQueue::new(),
    }
}

const OLD: &str = "2030-01-01T10:00:00Z";
const NEW: &str = "2030-01-01T11:00:00Z";

/// What a Service of the controller gets, as `ADDRESS … (PROBLEM)`.
fn decide(controller: &ServiceLb, name: &str) -> String {
    let key = Key::new("x", name);
    let service = controller.services.get("x", name).expect("the Service");
    let decision = controller.decide(&key, &service);
    let mut words: Vec<String> = decision.addresses.iter().map(ToString::to_string).collect();
    words.extend(decision.problem.map(|problem| format!("({problem})")));
    words.join(" ")
}

fn of_nodes() -> ServiceLb {
    let controller = controller(Config {
        ranges: Vec::new(),
        reserved: vec![Reserved {
            protocol: Protocol::Tcp,
            port: 6443,
            holder: "the API server".to_owned(),
        }],
    });
    controller
        .nodes
        .apply(node("n1", internal("192.0.2.1"), json!({})));
    controller
        .nodes
        .apply(node("n2", internal("192.0.2.2"), json!({})));
    controller
}

#[tokio::test]
async fn services_share_the_nodes_addresses_by_port() {
    let controller = of_nodes();
    let services = &controller.services;
    services.apply(service("web", OLD, json!({})));
    services.apply(service(
        "late",
        NEW,
        json!({"ports": [{"port": 443}, {"port": 80}]}),
    ));
    services.apply(service(
        "dns",
        NEW,
        json!({"ports": [{"port": 80, "protocol": "UDP"}]}),
    ));
    assert_eq!(decide(&controller, "web"), "192.0.2.1 192.0.2.2");
    let taken = "(TCP port 80 of 192.0.2.1 is another Service's)";
    assert_eq!(decide(&controller, "late"), taken);
    assert_eq!(decide(&controller, "dns"), "192.0.2.1 192.0.2.2");
    // When the first goes, the second is looked at again, and gets what the first had.
    controller.release(&Key::new("x", "web"));
    assert_eq!(controller.queue.next().await, Some(Key::new("x", "late")));
    assert_eq!(decide(&controller, "late"), "192.0.2.1 192.0.2.2");
}

#[tokio::test]
async fn ports_of_the_nodes_are_not_given_away() {
    let controller = of_nodes();
    let host = json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 9, "hostPort": 90}]}]}});
    let (plain, over) = (pod("p", "n1", host.clone()), pod("q", "n2", host));
    controller.pods.apply((*plain).clone());
    let mut over = (*over).clone();
    over.status.get_or_insert_default().phase = Some("Succeeded".to_owned());
    controller.pods.apply(over);
    let cases = [
        (
            "api",
            json!([{"port": 6443}]),
            "(TCP port 6443 of nodes is kept for the API server)",
        ),
        (
            "node-port",
            json!([{"port": 30080}]),
            "(port 30080 is of the range of node ports)",
        ),
        (
            "udp",
            json!([{"port": 6443, "protocol": "UDP"}]),
            "192.0.2.1 192.0.2.2",
        ),
        (
            "pod",
            json!([{"port": 90}]),
            "192.0.2.2 (TCP port 90 of node n1 is a pod's)",
        ),
    ];
    for (name, ports, expected) in cases {
        controller
            .services
            .apply(service(name, OLD, json!({"ports": ports})));
        assert_eq!(decide(&controller, name), expected, "{name}");
    }
    // One that has the port before the pod comes keeps it, over a restart, too.
    let early = service("early", OLD, json!({"ports": [{"port": 90}]}));
    let controller = of_nodes();
    controller
        .services
        .apply(has(early, &["192.0.2.1", "192.0.2.2"]));
    controller.pods.apply((*plain).clone());
    assert_eq!(decide(&controller, "early"), "192.0.2.1 192.0.2.2");
}

#[tokio::test]
async fn nodes_that_count() {
    let external = json!([
        {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "203.0.113.1"},
    ]);
    let excluded = json!({"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}}});
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let leaving = json!({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}});
    let cases = [
        (internal("10.0.0.1"), json!({}), "10.0.0.1"),
        (external, json!({}), "203.0.113.1"),
        (internal("10.0.0.1"), excluded, "none"),
        (internal("10.0.0.1"), unready, "none"),
        (internal("10.0.0.1"), leaving, "none"),
        (internal("127.0.0.1"), json!({}), ""),
        (internal("169.254.169.254"), json!({}), ""),
        (internal("224.0.0.1"), json!({}), ""),
    ];
    for (addresses, more, expected) in cases {
        let node = node("n", addresses, more);
        let found = Candidate::of(&node).map_or("none".to_owned(), |candidate| {
            let texts: Vec<_> = candidate
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect();
            texts.join(" ")
        });
        assert_eq!(found, expected, "{:?}", node.metadata);
    }
}

#[tokio::test]
async fn local_policy_leads_to_nodes_with_ready_endpoints() {
    let controller = of_nodes();
    let local = json!({"externalTrafficPolicy": "Local"});
    controller.services.apply(service("web", OLD, local));
    let nothing = "(no ready node has an address for it)";
    assert_eq!(decide(&controller, "web"), nothing);
    let slice = |ready: bool| -> EndpointSlice {
        object(json!({
            "metadata": {"namespace": "x", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.42.0.2"], "nodeName": "n2", "conditions": {"ready": ready}}],
        }))
    };
    controller.slices.apply(slice(true));
    assert_eq!(decide(&controller, "web"), "192.0.2.2");
    controller.slices.apply(slice(false));
    assert_eq!(decide(&controller, "web"), nothing);
}

#[tokio::test]
async fn who_has_an_address_keeps_it_over_a_restart() {
    let controller = of_nodes();
    controller.services.apply(service("old", OLD, json!({})));
    let young = service("young", NEW, json!({}));
    controller.services.apply(has(young, &["192.0.2.1"]));
    let expected = "192.0.2.2 (TCP port 80 of 192.0.2.1 is another Service's)";
    assert_eq!(decide(&controller, "old"), expected);
}

#[tokio::test]
async fn every_service_has_an_address_of_the_range() {
    let pool = "192.0.2.8-192.0.2.9".parse().expect("a range");
    let controller = controller(Config {
        ranges: vec![pool],
        reserved: Vec::new(),
    });
    let services = &controller.services;
    let asks = |name: &str, address: &str| service(name, NEW, json!({"loadBalancerIP": address}));
    services.apply(has(service("old", OLD, json!({})), &["192.0.2.9"]));
    services.apply(asks("wants-it", "192.0.2.9"));
    services.apply(asks("beyond", "192.0.2.7"));
    services.apply(service("second", OLD, json!({})));
    services.apply(service("third", NEW, json!({})));
    assert_eq!(
        decide(&controller, "wants-it"),
        "(192.0.2.9 is another Service's)"
    );
    assert_eq!(decide(&controller, "old"), "192.0.2.9");
    assert_eq!(decide(&controller, "second"), "192.0.2.8");
    let full = "(all addresses of the range 192.0.2.8-192.0.2.9 are taken)";
    assert_eq!(decide(&controller, "third"), full);
    let beyond = "(192.0.2.7 is no address of the range 192.0.2.8-192.0.2.9)";
    assert_eq!(decide(&controller, "beyond"), beyond);
    controller.release(&Key::new("x", "second"));
    assert_eq!(decide(&controller, "third"), "192.0.2.8");
    let asks = |name: &str, address: &str| service(name, NEW, json!({"ipFamilies": [address]}));
    services.apply(asks("six", "IPv6"));
    let family = "(the range 192.0.2.8-192.0.2.9 has no address of its families)";
    assert_eq!(decide(&controller, "six"), family);
}

#[tokio::test]
async fn services_of_two_families_have_an_address_of_each() {
    let pools = ["192.0.2.8/31", "2001:db8::8/127"].map(|range| range.parse().expect("a range"));
    let controller = controller(Config {
        ranges: pools.to_vec(),
        reserved: Vec::new(),
    });
    let both = |name: &str, more: Value| {
        let mut spec = json!({"ipFamilies": ["IPv4", "IPv6"]});
        merge(&mut spec, more);
        controller.services.apply(service(name, NEW, spec));
    };
    both("one", json!({}));
    both("wants", json!({"loadBalancerIP": "2001:db8::8"}));
    both("beyond", json!({"loadBalancerIP": "2001:db8::7"}));
    both("six", json!({"ipFamilies": ["IPv6"]}));
    assert_eq!(decide(&controller, "one"), "192.0.2.8 2001:db8::8");
    let wants = "192.0.2.9 (2001:db8::8 is another Service's)";
    assert_eq!(decide(&controller, "wants"), wants);
    let beyond =
        "(2001:db8::7 is no address of the ranges 192.0.2.8-192.0.2.9 and 2001:db8::8-2001:db8::9)";
    assert_eq!(decide(&controller, "beyond"), beyond);
    assert_eq!(decide(&controller, "six"), "2001:db8::9");
    controller.release(&Key::new("x", "one"));
    assert_eq!(decide(&controller, "wants"), "192.0.2.8 2001:db8::8");
}

#[tokio::test]
async fn services_have_the_nodes_addresses_of_their_families() {
    let addresses = json!([
        {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "2001:db8::1"},
        {"type": "InternalIP", "address": "fe80::1"},
    ]);
    let controller = controller(Config::default());
    controller.nodes.apply(node("n1", addresses, json!({})));
    for (name, families, expected) in [
        ("four", json!(["IPv4"]), "192.0.2.1"),
        ("six", json!(["IPv6"]), "2001:db8::1"),
        ("both", json!(["IPv6", "IPv4"]), "2001:db8::1 192.0.2.1"),
    ] {
        let spec = json!({"ipFamilies": families, "ports": [{"port": 80 + name.len()}]});
        controller.services.apply(service(name, NEW, spec));
        assert_eq!(decide(&controller, name), expected, "{name}");
        controller.release(&Key::new("x", name));
    }
}

#[test]
fn ranges_are_read() {
    let cases = [
        ("192.0.2.0/24", Ok("192.0.2.1-192.0.2.254")),
        ("192.0.2.77/30", Ok("192.0.2.77-192.0.2.78")),
        ("192.0.2.8/31", Ok("192.0.2.8-192.0.2.9")),
        ("192.0.2.8/32", Ok("192.0.2.8-192.0.2.8")),
        ("192.0.2.8-192.0.2.9", Ok("192.0.2.8-192.0.2.9")),
        ("192.0.2.9-192.0.2.8", Err(BadPool::Backwards)),
        ("10.0.0.0/8", Err(BadPool::Large)),
        ("0.0.0.0/0", Err(BadPool::Large)),
        ("192.0.2.0/33", Err(BadPool::Syntax)),
        ("2001:db8::/120", Ok("2001:db8::1-2001:db8::ff")),
        ("2001:db8::/112", Ok("2001:db8::1-2001:db8::ffff")),
        ("2001:db8::8/127", Ok("2001:db8::8-2001:db8::9")),
        ("2001:db8::8/128", Ok("2001:db8::8-2001:db8::8")),
        (
            "2001:db8::ff-2001:db8::1:2",
            Ok("2001:db8::ff-2001:db8::1:2"),
        ),
        ("2001:db8::/64", Err(BadPool::Large)),
        ("::/0", Err(BadPool::Large)),
        ("2001:db8::-2001:db8::1:0", Err(BadPool::Large)),
        ("192.0.2.8-2001:db8::9", Err(BadPool::Backwards)),
        ("2001:db8::/129", Err(BadPool::Syntax)),
        ("192.0.2.1", Err(BadPool::Syntax)),
        ("", Err(BadPool::Syntax)),
    ];
    for (text, expected) in cases {
        let read = text.parse::<Pool>().map(|pool| pool.to_string());
        assert_eq!(read, expected.map(str::to_owned), "{text:?}");
    }
}

#[test]
fn ranges_that_have_addresses_in_common() {
    let cases = [
        ("192.0.2.8-192.0.2.20", "192.0.2.0/24", true),
        ("192.0.2.8-192.0.2.20", "192.0.2.0/28", true),
        ("192.0.2.8-192.0.2.20", "192.0.2.10/32", true),
        ("192.0.2.8-192.0.2.20", "192.0.2.0/29", false),
        ("192.0.2.8-192.0.2.20", "192.0.2.21/32", false),
        ("192.0.2.8-192.0.2.20", "0.0.0.0/0", true),
        ("192.0.2.8-192.0.2.20", "::/0", false),
        ("2001:db8::8-2001:db8::20", "2001:db8::/64", true),
        ("2001:db8::8-2001:db8::20", "2001:db8::10/128", true),
        ("2001:db8::8-2001:db8::20", "2001:db8::/125", false),
        ("2001:db8::8-2001:db8::20", "0.0.0.0/0", false),
    ];
    for (pool, range, overlap) in cases {
        let (one, other): (Pool, Prefix) = (pool.parse().expect(pool), range.parse().expect(range));
        assert_eq!(one.overlaps(&other), overlap, "{pool} {range}");
    }
}

#[test]
fn classes() {
    for (class, ours) in [
        (None, true),
        (Some(CLASS), true),
        (Some("example.com/other"), false),
    ] {
        let service = service("s", OLD, json!({"loadBalancerClass": class}));
        assert_eq!(is_ours(&service), ours, "{class:?}");
    }
    assert!(!is_ours(&service("s", OLD, json!({"type": "ClusterIP"}))));
}
