//! `hostPort`: elements of a map in the table that [`crate::node`] makes.

use std::net::Ipv4Addr;

use crate::{PortMapping, nft, node, result::PluginError};

pub async fn add(table: &str, pod: Ipv4Addr, mappings: &[PortMapping]) -> Result<(), PluginError> {
    let script = script("add", table, pod, mappings)?;
    if script.is_empty() {
        return Ok(());
    }
    nft::apply(&script)
        .await
        .map_err(|e| PluginError::new(PluginError::KERNEL, format!("hostPort: {e}")))
}

/// Removes the mappings that still lead to this pod.
pub async fn remove(
    table: &str,
    pod: Ipv4Addr,
    mappings: &[PortMapping],
) -> Result<(), PluginError> {
    if wanted(mappings).next().is_none() {
        return Ok(());
    }
    // `destroy element` needs a newer nft than Debian 12 has: adding first makes deleting always succeed, also where the node's
    // network was not prepared since it was started.
    let script = [
        format!("add table ip {table}\n"),
        node::hostport_maps(table),
        script("add", table, pod, mappings)?,
        script("delete", table, pod, mappings)?,
    ];
    nft::apply(&script.concat())
        .await
        .map_err(|e| PluginError::new(PluginError::KERNEL, format!("hostPort: {e}")))
}

/// Upstream ignores port 0: it means "no host port".
fn wanted(mappings: &[PortMapping]) -> impl Iterator<Item = &PortMapping> {
    mappings.iter().filter(|m| m.host_port != 0)
}

fn script(
    verb: &str,
    table: &str,
    pod: Ipv4Addr,
    mappings: &[PortMapping],
) -> Result<String, PluginError> {
    let mut script = String::new();
    for mapping in wanted(mappings) {
        let protocol = mapping.protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            let text = format!("unknown protocol {:?}", mapping.protocol);
            return Err(PluginError::new(PluginError::INVALID_CONFIG, text));
        }
        let (host, container) = (mapping.host_port, mapping.container_port);
        let target = format!("{pod} . {container}");
        let address: Option<Ipv4Addr> = match mapping.host_ip.as_str() {
            "" | "0.0.0.0" => None,
            text => Some(text.parse().map_err(|_| {
                let text = format!("hostIP {text:?} is not an IPv4 address");
                PluginError::new(PluginError::INVALID_CONFIG, text)
            })?),
        };
        let (map, key) = match address {
            None => ("hostports", format!("{protocol} . {host}")),
            Some(ip) => ("hostports-ip", format!("{ip} . {protocol} . {host}")),
        };
        script.push_str(&format!(
            "{verb} element ip {table} {map} {{ {key} : {target} }}\n"
        ));
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_become_elements() {
        let mapping = |host_port, protocol: &str, host_ip: &str| PortMapping {
            host_port,
            container_port: 80,
            protocol: protocol.to_owned(),
            host_ip: host_ip.to_owned(),
        };
        let mappings = [
            mapping(8080, "TCP", ""),
            mapping(0, "tcp", ""),
            mapping(53, "udp", "10.0.0.1"),
        ];
        let pod = Ipv4Addr::new(10, 42, 0, 7);
        assert_eq!(
            script("add", "t", pod, &mappings).unwrap(),
            "add element ip t hostports { tcp . 8080 : 10.42.0.7 . 80 }\n\
             add element ip t hostports-ip { 10.0.0.1 . udp . 53 : 10.42.0.7 . 80 }\n"
        );
        assert!(script("add", "t", pod, &[mapping(1, "icmp", "")]).is_err());
    }
}
