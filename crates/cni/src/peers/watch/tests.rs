use std::net::Ipv4Addr;

use rtnetlink::{
    LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::AddressMessage,
        neighbour::NeighbourMessage,
        route::{RouteMessage, RouteType},
    },
};

use super::*;

const METRIC: u32 = 77;

fn ours() -> Ours {
    Ours {
        metric: METRIC,
        pod_links: "knarrabcd".to_owned(),
        overlay: Some(9),
    }
}

fn route(bits: u8, metric: u32) -> RouteMessage {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::new(10, 42, 1, 0), bits)
        .priority(metric);
    route.build()
}

#[test]
fn what_pods_and_we_do_ourselves_wakes_nobody() {
    use RouteNetlinkMessage::{
        DelAddress, DelLink, DelNeighbour, DelRoute, NewAddress, NewLink, NewNeighbour, NewRoute,
    };
    let link = |name: &str| LinkUnspec::new_with_name(name).build();
    let neighbour = |index| {
        let mut entry = NeighbourMessage::default();
        entry.header.ifindex = index;
        entry
    };
    let mut local = route(24, 0);
    local.header.table = 255;
    local.header.kind = RouteType::Local;
    for (what, message, expected) in [
        ("a pod comes", NewLink(link("knarrabcdxyz")), false),
        ("a pod goes", DelLink(link("knarrabcdxyz")), false),
        ("a link comes", NewLink(link("eth1")), true),
        ("a link goes", DelLink(link("kx-abcdefgh")), true),
        ("a pod's route", NewRoute(route(32, 0)), false),
        ("a pod's route goes", DelRoute(route(32, 0)), false),
        ("our route", NewRoute(route(24, METRIC)), false),
        ("our route goes", DelRoute(route(24, METRIC)), true),
        ("another's route", NewRoute(route(24, 0)), true),
        ("another's route goes", DelRoute(route(24, 0)), true),
        ("a route of another table", NewRoute(local), false),
        ("an address", NewAddress(AddressMessage::default()), true),
        (
            "an address goes",
            DelAddress(AddressMessage::default()),
            true,
        ),
        ("a neighbour", NewNeighbour(neighbour(9)), false),
        ("a node's entry goes", DelNeighbour(neighbour(9)), true),
        ("another's entry goes", DelNeighbour(neighbour(8)), false),
    ] {
        assert_eq!(ours().concerns(&message), expected, "{what}");
    }
}

#[test]
fn a_datagram_is_read_message_by_message() {
    let mut bytes = Vec::new();
    for metric in [0, METRIC] {
        let inner = RouteNetlinkMessage::NewRoute(route(24, metric));
        let mut message = NetlinkMessage::from(inner);
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        message.serialize(&mut bytes[start..]);
    }
    assert_eq!(messages(&bytes).count(), 2);
    assert_eq!(messages(&bytes[..bytes.len() - 1]).count(), 1);
    assert_eq!(messages(&[]).count(), 0);
    assert_eq!(messages(&[0; 64]).count(), 0);
}
