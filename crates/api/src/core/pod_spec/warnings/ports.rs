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

pub(super) fn check(spec: &Value, path: &Path, out: &mut Warnings) {
    let mut ports: HashMap<(i64, &str), Vec<Port<'_>>> = HashMap::new();
    for (value, path) in all(spec, path) {
        // Each is compared with all before it: that ends with the room for what is found.
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
        for other in &*others {
            if let Some(how) = conflict(&port, other) {
                out.at(
                    &port.path,
                    format_args!("{how} port definition with {}", other.path),
                );
            }
        }
        others.push(port);
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
