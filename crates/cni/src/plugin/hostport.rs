//! `hostPort`: elements of a map in the table that [`crate::node`] makes.

use std::net::IpAddr;

use knarr_nft::{Element, Family, Protocol, Table, Transaction, Value};

use crate::{PortMapping, node, result::PluginError};

pub async fn add(table: &str, pod: IpAddr, mappings: &[PortMapping]) -> Result<(), PluginError> {
    let mut made = Transaction::new();
    let table = Table::new(Family::of(pod), table);
    for (map, element) in elements(pod, mappings)? {
        made.add_elements(&table, map, vec![element]);
    }
    apply(made).await
}

/// Removes the mappings that still lead to this pod.
pub async fn remove(table: &str, pod: IpAddr, mappings: &[PortMapping]) -> Result<(), PluginError> {
    let elements = elements(pod, mappings)?;
    if elements.is_empty() {
        return Ok(());
    }
    // Kernels before 6.3 have no deletion that does not mind: adding first makes deleting always succeed, also where the node's
    // network was not prepared since it was started.
    let table = &Table::new(Family::of(pod), table);
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

/// The map of each mapping of a family, and its element there. Upstream ignores port 0: it means "no host port".
pub fn elements(
    pod: IpAddr,
    mappings: &[PortMapping],
) -> Result<Vec<(&'static str, Element)>, PluginError> {
    let wanted = mappings.iter().filter(|m| m.host_port != 0);
    let made = wanted.map(|mapping| element(pod, mapping));
    made.filter_map(Result::transpose).collect()
}

/// None of a mapping whose address is of the other family.
fn element(
    pod: IpAddr,
    mapping: &PortMapping,
) -> Result<Option<(&'static str, Element)>, PluginError> {
    let invalid = |text: String| PluginError::new(PluginError::INVALID_CONFIG, text);
    let protocol = match mapping.protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(invalid(format!("unknown protocol {:?}", mapping.protocol))),
    };
    let given: Option<IpAddr> = match mapping.host_ip.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|_| invalid(format!("hostIP {text:?} is not an IP address")))?,
        ),
    };
    if given.is_some_and(|given| given.is_ipv4() != pod.is_ipv4()) {
        return Ok(None);
    }
    let address = given.filter(|given| !given.is_unspecified());
    let port = [Value::Protocol(protocol), Value::Port(mapping.host_port)];
    let address = address.map(Value::Address);
    let map = if address.is_none() {
        "hostports"
    } else {
        "hostports-ip"
    };
    let key: Vec<Value> = address.into_iter().chain(port).collect();
    let target = [Value::Address(pod), Value::Port(mapping.container_port)];
    Ok(Some((map, Element::new(key).to(target))))
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
            mapping(54, "udp", "0.0.0.0"),
            mapping(55, "sctp", "::"),
            mapping(56, "tcp", "fd00::1"),
        ];
        let shown = |pod: &str| {
            let made = elements(pod.parse().unwrap(), &mappings).unwrap();
            let shown = made.iter().map(|(map, element)| format!("{map} {element}"));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(
            shown("10.42.0.7"),
            [
                "hostports tcp . 8080 : 10.42.0.7 . 80",
                "hostports-ip 10.0.0.1 . udp . 53 : 10.42.0.7 . 80",
                "hostports udp . 54 : 10.42.0.7 . 80",
            ]
        );
        assert_eq!(
            shown("fd42::7"),
            [
                "hostports tcp . 8080 : fd42::7 . 80",
                "hostports sctp . 55 : fd42::7 . 80",
                "hostports-ip fd00::1 . tcp . 56 : fd42::7 . 80",
            ]
        );
        let pod = "10.42.0.7".parse().unwrap();
        for odd in [mapping(1, "icmp", ""), mapping(1, "tcp", "::x")] {
            assert!(elements(pod, &[odd]).is_err());
        }
    }
}
