//! What tests of this crate share.

use std::{net::IpAddr, process::Command, thread};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

use k8s_openapi::api::core::v1::Node;
use knarr_client::Informer;
use knarr_nft::Family;

use crate::{Config, network::Network};

pub const TABLE: &str = "knarr-proxy";

pub fn config() -> Config {
    Config {
        reserved_ports: vec![6443],
        table: TABLE.to_owned(),
        node_name: "a".to_owned(),
        cluster_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
        service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
        node_local_dns: vec![(
            "10.43.0.10".parse().unwrap(),
            "169.254.20.10".parse().unwrap(),
        )],
    }
}

/// A cluster of both families.
pub fn dual_config() -> Config {
    let mut config = config();
    config.cluster_cidrs.push("fd00:42::/56".parse().unwrap());
    config.service_cidrs.push("fd00:43::/108".parse().unwrap());
    let dns = ("fd00:43::a", "fd6b:6e61:7272::53");
    let dns = (dns.0.parse().unwrap(), dns.1.parse().unwrap());
    config.node_local_dns.push(dns);
    config
}

/// The network of a family of a cluster that has both.
pub fn network(family: Family) -> Network {
    let mut networks = Network::of(&dual_config()).into_iter();
    networks.find(|network| network.family() == family).unwrap()
}

/// A pod of a family.
pub fn pod(family: Family, last: u8) -> IpAddr {
    match family {
        Family::Ip => [10, 42, 0, last].into(),
        Family::Ip6 => [0xfd00, 0x42, 0, 0, 0, 0, 0, last.into()].into(),
    }
}

/// A cluster address of a family.
pub fn cluster_ip(family: Family, last: u8) -> IpAddr {
    match family {
        Family::Ip => [10, 43, 0, last].into(),
        Family::Ip6 => [0xfd00, 0x43, 0, 0, 0, 0, 0, last.into()].into(),
    }
}

/// The node's own address.
pub const OWN: &str = "192.0.2.1";

/// The node says what its address is, and no more.
pub fn nodes() -> Informer<Node> {
    let nodes = Informer::new();
    let own = serde_json::json!({
        "metadata": {"name": config().node_name},
        "status": {"addresses": [{"type": "InternalIP", "address": OWN}]},
    });
    nodes.replace(vec![serde_json::from_value(own).unwrap()]);
    nodes
}

/// Runs `work` in a network namespace that ends with it; says so where that is not allowed.
pub fn in_namespace(work: impl FnOnce() + Send) {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            work();
        });
        if let Err(panic) = there.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs nft, which is there to see what the kernel has.
pub fn nft(line: &str) -> String {
    let output = Command::new("nft").args(line.split(' ')).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{line}: {errors}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The ruleset with its chains, sets and maps in the order of their names: the kernel has them in that of their making.
pub fn ruleset() -> Vec<String> {
    let listing = nft("list ruleset");
    // Without the table around them.
    let inner: Vec<&str> = listing
        .lines()
        .map(|l| if l.starts_with(['t', '}']) { "" } else { l })
        .collect();
    let inner = inner.join("\n");
    let blocks = inner
        .split("\n\n")
        .map(|block| block.trim_matches('\n').to_owned());
    let mut blocks: Vec<String> = blocks.collect();
    blocks.sort();
    blocks
}
