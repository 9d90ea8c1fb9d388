//! A pod's `/etc/hosts`, its hostname and its domain.

use std::{io, path::Path};

use k8s_openapi::api::core::v1::Pod;
use knarr_config::ConfigFile;

/// Longest file of the node's own that pods in its network get, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The longest label of DNS.
const MAX_HOSTNAME_BYTES: usize = 63;
/// The longest name that Linux gives a machine.
const MAX_NODENAME_BYTES: usize = 64;

/// The hostname of the pod's UTS namespace, and its domain under the cluster's when it has a subdomain.
pub(crate) fn names(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod.spec.as_ref();
    let given = |of: Option<&String>| of.filter(|n| !n.is_empty()).cloned();
    if let Some(full) = given(spec.and_then(|s| s.hostname_override.as_ref())) {
        return (cut(full), String::new());
    }
    let name = pod.metadata.name.clone().unwrap_or_default();
    let hostname = cut(given(spec.and_then(|s| s.hostname.as_ref())).unwrap_or(name));
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let domain = match given(spec.and_then(|s| s.subdomain.as_ref())) {
        Some(subdomain) => format!("{subdomain}.{namespace}.svc.{cluster_domain}"),
        None => String::new(),
    };
    (hostname, domain)
}

/// To the length of a hostname, which does not end with what separates its parts.
fn cut(mut hostname: String) -> String {
    if hostname.len() > MAX_HOSTNAME_BYTES {
        hostname.truncate(MAX_HOSTNAME_BYTES);
        hostname.truncate(hostname.trim_end_matches(['-', '.']).len());
    }
    hostname
}

/// The name that the kernel tells in the pod: its hostname, with its domain if it asks for that.
///
/// # Errors
/// The two together are longer than the kernel allows, in upstream's words.
pub(crate) fn nodename(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (hostname, domain) = names(pod, cluster_domain);
    let full = pod.spec.as_ref().and_then(|s| s.set_hostname_as_fqdn);
    if domain.is_empty() || full != Some(true) {
        return Ok(hostname);
    }
    let full = format!("{hostname}.{domain}");
    let length = full.len();
    if length > MAX_NODENAME_BYTES {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({MAX_NODENAME_BYTES} characters is the max, {length} characters requested)"
        ));
    }
    Ok(full)
}

/// A pod's addresses of those that its runtime tells: one of each family, first that of the node's primary one.
pub(crate) fn pod_ips(told: &[String], node_ips: &[String]) -> Vec<String> {
    let is_ipv6 = |ip: &String| ip.contains(':');
    let primary = node_ips.first().is_some_and(is_ipv6);
    let of = |ipv6| told.iter().find(|ip| is_ipv6(ip) == ipv6).cloned();
    [primary, !primary].into_iter().filter_map(of).collect()
}

/// The file's text. `node_hosts` is the node's own file, which host-network pods get with their aliases added.
pub(crate) fn file(
    pod: &Pod,
    pod_ips: &[String],
    cluster_domain: &str,
    node_hosts: Option<&str>,
) -> String {
    let mut text = match node_hosts {
        Some(own) => format!("# Kubernetes-managed hosts file (host network).\n{own}"),
        None => {
            let (hostname, domain) = names(pod, cluster_domain);
            let mut text = String::from(
                "# Kubernetes-managed hosts file.\n\
                 127.0.0.1\tlocalhost\n\
                 ::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::0\tip6-localnet\n\
                 fe00::0\tip6-mcastprefix\n\
                 fe00::1\tip6-allnodes\n\
                 fe00::2\tip6-allrouters\n",
            );
            for ip in pod_ips {
                if domain.is_empty() {
                    text.push_str(&format!("{ip}\t{hostname}\n"));
                } else {
                    text.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n"));
                }
            }
            text
        }
    };
    let aliases = pod.spec.as_ref().and_then(|s| s.host_aliases.as_ref());
    if let Some(aliases) = aliases.filter(|a| !a.is_empty()) {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias
                .hostnames
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join("\t");
            text.push_str(&format!("{}\t{names}\n", alias.ip));
        }
    }
    text
}

/// The node's own file.
///
/// # Errors
/// Where it cannot be read, or is too long.
pub(crate) fn of_node(path: &Path) -> io::Result<String> {
    let text = ConfigFile::new(path, MAX_BYTES).read();
    String::from_utf8(text.map_err(io::Error::other)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
