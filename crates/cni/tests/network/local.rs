//! Nodes that share a machine.

use std::net::IpAddr;

use knarr_cni::local::{self, LocalNodes, NodeNamespace};

use crate::{
    cluster::Cluster,
    kit::{Machine, allowed, deliver, deliver_by, is_lost, run},
};

#[test]
fn nodes_reach_each_other_and_the_world() {
    if !allowed() {
        return;
    }
    let (cluster, world) = (Cluster::new(), Machine::new());
    let machine = &cluster.machine;
    machine.connect("wire", "192.0.2.1/24", &world, "192.0.2.2/24");
    let nodes = cluster.prepare(None).unwrap();
    let two = cluster.add(&nodes, "two", 2);
    let three = cluster.add(&nodes, "three.example", 3);
    let own = (machine.path.as_path(), Cluster::own(&nodes, 0));
    let at = |node: &NodeNamespace| (node.path.clone(), node.addresses[0]);
    let (two, three) = (at(&two), at(&three));
    let (two, three) = ((two.0.as_path(), two.1), (three.0.as_path(), three.1));
    for (from, to) in [(own, two), (two, own), (two, three), (three, two)] {
        assert_eq!(deliver(from, to, 1400), from.1);
    }
    // The world does not know the nodes' addresses.
    let outside: IpAddr = "192.0.2.2".parse().unwrap();
    let source = deliver(two, (&world.path, outside), 1400);
    assert_eq!(source.to_string(), "192.0.2.1");
}

#[test]
fn a_second_start_finds_what_is_there() {
    if !allowed() {
        return;
    }
    let cluster = Cluster::new();
    let nodes = cluster.prepare(None).unwrap();
    let two = cluster.add(&nodes, "two", 2);
    let own = (cluster.machine.path.clone(), Cluster::own(&nodes, 0));
    let (made, inside) = (cluster.machine.state(), run(&two.path, "ip route"));
    let other = "10.9.0.0/24";
    let error = cluster.prepare(Some(other)).unwrap_err();
    assert!(error.contains(other), "{error}");
    let again = cluster.prepare(None).unwrap();
    assert_eq!(again.ranges(), nodes.ranges());
    let found = cluster.add(&again, "two", 2);
    assert_eq!(
        (found.path, found.addresses),
        (two.path.clone(), two.addresses.clone())
    );
    assert_eq!(cluster.machine.state(), made);
    assert_eq!(run(&two.path, "ip route"), inside);
    deliver((&own.0, own.1), (&two.path, two.addresses[0]), 8);
}

#[test]
fn nodes_have_addresses_of_both_families() {
    if !allowed() {
        return;
    }
    let (cluster, world) = (Cluster::new(), Machine::new());
    let machine = &cluster.machine;
    machine.connect("wire", "2001:db8::1/64", &world, "2001:db8::2/64");
    // As a machine that got one family with its first start and both with the next.
    cluster.prepare(None).unwrap();
    let nodes = cluster.prepare_both();
    let (two, three) = (
        cluster.add(&nodes, "two", 2),
        cluster.add(&nodes, "three", 3),
    );
    for family in [0, 1] {
        let own = (machine.path.as_path(), Cluster::own(&nodes, family));
        let two = (two.path.as_path(), two.addresses[family]);
        let three = (three.path.as_path(), three.addresses[family]);
        for (from, to) in [(own, two), (two, own), (two, three), (three, two)] {
            assert_eq!(deliver(from, to, 1400), from.1);
        }
    }
    let outside: IpAddr = "2001:db8::2".parse().unwrap();
    let source = deliver((&two.path, two.addresses[1]), (&world.path, outside), 1400);
    assert_eq!(source.to_string(), "2001:db8::1");
    let (made, inside) = (machine.state(), run(&two.path, "ip -6 route"));
    let again = cluster.prepare_both();
    assert_eq!(again.ranges(), nodes.ranges());
    cluster.add(&again, "two", 2);
    assert_eq!(
        (machine.state(), run(&two.path, "ip -6 route")),
        (made, inside)
    );
}

#[test]
fn a_node_can_be_cut_off_and_healed() {
    if !allowed() {
        return;
    }
    let cluster = Cluster::new();
    let (machine, instance) = (&cluster.machine, &cluster.instance);
    let nodes = cluster.prepare(None).unwrap();
    let two = cluster.add(&nodes, "two", 2);
    let (own, there) = (
        (machine.path.as_path(), Cluster::own(&nodes, 0)),
        (two.path.as_path(), two.addresses[0]),
    );
    deliver(own, there, 8);
    machine.block_on(|| local::cut(instance, "two")).unwrap();
    assert!(is_lost(own, there) && is_lost(there, own));
    cluster.add(&nodes, "two", 2);
    let is_cut = || machine.block_on(|| local::is_cut(instance, "two")).unwrap();
    assert!(is_cut(), "it stays so");
    machine.block_on(|| local::heal(instance, "two")).unwrap();
    assert!(!is_cut());
    deliver(own, there, 8);
    deliver(there, own, 8);
    let error = machine
        .block_on(|| local::cut(instance, "three"))
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no node three on this machine");
}

#[test]
fn clusters_side_by_side_leave_each_other_alone() {
    if !allowed() {
        return;
    }
    let (one, other) = (Cluster::new(), Cluster::new());
    let untouched = one.machine.state();
    let nodes = [&one, &other].map(|cluster| cluster.prepare(None).unwrap());
    let kept = cluster_of(&other, &nodes[1]);
    let two = cluster_of(&one, &nodes[0]);
    assert_eq!(local::list(&one.instance).unwrap(), ["two"]);
    one.teardown();
    one.teardown();
    assert_eq!(local::list(&one.instance).unwrap(), [""; 0]);
    assert!(!two.path.exists());
    assert_eq!(one.machine.state(), untouched);
    let own = (other.machine.path.as_path(), Cluster::own(&nodes[1], 0));
    deliver(own, (&kept.path, kept.addresses[0]), 8);
    // One node only.
    let deleted = other
        .machine
        .block_on(|| local::delete(&other.instance, "two"));
    deleted.unwrap();
    assert!(!kept.path.exists());
    let again = cluster_of(&other, &nodes[1]);
    deliver(own, (&again.path, again.addresses[0]), 8);
}

fn cluster_of(cluster: &Cluster, nodes: &LocalNodes) -> NodeNamespace {
    cluster.add(nodes, "two", 2)
}

#[test]
fn odd_names_numbers_and_ranges_are_refused() {
    if !allowed() {
        return;
    }
    let cluster = Cluster::new();
    cluster.machine.ip("address add 10.8.1.1/24 dev lo");
    let refused = [
        (
            "10.8.0.0/16",
            "this machine uses 10.8.1.1/32 on lo, of the addresses of its nodes, 10.8.0.0/16",
        ),
        (
            "10.9.0.0/28",
            "10.9.0.0/28 cannot be the range of this machine's nodes: it must be of IPv4 and have 8 to 24 bits",
        ),
        (
            "fd00::/24",
            "fd00::/24 cannot be the range of this machine's nodes: it must be of IPv4 and have 8 to 24 bits",
        ),
    ];
    for (range, expected) in refused {
        assert_eq!(cluster.prepare(Some(range)).unwrap_err(), expected);
    }
    let nodes = cluster.prepare(Some("10.9.0.0/24")).unwrap();
    assert_eq!(Cluster::own(&nodes, 0).to_string(), "10.9.0.1");
    let long = "a".repeat(250);
    for (name, number) in [
        ("", 2),
        ("../x", 2),
        ("a b", 2),
        (&long, 2),
        ("two", 1),
        ("two", 251),
    ] {
        let added = cluster.machine.block_on(|| nodes.add(name, number));
        assert!(added.is_err(), "{name} {number}");
    }
}

/// As by a node port of the first node whose endpoint is on the caller's.
#[test]
fn a_node_that_is_led_back_to_itself_meets_itself() {
    if !allowed() {
        return;
    }
    let cluster = Cluster::new();
    let nodes = cluster.prepare(None).unwrap();
    let two = cluster.add(&nodes, "two", 2);
    let (first, second) = (Cluster::own(&nodes, 0), two.addresses[0]);
    let machine = cluster.machine.path.as_path();
    for rule in [
        "add table ip ports".to_owned(),
        "add chain ip ports in { type nat hook prerouting priority -100 ; }".to_owned(),
        "add chain ip ports out { type nat hook postrouting priority 100 ; }".to_owned(),
        format!("add rule ip ports in ip daddr {first} udp dport > 1023 dnat to {second}"),
        format!("add rule ip ports out ip daddr {second} masquerade"),
    ] {
        run(machine, &format!("nft {rule}"));
    }
    let there = (two.path.as_path(), second);
    assert_eq!(deliver_by(there, first, there, 8), first);
}
