//! What tests of this crate share.

use std::{net::Ipv4Addr, process::Command, thread};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

use k8s_openapi::api::core::v1::Node;
use knarr_client::Informer;

use crate::Config;

pub const TABLE: &str = "knarr-proxy";

pub fn config() -> Config {
    Config {
        reserved_ports: vec![6443],
        table: TABLE.to_owned(),
        node_name: "a".to_owned(),
        cluster_cidr: (Ipv4Addr::new(10, 42, 0, 0), 16),
        service_cidr: (Ipv4Addr::new(10, 43, 0, 0), 16),
        node_local_dns: Some((
            Ipv4Addr::new(10, 43, 0, 10),
            Ipv4Addr::new(169, 254, 20, 10),
        )),
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
        .filter(|l| !l.starts_with(['t', '}']))
        .collect();
    let mut blocks: Vec<String> = inner.join("\n").split("\n\n").map(str::to_owned).collect();
    blocks.sort();
    blocks
}
