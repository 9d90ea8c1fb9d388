//! Sysctls of a sandbox: those that its pod names, and what containers expect of a network of their own.

use std::collections::BTreeMap;

use knarr_host::sysctl;

use crate::records::SandboxRecord;

/// What Docker and containerd 2 give: in a network that is the pod's alone no port is worth more than another, and nobody has to be root
/// to open one or to send a ping.
const OF_NETWORK: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    (PING_GROUPS, "0 2147483647"),
];
/// Groups by their ids outside, of which a pod with users of its own has not that many.
const PING_GROUPS: &str = "net.ipv4.ping_group_range";

/// What the pod names goes before what it gets.
pub(super) fn of(record: &SandboxRecord, has_users: bool) -> BTreeMap<String, String> {
    let linux = record.config.linux.clone();
    let named = linux.map(|linux| linux.sysctls).unwrap_or_default();
    let mut all: BTreeMap<_, _> = named.into_iter().collect();
    if record.host_network {
        return all;
    }
    for (name, value) in OF_NETWORK {
        let is_named = all.keys().any(|known| sysctl::normalized(known) == name);
        let is_possible = name != PING_GROUPS || !has_users;
        if is_possible && !is_named {
            all.insert(name.to_owned(), value.to_owned());
        }
    }
    all
}
