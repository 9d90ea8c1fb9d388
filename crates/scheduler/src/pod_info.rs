//! A pod as the scheduler needs it: read once when it arrives, not once a node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use knarr_meta::labels::Selector;

use crate::{
    plugins::node_affinity::{Preferred, RequiredNodes},
    resources::{self, Resources},
};

/// A port of the node that a pod takes for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` where the pod names none.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

/// What is decided from.
#[derive(Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub priority: i32,
    pub requests: Resources,
    /// Requests with defaults for what is not asked for, for scores.
    pub score_requests: Resources,
    pub host_ports: Vec<HostPort>,
    pub required_nodes: RequiredNodes,
    pub preferred_nodes: Vec<Preferred>,
    /// The controller that made the pod: its siblings are spread.
    pub controller_uid: Option<String>,
}

impl PodInfo {
    pub fn new(pod: &Arc<Pod>) -> Self {
        let meta = &pod.metadata;
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let owners = meta.owner_references.iter().flatten();
        let controller = owners
            .filter(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.clone())
            .next();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            requests: resources::pod_requests(spec),
            score_requests: resources::pod_requests_for_score(spec),
            host_ports: host_ports(spec),
            required_nodes: RequiredNodes::new(spec),
            preferred_nodes: Preferred::all(spec),
            controller_uid: controller,
            pod: pod.clone(),
        }
    }

    pub fn node_name(&self) -> Option<&str> {
        let name = self.pod.spec.as_ref()?.node_name.as_deref()?;
        (!name.is_empty()).then_some(name)
    }

    /// Not bound, not going away, and past its scheduling gates.
    pub fn wants_node(&self) -> bool {
        let gated = self
            .pod
            .spec
            .as_ref()
            .and_then(|s| s.scheduling_gates.as_ref())
            .is_some_and(|gates| !gates.is_empty());
        self.node_name().is_none() && self.pod.metadata.deletion_timestamp.is_none() && !gated
    }

    pub fn tolerations(&self) -> &[Toleration] {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|s| s.tolerations.as_deref())
            .unwrap_or_default()
    }

    /// The rules of the pod that this scheduler does not know, in words for its owner.
    pub fn unsupported(&self) -> Option<&'static str> {
        let spec = self.pod.spec.as_ref()?;
        let affinity = spec.affinity.as_ref();
        let required = |terms: Option<usize>| terms.is_some_and(|n| n > 0);
        let affinity_terms = affinity
            .and_then(|a| a.pod_affinity.as_ref())
            .and_then(|a| {
                a.required_during_scheduling_ignored_during_execution
                    .as_ref()
            });
        let anti_terms = affinity
            .and_then(|a| a.pod_anti_affinity.as_ref())
            .and_then(|a| {
                a.required_during_scheduling_ignored_during_execution
                    .as_ref()
            });
        if required(affinity_terms.map(Vec::len)) || required(anti_terms.map(Vec::len)) {
            return Some("required pod affinity is not supported by this scheduler");
        }
        let constraints = spec.topology_spread_constraints.iter().flatten();
        constraints
            .filter(|c| c.when_unsatisfiable == "DoNotSchedule")
            .map(|_| "topology spread constraints with DoNotSchedule are not supported by this scheduler")
            .next()
            .or_else(|| self.claims().map(|_| "persistent volume claims are not supported by this scheduler"))
    }

    fn claims(&self) -> Option<()> {
        let volumes = self.pod.spec.as_ref()?.volumes.as_ref()?;
        volumes
            .iter()
            .any(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some())
            .then_some(())
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                ip: match port.host_ip.as_deref() {
                    None | Some("") => "0.0.0.0".to_owned(),
                    Some(ip) => ip.to_owned(),
                },
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: port.host_port.filter(|p| *p > 0)?,
            })
        })
        .collect()
}

/// Whether labels satisfy a selector made of a plain map (`nodeSelector`).
pub fn selector_of(map: Option<&std::collections::BTreeMap<String, String>>) -> Selector {
    match map {
        None => Selector::everything(),
        Some(map) => Selector::from_set(map.iter().map(|(k, v)| (k.clone(), v.clone()))),
    }
}
