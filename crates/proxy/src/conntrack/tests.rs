use std::net::SocketAddr;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::conntrack::Status;
use nix::sched::{CloneFlags, unshare};

use super::*;

const CTA_TIMEOUT_SECONDS: u32 = 600;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn endpoint(text: &str) -> Endpoint {
    let address = at(text);
    Endpoint {
        address: address.ip(),
        port: address.port(),
    }
}

fn udp(text: &str) -> Frontend {
    let address = at(text);
    Frontend {
        address: Some(address.ip()),
        protocol: knarr_nft::Protocol::Udp,
        port: address.port(),
    }
}

fn node_port(port: u16) -> Frontend {
    Frontend {
        address: None,
        protocol: knarr_nft::Protocol::Udp,
        port,
    }
}

fn server(last: u8, port: u16) -> Endpoint {
    let address = [10, 42, 0, last].into();
    Endpoint { address, port }
}

fn servers(last: &[u8]) -> BTreeSet<Endpoint> {
    last.iter().map(|last| server(*last, 5353)).collect()
}

#[test]
fn flows_go_that_lead_to_nobody() {
    let flows = Flows::from([
        (udp("10.43.0.9:53"), servers(&[2, 3])),
        (node_port(30053), servers(&[2])),
        (udp("10.43.0.7:53"), servers(&[])),
    ]);
    let local = HashSet::from([IpAddr::from([192, 0, 2, 1])]);
    let cases = [
        ("10.43.0.9:53", "10.42.0.2:5353", false),
        ("10.43.0.9:53", "10.42.0.4:5353", true),
        // The port that the endpoint had before.
        ("10.43.0.9:53", "10.42.0.2:53", true),
        // Nobody serves any more.
        ("10.43.0.7:53", "10.42.0.2:5353", true),
        // Never translated.
        ("10.43.0.9:53", "10.43.0.9:53", true),
        ("192.0.2.1:30053", "192.0.2.1:30053", true),
        ("192.0.2.1:30053", "10.42.0.2:5353", false),
        // Somebody else's.
        ("10.43.0.9:54", "10.42.0.4:5353", false),
        ("10.43.0.8:53", "10.42.0.4:5353", false),
        ("192.0.2.7:30053", "192.0.2.7:30053", false),
    ];
    for (destination, server, wanted) in cases {
        let flow = Flow {
            frontend: udp(destination),
            server: endpoint(server),
            identity: Vec::new(),
        };
        let found = is_stale(&flow, &flows, &local);
        assert_eq!(found, wanted, "{destination} answered by {server}");
    }
}

fn tuple(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Vec<Tuple> {
    vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(source.ip()),
            IPTuple::DestinationAddress(destination.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(protocol),
            ProtoTuple::SourcePort(source.port()),
            ProtoTuple::DestinationPort(destination.port()),
        ]),
    ]
}

/// Puts an entry into the table, as if packets had passed.
async fn insert(protocol: Protocol, client: &str, destination: &str, server: &str) {
    let (client, destination, server) = (at(client), at(destination), at(server));
    let mut attributes = vec![
        ConntrackAttribute::CtaTupleOrig(tuple(protocol, client, destination)),
        ConntrackAttribute::CtaTupleReply(tuple(protocol, server, client)),
        ConntrackAttribute::CtaStatus(Status::Confirmed | Status::SeenReply),
        ConntrackAttribute::CtaTimeout(CTA_TIMEOUT_SECONDS),
    ];
    if protocol == Protocol::Tcp {
        use netlink_packet_netfilter::conntrack::{ProtoInfo, ProtoInfoTCP};
        let established = ProtoInfo::TCP(vec![ProtoInfoTCP::State(3)]);
        attributes.push(ConntrackAttribute::CtaProtoInfo(vec![established]));
    }
    let message = ConntrackMessage::New(attributes);
    let mut socket = Netlink::send(Family::of(client.ip()), message, NLM_F_CREATE | NLM_F_ACK)
        .await
        .unwrap();
    assert_eq!(socket.next().await.unwrap(), None);
}

/// Ports of the clients whose UDP flows the kernel knows.
async fn clients(family: Family) -> BTreeSet<u16> {
    let mut socket = Netlink::send(family, ConntrackMessage::Get(Vec::new()), NLM_F_DUMP)
        .await
        .unwrap();
    let mut found = BTreeSet::new();
    while let Some(attributes) = socket.next().await.unwrap() {
        for attribute in attributes {
            if let ConntrackAttribute::CtaTupleReply(parts) = attribute
                && let Some((_, port)) = super::parts(&parts, Side::Destination)
            {
                found.insert(port);
            }
        }
    }
    found
}

/// Entries of every sort, in a network namespace that ends with its thread.
async fn check() {
    for (client, destination, server) in [
        ("10.42.0.9:1001", "10.43.0.9:53", "10.42.0.2:5353"),
        ("10.42.0.9:1002", "10.43.0.9:53", "10.42.0.4:5353"),
        ("10.42.0.9:1003", "10.43.0.8:53", "10.42.0.4:5353"),
    ] {
        insert(Protocol::Udp, client, destination, server).await;
    }
    let tcp = ("10.42.0.9:1004", "10.43.0.9:53", "10.42.0.4:5353");
    insert(Protocol::Tcp, tcp.0, tcp.1, tcp.2).await;
    assert_eq!(
        clients(Family::Ip).await,
        BTreeSet::from([1001, 1002, 1003])
    );

    let mut socket = Netlink::send(Family::Ip, list_udp(), NLM_F_DUMP)
        .await
        .unwrap();
    let mut entries = 0;
    while socket.next().await.unwrap().is_some() {
        entries += 1;
    }
    assert_eq!(entries, 3, "the kernel leaves TCP out");

    let flows = Flows::from([(udp("10.43.0.9:53"), servers(&[2, 3]))]);
    assert_eq!(clean(Family::Ip, &flows).await.unwrap(), 1);
    assert_eq!(clients(Family::Ip).await, BTreeSet::from([1001, 1003]));
    assert_eq!(clean(Family::Ip, &flows).await.unwrap(), 0);
    assert_eq!(clean(Family::Ip, &Flows::new()).await.unwrap(), 0);

    // More than one round's worth.
    for port in 0..u16::try_from(BATCH_ENTRIES).unwrap() + 10 {
        let client = format!("10.42.0.9:{}", 2000 + port);
        insert(Protocol::Udp, &client, "10.43.0.9:53", "10.42.0.4:5353").await;
    }
    assert_eq!(clean(Family::Ip, &flows).await.unwrap(), BATCH_ENTRIES + 10);
    assert_eq!(clients(Family::Ip).await, BTreeSet::from([1001, 1003]));
}

/// The same in IPv6, beside flows of IPv4.
async fn check6() {
    for (client, destination, server) in [
        ("[fd00:42::9]:1001", "[fd00:43::9]:53", "[fd00:42::2]:5353"),
        ("[fd00:42::9]:1002", "[fd00:43::9]:53", "[fd00:42::4]:5353"),
        ("[fd00:42::9]:1003", "[fd00:43::8]:53", "[fd00:42::4]:5353"),
        ("[fd00:42::9]:1005", "[::1]:30053", "[fd00:42::4]:5353"),
        ("10.42.0.9:1006", "10.43.0.9:53", "10.42.0.4:5353"),
    ] {
        insert(Protocol::Udp, client, destination, server).await;
    }
    let tcp = ("[fd00:42::9]:1004", "[fd00:43::9]:53", "[fd00:42::4]:5353");
    insert(Protocol::Tcp, tcp.0, tcp.1, tcp.2).await;
    let known = BTreeSet::from([1001, 1002, 1003, 1005]);
    assert_eq!(clients(Family::Ip6).await, known);
    let flows = Flows::from([
        (
            udp("[fd00:43::9]:53"),
            BTreeSet::from([endpoint("[fd00:42::2]:5353")]),
        ),
        (node_port(30053), BTreeSet::new()),
    ]);
    // No address of this namespace.
    assert_eq!(clean(Family::Ip6, &flows).await.unwrap(), 1);
    let up = std::process::Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(up.unwrap().success());
    assert_eq!(clean(Family::Ip6, &flows).await.unwrap(), 1);
    assert_eq!(clients(Family::Ip6).await, BTreeSet::from([1001, 1003]));
    assert_eq!(clients(Family::Ip).await, BTreeSet::from([1006]));
}

#[test]
fn the_kernel_deletes_stale_flows_only() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    let there = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(check());
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        runtime.block_on(check6());
    });
    there.join().unwrap();
}
