//! Ports of a pod's containers that name or take the same.

use std::collections::HashMap;

use knarr_meta::{
    field::{Path, quote},
    object::{i64_at, list_at, str_at},
};
use serde_json::Value;

use super::containers;
use crate::warnings::Warnings;

/// A port as a container defines it.
struct Port<'v> {
    host_ip: &'v str,
    host_port: i64,
    path: Path,
}

/// Definitions of one port and protocol, found by what they may be in conflict with: most are in none.
#[derive(Default)]
struct Definitions<'v> {
    all: Vec<Port<'v>>,
    without_host_port: Vec<usize>,
    by_host_port: HashMap<i64, ByAddress<'v>>,
}

/// Those with one host port, and of them those with one address.
#[derive(Default)]
struct ByAddress<'v> {
    all: Vec<usize>,
    by_address: HashMap<&'v str, Vec<usize>>,
}

impl<'v> Definitions<'v> {
    /// Those before it that one is in conflict with, in their order.
    fn rivals(&self, port: &Port<'v>) -> Vec<usize> {
        if port.host_port == 0 {
            return (0..self.all.len()).collect();
        }
        let mut found = self.without_host_port.clone();
        if let Some(same) = self.by_host_port.get(&port.host_port) {
            if port.host_ip.is_empty() {
                found.extend(&same.all);
            } else {
                let addresses = [port.host_ip, ""].into_iter();
                let lists = addresses.filter_map(|address| same.by_address.get(address));
                found.extend(lists.flatten());
            }
        }
        found.sort_unstable();
        found
    }

    fn add(&mut self, port: Port<'v>) {
        let place = self.all.len();
        if port.host_port == 0 {
            self.without_host_port.push(place);
        } else {
            let same = self.by_host_port.entry(port.host_port).or_default();
            same.all.push(place);
            let of_address = same.by_address.entry(port.host_ip).or_default();
            of_address.push(place);
        }
        self.all.push(port);
    }
}

pub(super) fn check(spec: &Value, path: &Path, out: &mut Warnings) {
    let mut ports: HashMap<(i64, &str), Definitions<'_>> = HashMap::new();
    for (value, path) in all(spec, path) {
        // There may be a warning for any two: that ends with the room for them.
        if out.is_full() {
            return;
        }
        let port = Port {
            host_ip: str_at(value, &["hostIP"]),
            host_port: i64_at(value, &["hostPort"]).unwrap_or_default(),
            path,
        };
        let number = i64_at(value, &["containerPort"]).unwrap_or_default();
        let protocol = str_at(value, &["protocol"]);
        if !port.host_ip.is_empty() && port.host_port == 0 {
            out.at(
                &port.path,
                format_args!(
                    "hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{}}}",
                    str_at(value, &["name"]),
                    port.host_ip
                ),
            );
        }
        let others = ports.entry((number, protocol)).or_default();
        for place in others.rivals(&port) {
            let Some(other) = others.all.get(place) else {
                continue;
            };
            if let Some(how) = conflict(&port, other) {
                out.at(
                    &port.path,
                    format_args!("{how} port definition with {}", other.path),
                );
            }
        }
        others.add(port);
    }
    names(spec, path, out);
}

/// How two definitions of a port and protocol stand to each other, where they do.
fn conflict(one: &Port<'_>, other: &Port<'_>) -> Option<&'static str> {
    if one.host_ip == other.host_ip && one.host_port == other.host_port {
        Some("duplicate")
    } else if one.host_port == 0 || other.host_port == 0 {
        Some("overlapping")
    } else {
        let one_is_any = one.host_ip.is_empty() != other.host_ip.is_empty();
        (one.host_port == other.host_port && one_is_any).then_some("dangerously ambiguous")
    }
}

/// Names that several ports have.
fn names(spec: &Value, path: &Path, out: &mut Warnings) {
    let mut named: HashMap<&str, Path> = HashMap::new();
    for (port, path) in all(spec, path) {
        let name = str_at(port, &["name"]);
        if name.is_empty() {
            continue;
        }
        match named.get(name) {
            Some(other) => out.at(
                &path,
                format_args!(
                    "duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                    quote(name)
                ),
            ),
            None => {
                named.insert(name, path);
            }
        }
    }
}

fn all<'v>(spec: &'v Value, path: &Path) -> Vec<(&'v Value, Path)> {
    let mut found = Vec::new();
    for (container, path) in containers(spec, path) {
        for (index, port) in list_at(container, &["ports"]).iter().enumerate() {
            found.push((port, path.child("ports").index(index)));
        }
    }
    found
}
