//! What all pod workers of a kubelet share.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use knarr_client::Informer;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    allocation::Allocations,
    cgroup::Cgroups,
    config::Config,
    downward,
    events::Events,
    hosts,
    image::Images,
    objects::Objects,
    observed::Observed,
    resources::{self, units},
    runtime::Runtime,
    sources::{Seen, Statics},
    volume::{certificate::Certificates, csi::Csi, token::Tokens},
};

/// Shared state; handed out as an `Arc`.
pub(crate) struct Context {
    pub config: Config,
    pub client: kube::Client,
    pub runtime: Runtime,
    /// Name of the runtime, the scheme of container ids.
    pub runtime_name: String,
    pub observed: Observed,
    pub objects: Objects,
    pub services: Informer<Service>,
    /// Holds just our own Node.
    pub node: Informer<Node>,
    /// Pods of this node as the API has them, mirrors of static pods among them; [`crate::pods::list`] has what runs.
    pub pods: Informer<Pod>,
    /// When pods of the API were first seen.
    pub seen: Seen,
    /// Pods of other sources.
    pub statics: Mutex<Statics>,
    /// Rung when mirrors may have to be made or removed.
    pub mirrors_changed: Notify,
    pub events: Events,
    pub images: Images,
    /// Devices of plugins.
    pub devices: crate::devices::DevicePlugins,
    /// CPUs and memory that containers have for themselves.
    pub alignment: crate::alignment::Alignment,
    /// Claims of devices.
    pub dra: crate::dra::Dra,
    pub cgroups: Cgroups,
    pub tokens: Tokens,
    pub certificates: Certificates,
    /// Drivers of this node, and their volumes.
    pub csi: Arc<Csi>,
    pub machine: crate::node::Machine,
    /// What the pods that were let in have been promised and given.
    pub allocations: Allocations,
    pub http: crate::probe::Http,
    /// What pods may set.
    pub sysctls: knarr_host::sysctl::Allowlist,
    pub features: crate::runtime::Features,
    /// Ids of pods whose users are not the node's.
    pub users: crate::users::Users,
    /// Streams that clients have open, by the pod's uid: logs, exec, attach and port-forward.
    pub streams: knarr_tasks::Quota,
    /// What the node and its pods use.
    pub stats: crate::stats::Stats,
    /// Whether the machine goes down.
    pub shutdown: crate::shutdown::Shutdown,
    /// Who is to go because storage or the node runs short.
    pub evictions: crate::eviction::Evictions,
    /// What of the node's swap containers get.
    pub swap: Option<crate::swap::Swap>,
    /// What nobody uses.
    pub garbage: crate::garbage::Garbage,
    /// How probes have ended.
    pub probed: crate::probe::Counts,
}

impl Context {
    /// Values for the downward API.
    pub(crate) fn facts(&self, pod: &Pod, pod_ips: Vec<String>) -> downward::Facts {
        let host_network = pod
            .spec
            .as_ref()
            .and_then(|s| s.host_network)
            .unwrap_or(false);
        let host_ips = self.config.host_ips();
        let room = &self.allocations.room().units;
        downward::Facts {
            node_cpu_milli: room.get(units::CPU),
            node_memory_bytes: room.get(units::MEMORY),
            node_storage_bytes: room.get(units::STORAGE),
            pod_ips: if host_network {
                host_ips.clone()
            } else {
                hosts::pod_ips(&pod_ips, &host_ips)
            },
            host_ips,
            node_name: self.config.node_name.clone(),
            annotations: self.seen.annotations(pod),
        }
    }

    /// CRI resources of a container of this node.
    pub(crate) fn resources(
        &self,
        pod: &Pod,
        container: &k8s_openapi::api::core::v1::Container,
    ) -> knarr_cri::v1::LinuxContainerResources {
        let memory = self.machine.memory_bytes;
        let mut given = resources::container(pod, container, memory);
        let sizes = self.machine.page_sizes();
        given.hugepage_limits = resources::huge_pages::of_container(pod, container, sizes);
        if let Some(swap) = &self.swap {
            swap.limit(pod, container, memory, &mut given);
        }
        self.alignment.limit(pod, &container.name, &mut given);
        given
    }
}

pub(crate) type Shared = Arc<Context>;

/// `namespace` of a pod.
pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// Name of a pod.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Uid of a pod.
pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// How upstream's messages name a pod: `name_namespace(uid)`.
pub(crate) fn display(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}
