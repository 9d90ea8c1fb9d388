mod kernel;
mod traffic;

use std::time::Duration;

use knarr_nft::{Error, Member, Table};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use super::*;
use crate::testing::{OWN, TABLE, config, dual_config, nodes};

/// Longest wait for the loop.
const SOON: Duration = Duration::from_secs(20);

fn service(name: &str, cluster_ip: &str, external_ips: &[&str]) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "externalIPs": external_ips, "ports": [{"port": 80}]},
    }))
    .unwrap()
}

fn slice(service: &str, address: &str) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": service, "namespace": "default", "labels": {SERVICE_NAME_LABEL: service}},
        "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": [address]}],
    }))
    .unwrap()
}

/// A kernel that does as the test says.
struct Fake {
    /// Transactions, and whether they are of the whole table.
    offered: mpsc::UnboundedSender<(String, bool)>,
    answers: mpsc::UnboundedReceiver<Result<(), Error>>,
    /// Changes by others.
    others: mpsc::UnboundedReceiver<()>,
    /// A client that it remembers of an endpoint with this address.
    remembered: (IpAddr, Member),
}

/// An endpoint, and a client that it has for so long.
fn remembered() -> (IpAddr, Member) {
    let client = IpAddr::from([192, 0, 2, 9]);
    ([10, 42, 0, 3].into(), (client, Duration::from_secs(77)))
}

impl Kernel for Fake {
    async fn apply(&mut self, transaction: Transaction, replaces: bool) -> Result<(), Error> {
        self.offered
            .send((transaction.to_string(), replaces))
            .unwrap();
        self.answers.recv().await.unwrap()
    }

    async fn members(
        &mut self,
        sets: Vec<(Table, String)>,
        _: usize,
    ) -> Result<Vec<Vec<Member>>, Error> {
        let of = |(table, set): (Table, String)| {
            let known = set.contains(&self.remembered.0.to_string()) && table.family == Family::Ip;
            Vec::from_iter(known.then_some(self.remembered.1))
        };
        Ok(sets.into_iter().map(of).collect())
    }

    async fn changed(&mut self) {
        self.others.recv().await.unwrap();
    }
}

/// A running loop whose transactions are answered by the test.
struct Running {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    ranges: Informer<ServiceCIDR>,
    offered: mpsc::UnboundedReceiver<(String, bool)>,
    answers: mpsc::UnboundedSender<Result<(), Error>>,
    others: mpsc::UnboundedSender<()>,
    work: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Running {
    fn start(services: Vec<Service>, slices: Vec<EndpointSlice>) -> Self {
        Self::start_with(config(), services, slices)
    }

    fn start_with(config: Config, services: Vec<Service>, slices: Vec<EndpointSlice>) -> Self {
        let (informed, sliced) = (Informer::new(), Informer::new());
        let nodes = nodes();
        let mut proxy = Proxy::with(config, informed.clone(), sliced.clone(), nodes.clone());
        let ranges = Informer::new();
        proxy.follow(ranges.clone());
        informed.replace(services);
        sliced.replace(slices);
        let (offer, offered) = mpsc::unbounded_channel();
        let (answers, answer_receiver) = mpsc::unbounded_channel();
        let (others, other_receiver) = mpsc::unbounded_channel();
        let kernel = Fake {
            offered: offer,
            answers: answer_receiver,
            others: other_receiver,
            remembered: remembered(),
        };
        let work = tokio::spawn(async move {
            let mut health = HealthServers::new([Family::Ip], CancellationToken::new());
            proxy.sync_loop(&mut health, kernel).await;
        });
        Self {
            services: informed,
            slices: sliced,
            nodes,
            ranges,
            offered,
            answers,
            others,
            work,
        }
    }

    /// The next transaction, which is accepted or refused.
    async fn transaction(&mut self, answer: Result<(), Error>) -> String {
        let (script, replaces) = timeout(SOON, self.offered.recv()).await.unwrap().unwrap();
        assert_eq!(
            replaces,
            script.starts_with(&format!("add table ip {TABLE}\ndelete table")),
            "{script}"
        );
        self.answers.send(answer).unwrap();
        script
    }

    /// The next one, which is of the whole table.
    async fn replacement(&mut self) -> String {
        let script = self.transaction(Ok(())).await;
        assert!(script.contains("delete table"), "{script}");
        script
    }
}

#[tokio::test]
async fn after_a_refusal_the_table_is_made_anew_with_every_service() {
    let services = vec![
        service("a", "10.43.0.1", &[]),
        service("b", "10.43.0.2", &[]),
    ];
    let slices = vec![slice("a", "10.42.0.2"), slice("b", "10.42.0.3")];
    let mut running = Running::start(services, slices);
    let first = running.transaction(Ok(())).await;
    assert!(first.contains("10.43.0.1 . tcp . 80") && first.contains("10.43.0.2 . tcp . 80"));

    running.slices.apply(slice("a", "10.42.0.4"));
    let change = running.transaction(Err(Error::NoAnswer)).await;
    assert!(
        change.contains("10.42.0.4") && !change.contains("10.42.0.3"),
        "{change}"
    );

    let anew = running.replacement().await;
    assert!(
        anew.contains("10.42.0.4") && anew.contains("10.42.0.3"),
        "{anew}"
    );

    running.slices.apply(slice("b", "10.42.0.5"));
    let change = running.transaction(Ok(())).await;
    assert!(
        change.contains("10.42.0.5") && !change.contains("10.42.0.4"),
        "{change}"
    );
}

#[tokio::test]
async fn what_others_change_is_made_anew() {
    let services = vec![service("a", "10.43.0.1", &[])];
    let slices = vec![slice("a", "10.42.0.2")];
    let mut running = Running::start(services, slices);
    let first = running.replacement().await;
    for _ in 0..2 {
        running.others.send(()).unwrap();
        assert_eq!(running.replacement().await, first);
    }
    running.slices.apply(slice("a", "10.42.0.4"));
    let change = running.transaction(Ok(())).await;
    assert!(!change.contains("table"), "{change}");
}

/// By the endpoint that the kernel remembers it at, for as long as it was to remember it.
#[tokio::test]
async fn a_client_is_kept_while_its_endpoint_is_there() {
    let mut sticky = service("a", "10.43.0.1", &[]);
    sticky.spec.as_mut().unwrap().session_affinity = Some("ClientIP".to_owned());
    let (endpoint, _) = remembered();
    let mut slice = slice("a", "10.42.0.2");
    slice.endpoints[0].addresses.push(endpoint.to_string());
    let mut running = Running::start(vec![sticky], vec![slice.clone()]);
    let kept = format!(
        "add element ip {TABLE} clients10800-default/a/tcp/80/{endpoint}/8080 {{ 192.0.2.9 expires 77000ms }}\n"
    );
    let is_kept = |script: &str| script.ends_with(&kept);
    let first = running.replacement().await;
    assert!(is_kept(&first), "{first}");
    running.others.send(()).unwrap();
    let anew = running.transaction(Err(Error::NoAnswer)).await;
    assert_eq!(anew, first);
    // Whatever the kernel did not like, a table comes to be.
    let without = running.replacement().await;
    assert_eq!(without + &kept, first);
    slice.endpoints[0].addresses.pop();
    running.slices.apply(slice);
    running.transaction(Ok(())).await;
    running.others.send(()).unwrap();
    let gone = running.replacement().await;
    assert!(!gone.contains("expires"), "{gone}");
}

#[tokio::test]
async fn no_service_gets_the_ports_that_keep_a_node_going() {
    let mut all = service("a", "10.43.0.1", &[OWN, "198.51.100.7"]);
    let ports = json!([{"name": "api", "port": 6443}, {"name": "web", "port": 80}]);
    all.spec.as_mut().unwrap().ports = serde_json::from_value(ports).unwrap();
    let mut slice = slice("a", "10.42.0.2");
    let ports = json!([{"name": "api", "port": 8080}, {"name": "web", "port": 8080}]);
    slice.ports = serde_json::from_value(ports).unwrap();
    let mut running = Running::start(vec![all], vec![slice]);
    let first = running.transaction(Ok(())).await;
    for there in [
        "198.51.100.7 . tcp . 6443",
        "192.0.2.1 . tcp . 80",
        "10.43.0.1 . tcp . 6443",
    ] {
        assert!(first.contains(there), "{there} in {first}");
    }
    assert!(!first.contains("192.0.2.1 . tcp . 6443"), "{first}");
}

/// Whoever had it would have what other nodes' pods send each other.
#[tokio::test]
async fn no_service_gets_the_port_of_the_pod_network() {
    let mut all = service("a", "10.43.0.1", &[OWN]);
    let ports = json!([{"port": 8472, "protocol": "UDP"}]);
    all.spec.as_mut().unwrap().ports = serde_json::from_value(ports).unwrap();
    let mut slice = slice("a", "10.42.0.2");
    slice.ports = serde_json::from_value(json!([{"port": 8080, "protocol": "UDP"}])).unwrap();
    let mut running = Running::start(vec![all], vec![slice]);
    let first = running.transaction(Ok(())).await;
    assert!(first.contains("10.43.0.1 . udp . 8472"), "{first}");
    assert!(!first.contains("192.0.2.1 . udp . 8472"), "{first}");
}

/// What is for a node is not for whoever names its address; a load balancer may give it out.
#[tokio::test]
async fn addresses_of_other_nodes_are_no_external_ones() {
    let other = "192.0.2.2";
    let node = |addresses: serde_json::Value| -> Node {
        let node = json!({"metadata": {"name": "b"}, "status": {"addresses": addresses}});
        serde_json::from_value(node).unwrap()
    };
    let has =
        json!([{"type": "InternalIP", "address": other}, {"type": "Hostname", "address": "b"}]);
    let thief = service("a", "10.43.0.1", &[OWN, other, "198.51.100.7"]);
    let mut given = service("b", "10.43.0.2", &[]);
    given.spec.as_mut().unwrap().ports = serde_json::from_value(json!([{"port": 81}])).unwrap();
    let status = json!({"loadBalancer": {"ingress": [{"ip": other}]}});
    given.status = serde_json::from_value(status).unwrap();
    let slices = vec![slice("a", "10.42.0.2"), slice("b", "10.42.0.3")];
    let mut running = Running::start(vec![thief, given], slices);
    let first = running.transaction(Ok(())).await;
    assert!(first.contains("192.0.2.2 . tcp . 80"), "nobody's: {first}");
    running.nodes.apply(node(has));
    let change = running.transaction(Ok(())).await;
    let gone = format!("delete element ip {TABLE} external {{ {other} . tcp . 80 }}");
    assert!(change.contains(&gone), "{change}");
    for stays in [
        "192.0.2.1 . tcp . 80",
        "192.0.2.2 . tcp . 81",
        "198.51.100.7 . tcp . 80",
    ] {
        assert!(
            first.contains(stays) && !change.contains(stays),
            "{stays}: {change}"
        );
    }
    running.nodes.apply(node(json!([])));
    let change = running.transaction(Ok(())).await;
    let back = format!("add element ip {TABLE} external {{ {other} . tcp . 80 }}");
    assert!(change.contains(&back), "{change}");
}

#[tokio::test]
async fn a_frontend_of_two_services_is_the_firsts_until_it_goes() {
    let external = "198.51.100.7";
    let element = format!("{external} . tcp . 80");
    let services = vec![service("b", "10.43.0.2", &[external])];
    let slices = vec![slice("a", "10.42.0.2"), slice("b", "10.42.0.3")];
    let mut running = Running::start(services, slices);
    assert!(running.transaction(Ok(())).await.contains(&element));

    let second = service("a", "10.43.0.1", &[external, "10.43.0.2"]);
    running.services.apply(second);
    let change = running.transaction(Ok(())).await;
    assert!(change.contains("10.43.0.1 . tcp . 80"), "{change}");
    assert!(
        !change.contains(&element) && !change.contains("10.43.0.2"),
        "{change}"
    );

    running
        .services
        .remove(service("b", "10.43.0.2", &[external]));
    let change = running.transaction(Ok(())).await;
    assert!(
        change.contains(&format!(
            "delete element ip {TABLE} external {{ {element} }}"
        )),
        "{change}"
    );
    let change = running.transaction(Ok(())).await;
    assert!(
        change.contains(&format!("add element ip {TABLE} external {{ {element} }}")),
        "{change}"
    );
}

#[tokio::test]
async fn ranges_that_come_are_for_services_alone() {
    let stolen = "10.44.0.7";
    let services = vec![
        service("a", "10.44.0.1", &[]),
        service("b", "10.43.0.2", &[stolen]),
        service("c", "10.43.0.3", &[]),
    ];
    let slices = vec![slice("b", "10.42.0.3")];
    let mut running = Running::start(services, slices);
    let first = running.transaction(Ok(())).await;
    assert!(first.contains("10.44.0.7 . tcp . 80"), "{first}");
    // Nobody serves it, and it is not of the range that is refused as a whole.
    let unserved = |address: &str| format!("unserved {{ {address} . tcp . 80 }}");
    assert!(first.contains(&unserved("10.44.0.1")), "{first}");
    assert!(!first.contains(&unserved("10.43.0.3")), "{first}");
    let range =
        json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.44.0.0/16", "fd00::/64"]}});
    running.ranges.apply(serde_json::from_value(range).unwrap());
    let change = running.transaction(Ok(())).await;
    let gone = format!("delete element ip {TABLE} external {{ {stolen} . tcp . 80 }}");
    assert!(change.contains(&gone), "{change}");
}

/// Whoever may make a Service would have what others are sent (CVE-2020-8554).
#[tokio::test]
async fn what_the_cluster_gives_out_is_no_external_address() {
    let stolen = ["10.42.0.9", "169.254.20.10", "192.0.2.50", "198.51.100.7"];
    let services = vec![service("b", "10.43.0.2", &stolen)];
    let mut server = slice("kubernetes", "192.0.2.50");
    server.ports.as_mut().unwrap()[0].port = Some(80);
    let mut running = Running::start(services, vec![slice("b", "10.42.0.3"), server.clone()]);
    let first = running.transaction(Ok(())).await;
    assert!(first.contains("198.51.100.7 . tcp . 80"), "{first}");
    for address in &stolen[..3] {
        assert!(!first.contains(&format!("{address} . tcp . 80")), "{first}");
    }
    server.endpoints[0].addresses = vec!["198.51.100.7".to_owned()];
    running.slices.apply(server);
    let change = running.transaction(Ok(())).await;
    for change_of in ["delete element ip", "add element ip"] {
        let of = if change_of.starts_with("delete") {
            "198.51.100.7"
        } else {
            "192.0.2.50"
        };
        let wanted = format!("{change_of} {TABLE} external {{ {of} . tcp . 80 }}");
        assert!(change.contains(&wanted), "{change}");
    }
}

/// A service and its slices in both families.
fn dual(name: &str, last: u8) -> (Service, [EndpointSlice; 2]) {
    let mut both = service(name, &format!("10.43.0.{last}"), &[]);
    let spec = both.spec.as_mut().unwrap();
    let ips = [format!("10.43.0.{last}"), format!("fd00:43::{last}")];
    spec.cluster_ips = Some(ips.to_vec());
    let slices = [
        slice(name, &format!("10.42.0.{last}")),
        slice6(name, &format!("fd00:42::{last}")),
    ];
    (both, slices)
}

fn slice6(service: &str, address: &str) -> EndpointSlice {
    let mut slice = slice(service, address);
    slice.metadata.name = Some(format!("{service}-6"));
    slice.address_type = "IPv6".to_owned();
    slice
}

#[tokio::test]
async fn one_transaction_changes_both_families() {
    let (a, slices) = dual("a", 2);
    let six = service("six", "fd00:43::3", &["198.51.100.7", "2001:db8::7"]);
    let mut running = Running::start_with(dual_config(), vec![a, six], slices.to_vec());
    let first = running.transaction(Ok(())).await;
    for there in [
        format!(
            "add element ip {TABLE} endpoints-1 {{ 10.43.0.2 . tcp . 80 . 0x0 : 10.42.0.2 . 8080 }}"
        ),
        format!(
            "add element ip6 {TABLE} endpoints-1 {{ fd00:43::2 . tcp . 80 . 0x0 : fd00:42::2 . 8080 }}"
        ),
        format!("add element ip {TABLE} cluster {{ 10.42.0.0/16 }}"),
        format!("add element ip6 {TABLE} cluster {{ fd00:42::/56 }}"),
        // Without endpoints it is refused, in the family in which it has a cluster address.
        format!("add element ip6 {TABLE} unserved {{ 2001:db8::7 . tcp . 80 }}"),
        "ip6 daddr fd00:43::a meta l4proto { tcp, udp } th dport 53 dnat ip6 to fd6b:6e61:7272::53"
            .to_owned(),
    ] {
        assert!(first.contains(&there), "{there} in {first}");
    }
    assert!(!first.contains("198.51.100.7"), "{first}");
    // What changes in one family touches nothing of the other.
    running.slices.apply(slice6("a", "fd00:42::9"));
    let change = running.transaction(Ok(())).await;
    assert!(
        change.contains("fd00:42::9") && !change.contains("ip knarr"),
        "{change}"
    );
    // A node port is of the families of its service.
    let mut six = service("six", "fd00:43::3", &[]);
    let ports = json!([{"port": 80, "nodePort": 30080}]);
    six.spec.as_mut().unwrap().ports = serde_json::from_value(ports).unwrap();
    running.services.apply(six);
    running.transaction(Ok(())).await;
    running.slices.apply(slice6("six", "fd00:42::3"));
    let change = running.transaction(Ok(())).await;
    assert!(
        change.contains(&format!(
            "add element ip6 {TABLE} external-nodeports {{ tcp . 30080 }}"
        )) && !change.contains("ip knarr"),
        "{change}"
    );
}

#[tokio::test]
async fn a_cluster_of_one_family_leaves_no_table_of_the_other() {
    let (a, slices) = dual("a", 2);
    let (ip, ip6) = ("ip", "ip6");
    let mut config6 = dual_config();
    config6.service_cidrs.remove(0);
    for (config, own, other) in [(config(), ip, ip6), (config6, ip6, ip)] {
        let mut running = Running::start_with(config, vec![a.clone()], slices.to_vec());
        let (first, replaces) = timeout(SOON, running.offered.recv())
            .await
            .unwrap()
            .unwrap();
        assert!(replaces);
        assert!(
            first.contains(&format!("add element {own} {TABLE} hairpin")),
            "{first}"
        );
        let others: Vec<_> = first
            .lines()
            .filter(|line| line.contains(&format!(" {other} {TABLE}")))
            .collect();
        let gone = ["add", "delete"].map(|verb| format!("{verb} table {other} {TABLE}"));
        assert_eq!(others, gone);
    }
}
