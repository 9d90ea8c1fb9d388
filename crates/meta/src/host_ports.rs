//! Ports of the node that pods take for themselves.

use k8s_openapi::api::core::v1::PodSpec;

/// Every address of the node.
const ANY: &str = "0.0.0.0";

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` where the pod names none.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Those of a pod's containers and sidecars.
    pub fn of(spec: &PodSpec) -> Vec<HostPort> {
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
                        None | Some("") => ANY.to_owned(),
                        Some(ip) => ip.to_owned(),
                    },
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                    port: port.host_port.filter(|p| *p > 0)?,
                })
            })
            .collect()
    }

    /// Whether two pods cannot have them both.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let same_address = self.ip == other.ip || self.ip == ANY || other.ip == ANY;
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}
