//! `hostPort`: elements of a map in the table that [`crate::node`] makes.

use std::net::{IpAddr, Ipv4Addr};

use knarr_nft::{Element, Protocol, Transaction, Value};

use crate::{PortMapping, node, result::PluginError};

pub async fn add(table: &str, pod: Ipv4Addr, mappings: &[PortMapping]) -> Result<(), PluginError> {
    let mut made = Transaction::new();
    for (map, element) in elements(pod, mappings)? {
        made.add_elements(&node::ipv4(table), map, vec![element]);
    }
    apply(made).await
}

/// Removes the mappings that still lead to this pod.
pub async fn remove(
    table: &str,
    pod: Ipv4Addr,
    mappings: &[PortMapping],
) -> Result<(), PluginError> {
    let elements = elements(pod, mappings)?;
    if elements.is_empty() {
        return Ok(());
    }
    // Kernels before 6.3 have no deletion that does not mind: adding first makes deleting always succeed, also where the node's
    // network was not prepared since it was started.
    let table = &node::ipv4(table);
    let mut made = Transaction::new();
    made.add_table(table, None);
    node::hostport_maps(&mut made, table);
    for (map, element) in &elements {
        made.add_elements(table, *map, vec![element.clone()]);
    }
    for (map, element) in elements {
        made.delete_elements(table, map, vec![element]);
    }
    apply(made).await
}

async fn apply(transaction: Transaction) -> Result<(), PluginError> {
    knarr_nft::apply(transaction)
        .await
        .map_err(|error| PluginError::new(PluginError::KERNEL, format!("hostPort: {error}")))
}

/// The map of each mapping, and its element there. Upstream ignores port 0: it means "no host port".
pub fn elements(
    pod: Ipv4Addr,
    mappings: &[PortMapping],
) -> Result<Vec<(&'static str, Element)>, PluginError> {
    let wanted = mappings.iter().filter(|m| m.host_port != 0);
    wanted.map(|mapping| element(pod, mapping)).collect()
}

fn element(pod: Ipv4Addr, mapping: &PortMapping) -> Result<(&'static str, Element), PluginError> {
    let invalid = |text: String| PluginError::new(PluginError::INVALID_CONFIG, text);
    let protocol = match mapping.protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(invalid(format!("unknown protocol {:?}", mapping.protocol))),
    };
    let address: Option<Ipv4Addr> = match mapping.host_ip.as_str() {
        "" | "0.0.0.0" => None,
        text => Some(
            text.parse()
                .map_err(|_| invalid(format!("hostIP {text:?} is not an IPv4 address")))?,
        ),
    };
    let port = [Value::Protocol(protocol), Value::Port(mapping.host_port)];
    let address = address.map(|address| Value::Address(IpAddr::V4(address)));
    let map = if address.is_none() {
        "hostports"
    } else {
        "hostports-ip"
    };
    let key: Vec<Value> = address.into_iter().chain(port).collect();
    let target = [
        Value::Address(IpAddr::V4(pod)),
        Value::Port(mapping.container_port),
    ];
    Ok((map, Element::new(key).to(target)))
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
        let made = elements(pod, &mappings).unwrap();
        let shown = made.iter().map(|(map, element)| format!("{map} {element}"));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "hostports tcp . 8080 : 10.42.0.7 . 80",
                "hostports-ip 10.0.0.1 . udp . 53 : 10.42.0.7 . 80",
            ]
        );
        for odd in [mapping(1, "icmp", ""), mapping(1, "tcp", "::1")] {
            assert!(elements(pod, &[odd]).is_err());
        }
    }
}
