use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use knarr_nft::Connection;

use crate::{
    model::{Endpoint, Frontend, ServiceKey},
    rules::{Balanced, ServiceRules},
    testing::{config, in_namespace},
    transaction::{Applied, replace},
};

use super::*;

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 1);
const NODE_PORT: u16 = 30080;
const SOON: Duration = Duration::from_secs(5);
/// One of 20 endpoints is not met in so many connections with a chance of 10^-8.
const CONNECTIONS: usize = 420;

fn endpoint(last: u8) -> Endpoint {
    Endpoint {
        address: Ipv4Addr::new(10, 42, 0, last),
        port: 8080,
    }
}

fn frontend(address: Option<Ipv4Addr>, port: u16) -> Frontend {
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
fn program(count: u8) {
    let all: Vec<_> = (1..=count).map(endpoint).collect();
    let balanced = Balanced {
        all: all.into(),
        local: None,
        masquerade: false,
    };
    let frontends = [frontend(Some(SERVICE), 80), frontend(None, NODE_PORT)];
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
    let made = replace(&config(), &all);
    Connection::open().unwrap().commit(&made, None).unwrap();
}

/// How often each endpoint answers.
fn meet(listener: &TcpListener, address: SocketAddr) -> BTreeMap<u8, usize> {
    let mut met = BTreeMap::new();
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect_timeout(&address, SOON).unwrap();
        let (server, _) = listener.accept().unwrap();
        let SocketAddr::V4(own) = server.local_addr().unwrap() else {
            panic!("not of IPv4");
        };
        *met.entry(own.ip().octets()[3]).or_default() += 1;
        drop((client, server));
    }
    met
}

/// Connections from the node itself to endpoints that are its own addresses.
#[test]
fn every_endpoint_has_its_share() {
    in_namespace(|| {
        ip("link set lo up");
        ip("address add 10.42.0.0/24 dev lo");
        ip("address add 192.0.2.1/32 dev lo");
        ip("route add 10.43.0.0/16 dev lo");
        for last in 1..=20 {
            ip(&format!("address add 10.42.0.{last}/32 dev lo"));
        }
        let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        let service = SocketAddr::from((SERVICE, 80));
        let node = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), NODE_PORT));
        for count in [1, 3, 16, 17, 20] {
            program(count);
            for address in [service, node] {
                let met = meet(&listener, address);
                let wanted: Vec<u8> = (1..=count).collect();
                assert_eq!(met.keys().copied().collect::<Vec<_>>(), wanted, "{address}");
                let (share, most) = (CONNECTIONS / usize::from(count), met.values().max());
                assert!(*most.unwrap() <= 3 * share + 10, "{met:?}");
            }
        }
        program(0);
        let refused = TcpStream::connect_timeout(&service, SOON).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}
