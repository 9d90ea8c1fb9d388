use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use knarr_nft::Connection;

use crate::{
    model::{Endpoint, Frontend, ServiceKey},
    rules::{Balanced, ServiceRules},
    testing::{cluster_ip, in_namespace, network, pod},
    transaction::{Applied, replace},
};

use super::*;

const NODE_PORT: u16 = 30080;
const SOON: Duration = Duration::from_secs(5);
/// One of 20 endpoints is not met in so many connections with a chance of 10^-8.
const CONNECTIONS: usize = 420;

fn endpoint(family: Family, last: u8) -> Endpoint {
    Endpoint {
        address: pod(family, last),
        port: 8080,
    }
}

fn frontend(address: Option<IpAddr>, port: u16) -> Frontend {
    Frontend {
        address,
        protocol: Protocol::Tcp,
        port,
    }
}

fn ip(line: &str) {
    let done = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(done.success(), "{line}");
}

/// Makes the table with so many endpoints of one service.
fn program(family: Family, count: u8) {
    let all: Vec<_> = (1..=count).map(|last| endpoint(family, last)).collect();
    let balanced = Balanced {
        all: all.into(),
        local: None,
        masquerade: false,
    };
    let frontends = [
        frontend(Some(cluster_ip(family, 1)), 80),
        frontend(None, NODE_PORT),
    ];
    let rules = ServiceRules {
        balanced: frontends.map(|f| (f, balanced.clone())).into(),
        ..ServiceRules::default()
    };
    let key = ServiceKey {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    };
    let mut all = Applied::overlay(1);
    all.set(key, Some(rules).filter(|_| count > 0));
    let made = replace(&network(family), &all);
    Connection::open().unwrap().commit(&made, None).unwrap();
}

/// How often each endpoint answers.
fn meet(listener: &TcpListener, address: SocketAddr) -> BTreeMap<u8, usize> {
    let mut met = BTreeMap::new();
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect_timeout(&address, SOON).unwrap();
        let (server, _) = listener.accept().unwrap();
        let last = match server.local_addr().unwrap().ip() {
            IpAddr::V4(own) => own.octets()[3],
            IpAddr::V6(own) => own.octets()[15],
        };
        *met.entry(last).or_default() += 1;
        drop((client, server));
    }
    met
}

/// Connections from the node itself to endpoints that are its own addresses.
fn shares(family: Family, own: &str, routes: [&str; 3]) {
    in_namespace(|| {
        ip("link set lo up");
        routes.iter().for_each(|line| ip(line));
        for last in 1..=20 {
            let (address, bits) = match family {
                Family::Ip => (pod(family, last), 32),
                Family::Ip6 => (pod(family, last), 128),
            };
            ip(&format!("address add {address}/{bits} dev lo"));
        }
        let any: IpAddr = match family {
            Family::Ip => [0; 4].into(),
            Family::Ip6 => [0_u16; 8].into(),
        };
        let listener = TcpListener::bind((any, 8080)).unwrap();
        let service = SocketAddr::from((cluster_ip(family, 1), 80));
        let node = SocketAddr::from((own.parse::<IpAddr>().unwrap(), NODE_PORT));
        for count in [1, 3, 16, 17, 20] {
            program(family, count);
            for address in [service, node] {
                let met = meet(&listener, address);
                let wanted: Vec<u8> = (1..=count).collect();
                assert_eq!(met.keys().copied().collect::<Vec<_>>(), wanted, "{address}");
                let (share, most) = (CONNECTIONS / usize::from(count), met.values().max());
                assert!(*most.unwrap() <= 3 * share + 10, "{met:?}");
            }
        }
        program(family, 0);
        let refused = TcpStream::connect_timeout(&service, SOON).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn every_endpoint_has_its_share() {
    let lines = [
        "address add 10.42.0.0/24 dev lo",
        "address add 192.0.2.1/32 dev lo",
        "route add 10.43.0.0/16 dev lo",
    ];
    shares(Family::Ip, "192.0.2.1", lines);
}

#[test]
fn every_endpoint_of_ipv6_has_its_share() {
    let lines = [
        "-6 route add local fd00:42::/64 dev lo",
        "address add 2001:db8::1/128 dev lo",
        "-6 route add fd00:43::/108 dev lo",
    ];
    shares(Family::Ip6, "2001:db8::1", lines);
}
