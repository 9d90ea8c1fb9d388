//! Real connections between pods of a node, in both families.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
};

use knarr_nft::{Connection, Family, Transaction};
use knarr_testkit::machine::Machine;
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, recv, sendto,
        setsockopt, socket, sockopt,
    },
    time::{TimeVal, TimeValLike},
};
use serde_json::{Value, json};

use crate::{
    dns_server, layout,
    planner::Planner,
    testing::{address, address6, dual_pod, labels, set_policy},
};

const TABLE: &str = "knarr-policy";
/// The port that pods call `web`, and another one.
const WEB: u16 = 80;
const OTHER: u16 = 8080;

fn at(family: Family, last: u8) -> IpAddr {
    match family {
        Family::Ip => address(last),
        Family::Ip6 => address6(last),
    }
}

fn dns() -> [IpAddr; 2] {
    ["169.254.20.10", "fd6b:6e61:7272::53"].map(|text| text.parse().unwrap())
}

/// A node with two pods: 2 of namespace x, and 3 of y.
struct Net {
    node: Machine,
    x: Machine,
    y: Machine,
    planner: Planner,
}

impl Net {
    fn new() -> Self {
        let (node, x, y) = (Machine::new(), Machine::new(), Machine::new());
        node.forward();
        for (name, pod, last) in [("pod-x", &x, 2), ("pod-y", &y, 3)] {
            let own = Family::BOTH.map(|family| at(family, last));
            node.connect_pod(name, pod, &own);
            for port in [WEB, OTHER] {
                pod.serve(if last == 2 { "x" } else { "y" }, port);
            }
        }
        let [ip, ip6] = dns();
        node.ip(&format!("address add {ip}/32 dev lo"));
        node.ip(&format!("address add {ip6}/128 dev lo"));
        node.serve("dns", 53);
        let mut planner = Planner::default();
        planner.set_pod(&"".into(), Some(dns_server(&dns())));
        for (namespace, last, app) in [("x", 2, "app=web"), ("y", 3, "app=db")] {
            planner.set_namespace(namespace, Some(labels(&format!("team={namespace}"))));
            let (uid, facts) = dual_pod(namespace, last, app);
            planner.set_pod(&uid, Some(facts));
        }
        planner.set_namespace("kube-system", Some(labels("team=system")));
        Self {
            node,
            x,
            y,
            planner,
        }
    }

    /// Makes the policies of x those, and all neighbours strangers.
    fn policies(&mut self, specs: &[Value]) {
        for number in 0..4 {
            let name = number.to_string();
            match specs.get(number) {
                Some(spec) => set_policy(&mut self.planner, "x", &name, spec.clone()),
                None => self.planner.set_policy("x", &name, None),
            }
        }
        let mut made = Transaction::new();
        for family in Family::BOTH {
            let table = layout::table(family, TABLE);
            made.append(layout::whole(&table, &dns(), &self.planner));
        }
        let committed = self.node.run(|| Connection::open()?.commit(&made, None));
        committed.unwrap_or_else(|error| panic!("{error}\n{made}"));
        for machine in [&self.node, &self.x, &self.y] {
            machine.ip("-6 neighbour flush all");
        }
    }

    /// Who is reached in a family: y by x and x by y, at both ports, and the node's DNS server by x.
    fn reached(&self, family: Family) -> String {
        let cell = |from: &Machine, to: IpAddr, port| match from.call((to, port)).as_str() {
            "nothing" => '.',
            answer if answer.contains(' ') => 'X',
            other => panic!("{other}"),
        };
        let of = |from, last| [WEB, OTHER].map(|port| cell(from, at(family, last), port));
        let [ip, ip6] = dns();
        let dns = if family == Family::Ip { ip } else { ip6 };
        let asked = [cell(&self.x, dns, 53)];
        [&of(&self.x, 3)[..], &[' '], &of(&self.y, 2), &[' '], &asked]
            .concat()
            .into_iter()
            .collect()
    }
}

#[test]
fn both_families_are_isolated() {
    if !Machine::allowed() {
        return;
    }
    let mut net = Net::new();
    let from_y = json!([{"namespaceSelector": {"matchLabels": {"team": "y"}}}]);
    let all: &[Value] = &[json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})];
    let blocks = |ip: &str, ip6: &str| {
        let peers = [ip, ip6].map(|cidr| json!({"ipBlock": {"cidr": cidr}}));
        json!({"podSelector": {}, "ingress": [{"from": peers}]})
    };
    let system = json!({
        "namespaceSelector": {"matchLabels": {"team": "system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    });
    let to_dns =
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [system]}]});
    for (specs, wanted, wanted6) in [
        (vec![], "XX XX X", "XX XX X"),
        (all.to_vec(), ".. .. .", ".. .. ."),
        (
            vec![
                json!({"podSelector": {}, "ingress": [{"from": from_y, "ports": [{"port": "web"}]}]}),
            ],
            "XX X. X",
            "XX X. X",
        ),
        (
            vec![
                json!({"podSelector": {}, "ingress": [{"ports": [{"port": 8000, "endPort": 9000}]}]}),
            ],
            "XX .X X",
            "XX .X X",
        ),
        (
            vec![blocks("10.42.0.3/32", "fd00:42::3/128")],
            "XX XX X",
            "XX XX X",
        ),
        // Each family by its own blocks.
        (
            vec![blocks("10.42.0.3/32", "fd00:42::4/126")],
            "XX XX X",
            "XX .. X",
        ),
        (vec![blocks("10.42.0.4/32", "::/0")], "XX .. X", "XX XX X"),
        (vec![to_dns.clone()], ".. XX X", ".. XX X"),
    ] {
        net.policies(&specs);
        assert_eq!(net.reached(Family::Ip), wanted, "{specs:?}");
        assert_eq!(net.reached(Family::Ip6), wanted6, "IPv6: {specs:?}");
    }
}

#[test]
fn nobody_asks_for_names_from_an_address_of_the_link() {
    if !Machine::allowed() {
        return;
    }
    let mut net = Net::new();
    net.policies(&[]);
    let [_, dns] = dns();
    assert_eq!(net.x.call((dns, 53)), format!("dns {}", at(Family::Ip6, 2)));
    net.x.ip(&format!(
        "-6 route add {dns}/128 via fe80::1 dev pod-x src fe80::2"
    ));
    assert_eq!(net.x.call((dns, 53)), "nothing");
}

/// Neighbours are found on a link: what is forwarded as if somebody asked for one is data.
#[test]
fn nothing_passes_as_a_question_for_neighbours() {
    const TYPES: std::ops::RangeInclusive<u8> = 133..=137;
    if !Machine::allowed() {
        return;
    }
    let mut net = Net::new();
    let to = SocketAddrV6::new("fd00:42::3".parse().unwrap(), 0, 0, 0);
    let receiver = net.y.run(raw_icmp);
    let patience = TimeVal::milliseconds(500);
    setsockopt(&receiver, sockopt::ReceiveTimeout, &patience).unwrap();
    let all = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    for (specs, passes) in [(vec![], true), (vec![all], false)] {
        net.policies(&specs);
        let sender = net.x.run(raw_icmp);
        for kind in TYPES {
            let mut message = [0; 32];
            (message[0], message[31]) = (kind, b'!');
            let to = SockaddrIn6::from(to);
            sendto(sender.as_raw_fd(), &message, &to, MsgFlags::empty()).unwrap();
        }
        let mut taken = BTreeSet::new();
        let mut message = [0; 64];
        while let Ok(length) = recv(receiver.as_raw_fd(), &mut message, MsgFlags::empty()) {
            if length == 32 && message[31] == b'!' {
                taken.insert(message[0]);
            }
        }
        assert_eq!(!taken.is_empty(), passes, "{specs:?}: {taken:?}");
    }
}

fn raw_icmp() -> OwnedFd {
    let protocol = SockProtocol::IcmpV6;
    socket(
        AddressFamily::Inet6,
        SockType::Raw,
        SockFlag::empty(),
        protocol,
    )
    .unwrap()
}
