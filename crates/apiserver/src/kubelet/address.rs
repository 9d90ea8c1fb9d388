//! Where a node's kubelet listens.

use std::fmt;

use knarr_meta::{object, status::Status};
use serde_json::Value;

const DEFAULT_PORT: u16 = 10250;

/// Host (an IP address or a name) and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whose kubelet it is.
    pub node: String,
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Address {
    /// By upstream's order of preference for one machine's networks: InternalIP, ExternalIP, Hostname, InternalDNS.
    pub fn of(node: &Value) -> Result<Address, Status> {
        let addresses = object::list_at(node, &["status", "addresses"]);
        let find = |kind: &str| {
            addresses
                .iter()
                .find(|a| a["type"] == kind)
                .and_then(|a| a["address"].as_str())
        };
        let host = ["InternalIP", "ExternalIP", "Hostname", "InternalDNS"]
            .into_iter()
            .find_map(find);
        let host = host.ok_or_else(|| {
            Status::internal(format_args!(
                "no preferred addresses found; known addresses: {}",
                addresses.len()
            ))
        })?;
        let port = object::i64_at(
            node,
            &["status", "daemonEndpoints", "kubeletEndpoint", "Port"],
        );
        let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
        Ok(Address {
            node: object::name(node).to_owned(),
            host: host.to_owned(),
            port: port.unwrap_or(DEFAULT_PORT),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prefers_the_internal_address() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10260}},
        }});
        assert_eq!(Address::of(&node).unwrap().to_string(), "10.0.0.1:10260");
        let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "fd00::1"}]}});
        assert_eq!(Address::of(&node).unwrap().to_string(), "[fd00::1]:10250");
        assert_eq!(Address::of(&json!({})).unwrap_err().code, 500);
    }
}
