//! A pod's resolver configuration, from its `dnsPolicy` and `dnsConfig`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1::DnsConfig;

/// What glibc's resolver takes at most.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
/// Bytes of one search domain; some resolvers end their program over a longer one.
const MAX_SEARCH_BYTES: usize = 253;
/// Bytes of all search domains with the spaces between them.
const MAX_SEARCH_LINE_BYTES: usize = 2048;
/// So that a name of the form service.namespace is tried inside the cluster first.
const CLUSTER_OPTIONS: &str = "ndots:5";

/// A resolver configuration, as `/etc/resolv.conf` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads the text of a `resolv.conf`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                // The last search line counts.
                // A dot at the end says no more than none, and not every libc knows it. The root alone is left out, as upstream does.
                Some("search") => {
                    let plain = words.map(|word| word.strip_suffix('.').unwrap_or(word));
                    let plain = plain.filter(|word| !word.is_empty());
                    resolver.searches = plain.map(str::to_owned).collect();
                }
                Some("options") => resolver.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        resolver
    }
}

/// A pod's configuration within the limits of resolvers.
pub(crate) struct Formed {
    pub config: DnsConfig,
    /// What had to be left out, as events of the pod tell it.
    pub notes: Vec<String>,
}

/// Makes the CRI configuration. `host` is the node's own resolver.
pub(crate) fn config(
    pod: &Pod,
    host: &Resolver,
    cluster_dns: &[String],
    cluster_domain: &str,
) -> Formed {
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|s| s.host_network).unwrap_or(false);
    let policy = spec
        .and_then(|s| s.dns_policy.as_deref())
        .unwrap_or("ClusterFirst");
    let node = || match host_network {
        true => host.clone(),
        false => reachable(host, cluster_dns),
    };
    let base = match policy {
        "None" => Resolver::default(),
        "Default" => node(),
        "ClusterFirst" if host_network => node(),
        _ if cluster_dns.is_empty() => node(),
        _ => cluster(pod, host, cluster_dns, cluster_domain),
    };
    let resolver = match spec.and_then(|s| s.dns_config.as_ref()) {
        Some(custom) => {
            let options = custom.options.iter().flatten().filter_map(|o| {
                let name = o.name.as_ref()?;
                Some(match o.value.as_deref().filter(|v| !v.is_empty()) {
                    Some(value) => format!("{name}:{value}"),
                    None => name.clone(),
                })
            });
            Resolver {
                servers: append(base.servers, custom.nameservers.iter().flatten().cloned()),
                searches: append(base.searches, custom.searches.iter().flatten().cloned()),
                options: merge_options(base.options, options),
            }
        }
        None => base,
    };
    within_limits(resolver)
}

/// Leaves out what resolvers would not take.
fn within_limits(resolver: Resolver) -> Formed {
    let (mut servers, mut searches) = (resolver.servers, resolver.searches);
    let mut notes = Vec::new();
    if servers.len() > MAX_NAMESERVERS {
        servers.truncate(MAX_NAMESERVERS);
        notes.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            servers.join(" ")
        ));
    }
    let all = searches.len();
    searches.truncate(MAX_SEARCHES);
    searches.retain(|search| search.len() <= MAX_SEARCH_BYTES);
    while searches.join(" ").len() > MAX_SEARCH_LINE_BYTES {
        searches.pop();
    }
    if searches.len() < all {
        notes.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            searches.join(" ")
        ));
    }
    let config = DnsConfig {
        servers,
        searches,
        options: resolver.options,
    };
    Formed { config, notes }
}

/// The node's resolvers for a pod with a network of its own, where a resolver of the node's loopback (systemd-resolved's
/// 127.0.0.53, a dnsmasq) is the pod itself: the cluster's, which ask it, stand in for those.
fn reachable(host: &Resolver, cluster_dns: &[String]) -> Resolver {
    let is_loopback = |server: &&String| {
        server
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
    };
    let (own, servers): (Vec<&String>, Vec<&String>) = host.servers.iter().partition(is_loopback);
    let instead = if own.is_empty() { &[] } else { cluster_dns };
    Resolver {
        servers: append(instead.to_vec(), servers.into_iter().cloned()),
        ..host.clone()
    }
}

fn cluster(pod: &Pod, host: &Resolver, servers: &[String], domain: &str) -> Resolver {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let own = if domain.is_empty() {
        Vec::new()
    } else {
        vec![
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.to_owned(),
        ]
    };
    Resolver {
        servers: servers.to_vec(),
        searches: append(own, host.searches.iter().cloned()),
        options: vec![CLUSTER_OPTIONS.to_owned()],
    }
}

fn append(mut list: Vec<String>, more: impl Iterator<Item = String>) -> Vec<String> {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
    list
}

/// A later option of the same name replaces the earlier one.
fn merge_options(base: Vec<String>, more: impl Iterator<Item = String>) -> Vec<String> {
    let name = |option: &str| option.split(':').next().unwrap_or_default().to_owned();
    let mut merged: Vec<String> = base;
    for option in more {
        match merged.iter_mut().find(|o| name(o) == name(&option)) {
            Some(same) => *same = option,
            None => merged.push(option),
        }
    }
    merged
}

#[cfg(test)]
mod tests;
