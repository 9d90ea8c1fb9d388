//! The sandbox: what the runtime is told about a pod as a whole.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use knarr_config::ConfigFile;
use knarr_cri::v1;
use knarr_meta::quantity::Quantity;

use crate::{
    context::{self, Context},
    disk, dns, hosts, labels,
    resources::{self, totals},
    security, users,
};

/// Most of the node's own `resolv.conf` that is read, bytes.
const MAX_RESOLV_CONF_BYTES: u64 = 1 << 20;

/// The CRI description of the pod; the same for its sandbox and, as context, for each container.
///
/// # Errors
/// A pod that is to have users of its own cannot have any; a name that is longer than the kernel allows.
pub(crate) fn config(
    ctx: &Context,
    pod: &Pod,
    attempt: u32,
) -> Result<v1::PodSandboxConfig, String> {
    let own_users = disk::waiting(|| ctx.users.of(pod))?;
    let mut context = security::sandbox(pod);
    users::join(&mut context.namespace_options, &own_users);
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|s| s.host_network).unwrap_or(false);
    let (namespace, name, uid) = (
        context::namespace(pod),
        context::name(pod),
        context::uid(pod),
    );
    let dns = resolver(ctx, pod).config;
    let hostname = match host_network {
        true => String::new(),
        false => hosts::nodename(pod, &ctx.config.cluster_domain)?,
    };
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    Ok(v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            attempt,
        }),
        hostname,
        log_directory: ctx
            .config
            .pod_logs(namespace, name, uid)
            .display()
            .to_string(),
        dns_config: Some(dns),
        port_mappings: ports(pod, host_network),
        labels: labels::sandbox(pod, &ctx.config.instance),
        annotations: annotations.into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: ctx.cgroups.path(pod),
            security_context: Some(context),
            sysctls: sysctls(pod),
            overhead: Some(overhead(pod)),
            resources: Some(of_containers(pod)),
        }),
        windows: None,
    })
}

/// How the pod resolves names.
pub(super) fn resolver(ctx: &Context, pod: &Pod) -> dns::Formed {
    let file = ConfigFile::new(&ctx.config.resolv_conf, MAX_RESOLV_CONF_BYTES);
    let node = disk::waiting(|| file.read()).unwrap_or_else(|error| {
        tracing::debug!(%error, "the node has no resolvers");
        Vec::new()
    });
    let node = String::from_utf8_lossy(&node);
    let cluster = ctx.config.cluster_dns.iter().map(ToString::to_string);
    let cluster: Vec<String> = cluster.collect();
    let node = dns::Resolver::parse(&node);
    dns::config(pod, &node, &cluster, &ctx.config.cluster_domain)
}

fn ports(pod: &Pod, host_network: bool) -> Vec<v1::PortMapping> {
    if host_network {
        return Vec::new();
    }
    let containers = pod.spec.iter().flat_map(|s| s.containers.iter());
    let ports = containers.flat_map(|c| c.ports.iter().flatten());
    ports
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

fn sysctls(pod: &Pod) -> HashMap<String, String> {
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let list = context
        .and_then(|c| c.sysctls.as_ref())
        .into_iter()
        .flatten();
    list.map(|s| (s.name.clone(), s.value.clone())).collect()
}

/// What the pod's containers take; for those runtimes that size a machine by it.
fn of_containers(pod: &Pod) -> v1::LinuxContainerResources {
    let limits = resources::pod_limits_without_overhead(pod);
    v1::LinuxContainerResources {
        cpu_period: resources::CPU_PERIOD_MICROS,
        cpu_quota: limits.quota.unwrap_or(0),
        cpu_shares: limits.shares,
        memory_limit_in_bytes: limits.memory.unwrap_or(0),
        ..Default::default()
    }
}

/// What running the pod takes beside them, as much of it requested as allowed.
fn overhead(pod: &Pod) -> v1::LinuxContainerResources {
    let overhead = pod.spec.as_ref().and_then(|spec| spec.overhead.as_ref());
    if overhead.is_none() {
        return v1::LinuxContainerResources::default();
    }
    let overhead = totals::read(overhead);
    let cpu = overhead.get("cpu").map_or(0, Quantity::milli_value);
    v1::LinuxContainerResources {
        cpu_period: resources::CPU_PERIOD_MICROS,
        cpu_quota: resources::quota(cpu),
        cpu_shares: resources::shares(cpu),
        memory_limit_in_bytes: overhead.get("memory").map_or(0, Quantity::value),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        config::Config,
        testing::{
            self,
            fake::{Api, Fake},
        },
    };

    /// It may be a device, or what another program writes without an end.
    #[tokio::test]
    async fn of_a_long_resolv_conf_no_more_is_read_than_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::default();
        fake.serve(&dir.path().join("cri.sock"));
        let pod = testing::pod(json!({ "containers": [], "dnsPolicy": "Default" }));
        let api = Api::new(&pod);
        let config = Config {
            resolv_conf: dir.path().join("resolv.conf"),
            ..Config::default()
        };
        let path = config.resolv_conf.clone();
        let ctx = testing::context(api.client(), config, dir.path()).await;
        let line = "nameserver 192.0.2.1\n";
        for (lines, wanted) in [(1, 1), (MAX_RESOLV_CONF_BYTES as usize, 0)] {
            std::fs::write(&path, line.repeat(lines)).unwrap();
            let found = resolver(&ctx, &pod).config.servers.len();
            assert_eq!(found, wanted, "{lines} lines");
        }
    }
}
