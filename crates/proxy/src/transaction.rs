//! From wanted rules to nft scripts: the whole table, or the difference to what is applied.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    net::Ipv4Addr,
};

use crate::{
    Config,
    conntrack::Flows,
    model::ServiceKey,
    rules::{MASQUERADE_MARK, ServiceRules},
};

/// The rules of services: all of them, or those that are about to change.
#[derive(Default)]
pub struct Applied {
    services: HashMap<ServiceKey, Option<ServiceRules>>,
    /// How many services lead to each pod, for the whole table.
    hairpins: HashMap<Ipv4Addr, usize>,
}

impl Applied {
    /// An empty overlay for the services that change; the rest is not copied.
    pub fn overlay(dirty: usize) -> Self {
        Self {
            services: HashMap::with_capacity(dirty),
            hairpins: HashMap::new(),
        }
    }

    /// Notes what a service wants; `None` where it wants nothing (any more).
    pub fn set(&mut self, key: ServiceKey, rules: Option<ServiceRules>) {
        self.services.insert(key, rules);
    }

    pub fn len(&self) -> usize {
        self.services.values().flatten().count()
    }

    fn get(&self, key: &ServiceKey) -> Option<&ServiceRules> {
        self.services.get(key)?.as_ref()
    }

    /// Takes over what the kernel has accepted.
    pub fn merge(&mut self, next: Self) {
        for (key, rules) in next.services {
            if let Some(old) = self.services.remove(&key).flatten() {
                for address in old.hairpins {
                    if let Some(count) = self.hairpins.get_mut(&address) {
                        *count -= 1;
                        if *count == 0 {
                            self.hairpins.remove(&address);
                        }
                    }
                }
            }
            if let Some(rules) = rules {
                for address in &rules.hairpins {
                    *self.hairpins.entry(*address).or_default() += 1;
                }
                self.services.insert(key, Some(rules));
            }
        }
    }
}

/// The whole table, in one transaction that also removes the old one.
pub fn replace(config: &Config, next: &Applied) -> String {
    let (cluster, prefix) = config.cluster_cidr;
    let table = &config.table;
    let mut script = format!(
        "add table ip {table}\ndelete table ip {table}\nadd table ip {table}\n\
         add map ip {table} services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}\n\
         add map ip {table} nodeports {{ type inet_proto . inet_service : verdict; }}\n\
         add set ip {table} hairpin {{ type ipv4_addr . ipv4_addr; }}\n\
         add set ip {table} unserved {{ type ipv4_addr . inet_proto . inet_service; }}\n\
         add set ip {table} cluster {{ type ipv4_addr; flags interval; elements = {{ {cluster}/{prefix} }}; }}\n"
    );
    for (name, hook, rules) in &base_chains(config) {
        let body = if hook.is_empty() {
            String::new()
        } else {
            format!(" {{ {hook} }}")
        };
        line(
            &mut script,
            format_args!("add chain ip {table} {name}{body}"),
        );
        for rule in rules {
            line(
                &mut script,
                format_args!("add rule ip {table} {name} {rule}"),
            );
        }
    }
    script.push_str(&difference(table, &Applied::default(), next));
    script
}

/// Name, hook and rules of each chain that is always there.
fn base_chains(config: &Config) -> Vec<(&'static str, &'static str, Vec<String>)> {
    let (services, prefix) = config.service_cidr;
    let service_range = format!("{services}/{prefix}");
    let mut translate = Vec::new();
    if let Some((service, listen)) = config.node_local_dns {
        translate.push(format!(
            "ip daddr {service} meta l4proto {{ tcp, udp }} th dport 53 dnat to {listen}"
        ));
    }
    translate.extend([
        // Callers from outside the cluster get their answer by way of this node.
        format!(
            "ip daddr {service_range} ip saddr != @cluster meta mark set meta mark or {MASQUERADE_MARK:#x}"
        ),
        "ip daddr . meta l4proto . th dport vmap @services".to_owned(),
        // Those of 127.0.0.1 too, for the node's own programs; from elsewhere nothing comes to that address.
        "fib daddr type local meta l4proto . th dport vmap @nodeports".to_owned(),
    ]);
    let masquerade = vec![
        "ip saddr . ip daddr @hairpin masquerade fully-random".to_owned(),
        format!("meta mark & {MASQUERADE_MARK:#x} == 0 return"),
        format!("meta mark set meta mark & {:#x}", !MASQUERADE_MARK),
        // Clients that begin at once would else be given the same port, and one of them no answer.
        "masquerade fully-random".to_owned(),
    ];
    // Whatever is still addressed to the service range has no endpoint: say so at once.
    // Resets for TCP: of the node's own packets, which are routed to the loopback device, the kernel sends no ICMP.
    let unserved = vec![
        format!("ip daddr {service_range} meta l4proto tcp reject with tcp reset"),
        format!("ip daddr {service_range} reject"),
        // Nor have these, outside of the range: they must not be asked for elsewhere.
        "meta l4proto tcp ip daddr . meta l4proto . th dport @unserved reject with tcp reset"
            .to_owned(),
        "ip daddr . meta l4proto . th dport @unserved reject".to_owned(),
    ];
    let jump = vec!["jump translate".to_owned()];
    vec![
        ("translate", "", translate),
        (
            "prerouting",
            "type nat hook prerouting priority dstnat; policy accept;",
            jump.clone(),
        ),
        (
            "output",
            "type nat hook output priority -100; policy accept;",
            jump,
        ),
        (
            "postrouting",
            "type nat hook postrouting priority srcnat; policy accept;",
            masquerade,
        ),
        (
            "unserved-forward",
            "type filter hook forward priority filter; policy accept;",
            unserved.clone(),
        ),
        (
            "unserved-output",
            "type filter hook output priority filter; policy accept;",
            unserved,
        ),
    ]
}

/// What leads from `applied` to `next`, which holds the changed services only. Empty when nothing differs.
pub fn difference(table: &str, applied: &Applied, next: &Applied) -> String {
    let mut script = Script {
        table,
        add: String::new(),
        unlink: String::new(),
        link: String::new(),
        remove: String::new(),
    };
    let mut hairpins: BTreeMap<Ipv4Addr, isize> = BTreeMap::new();
    let mut keys: Vec<_> = next.services.keys().collect();
    keys.sort();
    let none = ServiceRules::default();
    for key in keys {
        let old = applied.get(key).unwrap_or(&none);
        let new = next.get(key).unwrap_or(&none);
        if old == new {
            continue;
        }
        script.chains(old, new);
        script.elements(old, new);
        for address in &old.hairpins {
            *hairpins.entry(*address).or_default() -= 1;
        }
        for address in &new.hairpins {
            *hairpins.entry(*address).or_default() += 1;
        }
    }
    for (address, change) in hairpins {
        let before = applied.hairpins.get(&address).copied().unwrap_or(0);
        let after = before.saturating_add_signed(change);
        let element = format!("hairpin {{ {address} . {address} }}");
        if before == 0 && after > 0 {
            script.link(&element);
        } else if before > 0 && after == 0 {
            script.unlink(&element);
        }
    }
    script.add + &script.unlink + &script.link + &script.remove
}

/// The parts of a transaction in the order in which they have to come.
struct Script<'a> {
    table: &'a str,
    add: String,
    unlink: String,
    link: String,
    remove: String,
}

impl Script<'_> {
    fn link(&mut self, element: &str) {
        let table = self.table;
        line(
            &mut self.link,
            format_args!("add element ip {table} {element}"),
        );
    }

    fn unlink(&mut self, element: &str) {
        let table = self.table;
        line(
            &mut self.unlink,
            format_args!("delete element ip {table} {element}"),
        );
    }

    fn chains(&mut self, old: &ServiceRules, new: &ServiceRules) {
        let table = self.table;
        for (set, seconds) in changed(&new.sets, &old.sets) {
            line(
                &mut self.add,
                format_args!(
                    "add set ip {table} {set} {{ type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; }}"
                ),
            );
        }
        // Chains first, then their rules: a rule may lead to any of them.
        for (chain, _) in changed(&new.chains, &old.chains) {
            line(
                &mut self.add,
                format_args!("add chain ip {table} {chain}\nflush chain ip {table} {chain}"),
            );
        }
        for (chain, rules) in changed(&new.chains, &old.chains) {
            for rule in rules {
                line(
                    &mut self.add,
                    format_args!("add rule ip {table} {chain} {rule}"),
                );
            }
        }
        let gone = old.chains.keys().filter(|c| !new.chains.contains_key(*c));
        // Flushed before any is deleted: they lead to each other.
        for verb in ["flush", "delete"] {
            for chain in gone.clone() {
                line(
                    &mut self.remove,
                    format_args!("{verb} chain ip {table} {chain}"),
                );
            }
        }
        for set in old.sets.keys().filter(|s| !new.sets.contains_key(*s)) {
            line(
                &mut self.remove,
                format_args!("delete set ip {table} {set}"),
            );
        }
    }

    fn elements(&mut self, old: &ServiceRules, new: &ServiceRules) {
        for (map, old, new) in [
            ("services", &old.services, &new.services),
            ("nodeports", &old.node_ports, &new.node_ports),
        ] {
            for (frontend, _) in changed(old, new) {
                self.unlink(&format!("{map} {{ {frontend} }}"));
            }
            for (frontend, chain) in changed(new, old) {
                self.link(&format!("{map} {{ {frontend} : goto {chain} }}"));
            }
        }
        for frontend in old.unserved.difference(&new.unserved) {
            self.unlink(&format!("unserved {{ {frontend} }}"));
        }
        for frontend in new.unserved.difference(&old.unserved) {
            self.link(&format!("unserved {{ {frontend} }}"));
        }
    }
}

/// Where UDP flows may lead whose service is changed by `next`.
pub fn changed_flows(applied: &Applied, next: &Applied) -> Flows {
    let mut flows = Flows::new();
    for (key, rules) in &next.services {
        let Some(rules) = rules else { continue };
        let old = applied.get(key).map(|old| &old.flows);
        let differ = rules
            .flows
            .iter()
            .filter(|(frontend, serving)| old.and_then(|o| o.get(frontend)) != Some(serving));
        flows.extend(differ.map(|(frontend, serving)| (*frontend, serving.clone())));
    }
    flows
}

/// The entries of `new` that `old` has not, or has with another value.
fn changed<'a, K: Ord, V: PartialEq>(
    new: &'a BTreeMap<K, V>,
    old: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    new.iter()
        .filter(move |(key, value)| old.get(*key) != Some(*value))
}

fn line(script: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(script, "{text}");
}

#[cfg(test)]
mod tests;
