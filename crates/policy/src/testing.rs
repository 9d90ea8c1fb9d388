//! What tests of this crate share: a cluster in a few lines, and who reaches whom by what the planner has decided.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
    thread,
};

use knarr_nft::{Family, Protocol};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};
use serde_json::{Value, json};

use crate::{
    model::{Direction, PodFacts, Policy, Ports, SetSpec},
    planner::{Planner, Uid},
    sets::{Member, SetId},
};

pub fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 42, 0, last))
}

/// The same pod's in IPv6.
pub fn address6(last: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, last.into()))
}

/// Labels of `key=value,...`.
pub fn labels(text: &str) -> crate::model::Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A pod of this node that is called as its address ends, with a port `web` at 80.
pub fn pod(namespace: &str, last: u8, text: &str) -> (Uid, PodFacts) {
    let facts = PodFacts {
        namespace: namespace.to_owned(),
        labels: labels(text),
        here: true,
        addresses: vec![address(last)],
        named_ports: vec![(Protocol::Tcp, "web".to_owned(), 80)],
        ..PodFacts::default()
    };
    (last.to_string().into(), facts)
}

/// The same pod with addresses of both families.
pub fn dual_pod(namespace: &str, last: u8, text: &str) -> (Uid, PodFacts) {
    let (uid, mut facts) = pod(namespace, last, text);
    facts.addresses.push(address6(last));
    (uid, facts)
}

pub fn policy(namespace: &str, name: &str, spec: Value) -> Policy {
    let meta = json!({"name": name, "namespace": namespace, "uid": name});
    let policy = serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap();
    Policy::of(&policy, &Family::BOTH)
}

pub fn set_policy(planner: &mut Planner, namespace: &str, name: &str, spec: Value) {
    planner.set_policy(namespace, name, Some(policy(namespace, name, spec)));
}

/// A call to a port of TCP.
pub fn reaches(planner: &Planner, from: IpAddr, to: IpAddr, port: u16) -> bool {
    let passes = |direction: Direction| {
        let (own, peer) = match direction {
            Direction::Ingress => (to, from),
            Direction::Egress => (from, to),
        };
        let Some(chain) = planner.isolated().get(&(direction, own)) else {
            return true;
        };
        let clauses = planner.chain(*chain).unwrap();
        clauses.iter().any(|clause| {
            clause
                .peers
                .is_none_or(|set| has(planner, set, 0, Member::Address(peer)))
                && match &clause.ports {
                    Ports::Any | Ports::Protocol(Protocol::Tcp) => true,
                    Ports::Numbers(Protocol::Tcp, set) => {
                        has(planner, *set, port.into(), Member::Address(from))
                    }
                    Ports::Named(set) => {
                        has(planner, *set, 0, Member::Port(to, Protocol::Tcp, port))
                    }
                    Ports::Protocol(_) | Ports::Numbers(..) => false,
                }
        })
    };
    from == to || Direction::BOTH.into_iter().all(passes)
}

fn has(planner: &Planner, set: SetId, number: u32, member: Member) -> bool {
    let set = planner.sets.get(set).unwrap();
    match &*set.spec {
        SetSpec::Blocks(blocks) => match member.address() {
            IpAddr::V4(address) => within(&blocks.ip, address.to_bits()),
            IpAddr::V6(address) => within(&blocks.ip6, address.to_bits()),
        },
        SetSpec::Ports(ranges) => within(ranges, number),
        SetSpec::Pods(_) | SetSpec::Named(_) => set.has(member),
    }
}

fn within<T: PartialOrd>(ranges: &[(T, T)], number: T) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (first..=last).contains(&&number))
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

/// The ruleset with its chains, sets and maps in the order of their names, and elements in theirs.
pub fn ruleset() -> Vec<String> {
    let output = Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let listing = String::from_utf8(output.stdout).unwrap();
    let inner: Vec<&str> = listing
        .lines()
        .map(|line| {
            if line.starts_with(['t', '}']) {
                ""
            } else {
                line
            }
        })
        .collect();
    let mut blocks: Vec<String> = inner
        .join("\n")
        .split("\n\n")
        .map(|block| match block.split_once("elements = {") {
            Some((head, elements)) => {
                let text = elements.replace(['\n', '\t', '}'], "");
                let mut elements: Vec<&str> = text.split(',').map(str::trim).collect();
                elements.sort_unstable();
                format!("{head}{}", elements.join(", "))
            }
            None => block.to_owned(),
        })
        .map(|block| block.trim_matches('\n').to_owned())
        .collect();
    blocks.sort();
    blocks
}
