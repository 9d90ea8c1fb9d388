//! Ports of the host that lead to a sandbox.

use knarr_cni::PortMapping;
use knarr_cri::v1;

use crate::Error;

pub fn mappings(config: &v1::PodSandboxConfig) -> Result<Vec<PortMapping>, Error> {
    let port = |number: i32| {
        u16::try_from(number).map_err(|_| Error::InvalidArgument(format!("invalid port {number}")))
    };
    config
        .port_mappings
        .iter()
        .filter(|mapping| mapping.host_port > 0)
        .map(|mapping| {
            let protocol = match mapping.protocol() {
                v1::Protocol::Tcp => "tcp",
                v1::Protocol::Udp => "udp",
                v1::Protocol::Sctp => "sctp",
            };
            Ok(PortMapping {
                host_port: port(mapping.host_port)?,
                container_port: port(mapping.container_port)?,
                protocol: protocol.to_owned(),
                host_ip: mapping.host_ip.clone(),
            })
        })
        .collect()
}
